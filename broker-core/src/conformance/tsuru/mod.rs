//! The cases of tsuru's service API: A1 to A114 of its contract.

mod binds;
mod calls;
mod instances;
mod removal;
mod transport;

use super::Case;

pub(super) fn cases() -> Vec<Case> {
    [transport::CASES, instances::CASES, binds::CASES, removal::CASES].concat()
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_case_of_the_contract_is_there_once_and_in_order() {
        let ids: Vec<_> = super::cases().iter().map(|case| case.id).collect();

        let mut sorted: Vec<u32> = ids.iter().map(|id| id[1..].parse().unwrap()).collect();
        sorted.sort_unstable();

        assert_eq!(sorted, (1..=114).collect::<Vec<_>>());
    }
}
