//! The cases of the Open Service Broker API, version 2.17: O1 to O186, a file for each chapter.
//!
//! Where the specification leaves a choice, each allowed answer passes: a broker may join a repeat of work that goes on
//! or refuse it with `ConcurrencyError`, and may answer a missing version 400 or 412.

mod bind_bodies;
mod bindings;
mod binds;
mod calls;
mod catalog;
mod clean_up;
mod errors;
mod fetch;
mod identities;
mod offer;
mod operations;
mod orphans;
mod pending;
mod provision;
mod provision_bodies;
mod removal;
mod rotation;
mod transport;
mod unbinds;
mod update;

use super::Case;

pub(super) use clean_up::Made;
pub(super) use offer::Offer;

pub(super) fn cases() -> Vec<Case> {
    [
        catalog::CASES,
        transport::CASES,
        identities::CASES,
        provision::CASES,
        provision_bodies::CASES,
        fetch::CASES,
        update::CASES,
        removal::CASES,
        operations::CASES,
        binds::CASES,
        bind_bodies::CASES,
        unbinds::CASES,
        bindings::CASES,
        orphans::CASES,
        rotation::CASES,
        errors::CASES,
    ]
    .concat()
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_case_is_there_once_and_in_order() {
        let ids: Vec<u32> = super::cases().iter().map(|case| case.id[1..].parse().unwrap()).collect();

        assert_eq!(ids, (1..=186).collect::<Vec<_>>());
    }
}
