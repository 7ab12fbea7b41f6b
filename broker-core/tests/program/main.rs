//! A broker's binary in its operator's hands. This program is one itself: told a subcommand it is the broker of
//! `broker.rs`, else it is the tests, which run it.

mod broker;
mod callers;
#[path = "../shared/ledger.rs"]
mod ledger;
mod place;
mod replicas;
mod running;
mod secrets;
mod server;
mod settings;
mod subcommands;
mod tls;

use std::process::ExitCode;

/// A test: a sentence, and what it does.
macro_rules! tests {
    ($($module:ident::$test:ident),* $(,)?) => {{
        let tests: Vec<(&str, Box<dyn Fn(&tokio::runtime::Runtime)>)> =
            vec![$((concat!(stringify!($module), "::", stringify!($test)), Box::new(|runtime| runtime.block_on($module::$test())))),*];
        tests
    }};
}

fn main() -> ExitCode {
    let first = std::env::args().nth(1).unwrap_or_default();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    if std::env::var_os(running::IS_BROKER).is_some() {
        return runtime.block_on(broker::run());
    }
    let tests = tests![
        settings::a_flag_wins_over_the_environment_and_that_over_the_file,
        settings::what_is_wrong_in_the_file_is_named_by_line_and_key,
        settings::help_lists_every_setting_under_a_heading,
        settings::requests_are_named_by_the_header_that_the_operator_sets,
        subcommands::check_says_what_works_and_what_does_not_and_changes_nothing,
        subcommands::check_tells_programs_what_it_found_an_object_a_line,
        subcommands::doctor_goes_on_where_check_ends_and_warnings_are_no_errors,
        subcommands::a_broker_has_a_doctor_when_its_author_thought_of_one,
        subcommands::records_are_shown_while_the_broker_runs_and_their_key_rotates_when_it_does_not,
        subcommands::records_in_a_database_are_shown_and_their_key_rotates_as_those_in_a_folder,
        callers::credentials_are_read_again_on_a_hangup,
        callers::a_hashed_password_is_made_by_the_broker_itself,
        callers::a_token_in_a_file_opens_until_it_is_gone,
        callers::an_authors_check_is_in_the_log_by_the_name_that_it_gave,
        subcommands::an_author_adds_subcommands_and_checks,
        tls::connections_are_encrypted_and_nothing_else,
        tls::with_authorities_only_clients_they_vouch_for_are_served,
        tls::a_new_certificate_is_served_on_a_hangup_or_by_itself_and_connections_go_on,
        tls::files_that_cannot_be_used_change_nothing_and_are_logged,
        tls::a_key_that_does_not_fit_keeps_serve_from_starting,
        replicas::what_a_process_that_is_killed_worked_on_the_other_finishes,
        replicas::a_process_that_is_killed_under_load_takes_nothing_acknowledged_with_it_and_leaves_nothing,
        secrets::no_output_and_no_file_shows_a_secret,
        secrets::no_output_and_no_record_shows_a_secret_of_a_broker_with_a_database,
    ];
    if std::env::args().any(|argument| argument == "--list") {
        tests.iter().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    let wanted = |name: &str| first.starts_with('-') || name.contains(&first);
    for (name, test) in tests.into_iter().filter(|(name, _)| wanted(name)) {
        print!("test {name} ... ");
        test(&runtime);
        println!("ok");
    }
    ExitCode::SUCCESS
}
