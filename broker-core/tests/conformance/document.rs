//! The page of all cases is the code's.

#[test]
fn the_page_of_all_cases_is_in_step_with_the_code() {
    let page = include_str!("../../CONFORMANCE.md");

    assert!(page == broker_core::conformance::document(), "write it anew: broker-check --document > CONFORMANCE.md");
}
