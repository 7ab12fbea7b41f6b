//! Targets, login and what every command has in common (contract sections 1, 2 and 4).

use std::{fs, os::unix::fs::PermissionsExt};

use crate::harness::{Platform, TOKEN, fields};

const SCHEMES: &str = r#"[{"name":"native","default":true,"data":{}}]"#;

#[test]
fn targets_are_kept_in_files() {
    let platform = Platform::start();
    fs::remove_dir_all(platform.in_home("")).unwrap();

    platform.tsuru("app list").complains_of("Error: No target defined. Please use target-add/target-set");
    platform.tsuru("target add b http://b/").says("New target b -> http://b/ added to target list\n");
    platform
        .tsuru("target-add a a.example -s")
        .says("New target a -> a.example added to target list and defined as the current target\n");
    platform.tsuru("target list").says("* a (a.example)\n  b (http://b/)\n");
    platform.tsuru("target add a x").complains("Error: Target label provided already exists\n");
    platform.tsuru("target set b").says("New target is b -> http://b/\n");
    assert_eq!(platform.read_home("target"), "http://b/");
    assert_eq!(platform.read_home("targets"), "b\thttp://b/\na\ta.example\n");
    platform.tsuru("target update b http://c").says("Target b -> http://c updated on target list\n");
    assert_eq!(platform.read_home("target"), "http://c");
    platform.tsuru("target set nope").complains("Error: Target not found\n");
    platform.tsuru("target remove b").says("");
    platform.tsuru("target list").says("  a (a.example)\n");
    assert_eq!(platform.asked(), [""; 0]);
}

#[test] // SPEC C-4
fn a_login_stores_the_token_for_its_owner_only() {
    let platform = Platform::start().on("GET /1.18/auth/schemes", 200, SCHEMES).on(
        "POST /1.0/users/alice@example.com/tokens",
        200,
        r#"{"token":"new"}"#,
    );

    let ran = platform.tsuru_reading("login alice@example.com", "s3cr3t\n");

    ran.says("Password: \nSuccessfully logged in!\n");
    assert_eq!(platform.last().form(), fields(&[("password", "s3cr3t")]));
    assert_eq!(platform.last().header("authorization"), "");
    assert_eq!(platform.read_home("token"), "new");
    let mode = fs::metadata(platform.in_home("token")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_login_asks_for_the_address_too() {
    let platform = Platform::start().on("GET /1.18/auth/schemes", 200, SCHEMES).on(
        "POST /1.0/users/a@b.cd/tokens",
        200,
        r#"{"token":"new"}"#,
    );

    platform.tsuru_reading("login", "a@b.cd\ns3cr3t\n").says("Email: Password: \nSuccessfully logged in!\n");
}

#[test]
fn a_refused_login_says_why_and_keeps_what_was_there() {
    let platform = Platform::start().on("GET /1.18/auth/schemes", 200, SCHEMES).on(
        "POST /1.0/users/a@b.cd/tokens",
        401,
        "Authentication failed, wrong password.\n",
    );

    platform
        .tsuru_reading("login a@b.cd", "wrong\n")
        .complains("Error: failed to authenticate user: 401 Unauthorized, Authentication failed, wrong password.\n");
    assert_eq!(platform.read_home("token"), TOKEN);
}

#[test]
fn a_token_in_the_environment_wins_and_forbids_login() {
    let platform = Platform::start().on("GET /1.0/apps", 204, "");

    platform.tsuru_with("app list", &[("TSURU_TOKEN", "other")]).says("");
    assert_eq!(platform.last().header("authorization"), "bearer other");
    platform.tsuru_with("login", &[("TSURU_TOKEN", "other")]).complains(
        "Error: this command can't run with $TSURU_TOKEN environment variable set. Did you forget to unset?\n",
    );
}

#[test]
fn a_logout_ends_the_session_here_and_there() {
    let platform = Platform::start().on("DELETE /1.0/users/tokens", 200, "");

    platform.tsuru("logout").says("Successfully logged out!\n");

    assert_eq!(platform.last().header("authorization"), "bearer t0k3n");
    assert!(!platform.in_home("token").exists());
}

#[test]
fn a_request_carries_what_the_contract_asks() {
    let platform = Platform::start().on("GET /1.0/apps", 204, "");

    platform.tsuru("app list").says("");

    let request = platform.last();
    assert_eq!(request.header("authorization"), "bearer t0k3n");
    assert!(request.header("user-agent").starts_with("tsuru-client/"));
    assert_eq!(request.header("x-tsuru-verbosity"), "0");
}

#[test]
fn an_ended_session_says_so() {
    let platform = Platform::start().on("GET /1.0/apps", 401, "no\n");

    platform.tsuru("app list").complains(&format!(
        "Error: Invalid session. Error received from tsuru server ({}), 401: unauthorized\n\nLog in with: tsuru login\n",
        platform.url
    ));
    platform
        .tsuru_with("app list", &[("TSURU_TOKEN", "x")])
        .complains_of("Invalid session - maybe invalid defined token on TSURU_TOKEN envvar");
}

#[test] // SPEC C-2
fn an_error_is_the_servers_sentence() {
    let platform = Platform::start()
        .on("GET /1.0/apps/missing", 404, "App missing not found.\n")
        .on("GET /1.0/apps/forbidden", 403, "You don't have permission to do this action\n")
        .on("GET /1.0/apps/silent", 500, "");

    platform.tsuru("app info -a missing").complains("Error: App missing not found.\n");
    platform.tsuru("app info forbidden").complains("Error: You don't have permission to do this action\n");
    platform.tsuru("app info silent").complains("Error: 500 Internal Server Error\n");
}

#[test]
fn a_server_that_is_down_is_named() {
    let platform = Platform::start();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();

    let ran = platform.tsuru(&format!("--target {closed} app list"));

    ran.complains_of(&format!("Error: Failed to connect to tsuru server (http://{closed}), it's probably down: "));
}

#[test]
fn an_answer_that_is_no_tsuru_servers_is_refused() {
    let platform = Platform::start().on("GET /1.0/apps", 200, "<html>").on_with(
        "GET /1.0/plans",
        301,
        "",
        &[("location", "https://elsewhere/1.0/plans")],
    );

    platform.tsuru("app list").complains_of("Error: the server's answer cannot be read: is the target a tsuru server?");
    platform.tsuru("plan list").complains_of("points to https://elsewhere/1.0/plans");
}

#[test]
fn a_password_is_changed_when_it_is_typed_twice() {
    let platform = Platform::start().on("PUT /1.0/users/password", 200, "");

    let ran = platform.tsuru_reading("change-password", "old\nnew123\nnew123\n");
    assert!(ran.out.ends_with("\nPassword successfully updated!\n"), "{ran:?}");
    assert_eq!(platform.last().form(), fields(&[("old", "old"), ("new", "new123"), ("confirm", "new123")]));
    platform.tsuru_reading("change-password", "old\nnew123\nnew124\n").complains_of("didn't match");
    assert_eq!(platform.asked().len(), 1);
}

#[test]
fn versions_are_told() {
    let platform = Platform::start().on("GET /1.0/info", 200, r#"{"version":"1.23.1"}"#);
    let client = env!("CARGO_PKG_VERSION");

    platform.tsuru("version").says(&format!("Client version: {client}.\nServer version: 1.23.1.\n"));
}

#[test] // SPEC C-2
fn wrong_usage_exits_with_one_and_suggests() {
    let platform = Platform::start();

    platform.tsuru("app creat blog").complains_of("'create'");
    platform.tsuru("app-creat blog").complains_of("'create'");
    platform.tsuru("ap list").complains_of("unrecognized subcommand 'ap'");
    platform
        .tsuru("unit add 1")
        .complains("Error: The name of the app is required.\n\nUse the --app flag to specify it.\n");
    platform.tsuru("app info blog -a blog").complains_of("the app is named twice");
    assert_eq!(platform.tsuru("help app-create").code, 0);
    assert_eq!(platform.asked(), [""; 0]);
}

#[test]
fn completion_scripts_are_printed() {
    let platform = Platform::start();

    for shell in ["bash", "zsh", "fish"] {
        let ran = platform.tsuru(&format!("completion {shell}"));
        assert!(ran.code == 0 && ran.out.contains("tsuru"), "{shell}: {}", ran.err);
    }
}
