//! Flags, environment, file.

use std::fs;

use crate::running::{Running, program, run};

// SPEC X-1
pub(crate) async fn a_flag_wins_over_the_environment_and_that_over_the_file() {
    let place = tempfile::tempdir().unwrap();
    let (data, file) = (place.path().join("data"), place.path().join("broker.toml"));
    fs::write(&file, "listen = \"127.0.0.1:1\"\nmax_requests = 7\nservers = 3\nteam = \"data\"\n").unwrap();
    let file = file.to_str().unwrap();
    let endpoint = |environment: &[(&str, &str)], arguments: &[&str]| {
        let mut command = program(&[&["manifest"], arguments].concat(), &data);
        let out = command.envs(environment.iter().copied()).output().unwrap();
        assert!(out.status.success(), "{out:?}");
        String::from_utf8(out.stdout).unwrap()
    };

    assert!(endpoint(&[], &[]).contains("http://127.0.0.1:8071"));
    let from_file = endpoint(&[("BROKER_CONFIG", file)], &[]);
    assert!(from_file.contains("http://127.0.0.1:1\"") && from_file.contains("team: \"data\""), "{from_file}");
    let over = [("BROKER_CONFIG", file), ("BROKER_LISTEN", "127.0.0.1:2")];
    assert!(endpoint(&over, &[]).contains("http://127.0.0.1:2\""));
    assert!(endpoint(&over, &["--listen", "127.0.0.1:3"]).contains("http://127.0.0.1:3\""));
    assert!(endpoint(&[], &["--config", file]).contains("http://127.0.0.1:1\""));
    // The author's own are in the same file.
    let check = run(&["check", "--config", file, "--listen", "127.0.0.1:0"], &data).ok();
    assert!(check.lines().any(|line| line.contains("servers") && line.ends_with(" 3")), "{check}");
}

// SPEC X-2, S-5
pub(crate) async fn what_is_wrong_in_the_file_is_named_by_line_and_key() {
    let place = tempfile::tempdir().unwrap();
    let (data, file) = (place.path().join("data"), place.path().join("broker.toml"));
    let refusal = |text: &str| {
        fs::write(&file, text).unwrap();
        run(&["manifest", "--config", file.to_str().unwrap()], &data).fails(2)
    };

    for (text, line, wanted) in [
        ("\nlistne = \"x\"", 2, "there is no setting `listne`"),
        ("config = \"x\"", 1, "there is no setting `config`"),
        ("limit = 1\nmax-requests = \"7\"", 2, "`max-requests` is wrong: a whole number is wanted"),
        ("max-requests = 0", 1, "`max-requests` is wrong: 0 is not in"),
        ("username = 5", 1, "`username` is wrong: a text is wanted"),
        ("open-metrics = \"yes\"", 1, "`open-metrics` is wrong: true or false is wanted"),
        ("listen = \"nowhere\"", 1, "`listen` is wrong: invalid socket address"),
        ("log = \"xml\"", 1, "`log` is wrong: it is none of text, json"),
        ("log-level = \"loud\"", 1, "`log-level` is wrong: it is no level"),
        ("listen = [\"a\"]", 1, "`listen` is wrong: it is a list"),
        ("[network]\nlisten = \"x\"", 1, "there is no setting `network`"),
        ("max-requests = 1\nmax_requests = 2", 2, "is there twice"),
        ("request-id-header = \"Authorization\"", 1, "the header `authorization` means something else"),
        ("public-url = \"https://a:b@x.test\"", 1, "`public-url` is wrong: it has a user name or password in it"),
        ("public-url = \"x.test\"", 1, "`public-url` is wrong: it is no URL of http or https"),
        ("servers = 70000", 1, "`servers` is wrong: 70000 is not in"),
        ("token = 12345", 1, "`token` is wrong: a text is wanted"),
    ] {
        let said = refusal(text);
        assert!(said.contains(&format!("broker.toml, line {line}: ")) && said.contains(wanted), "{text:?}: {said}");
    }
    let said = refusal("token = \"planted-token");
    assert!(said.contains("line 1: this is no TOML") && !said.contains("planted"), "{said}");
    fs::remove_file(&file).unwrap();
    let said = run(&["manifest", "--config", file.to_str().unwrap()], &data).fails(2);
    assert!(said.contains("cannot read the configuration file"), "{said}");
}

// SPEC X-1
pub(crate) async fn help_lists_every_setting_under_a_heading() {
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("data");
    fs::write(place.path().join("broker.toml"), "token = \"planted-token\"\n").unwrap();

    let help = run(&["serve", "--config", "broker.toml", "--help"], &data).ok();

    for heading in ["Network:", "Records:", "Who may call:", "Timing:", "Log:", "The service:"] {
        assert!(help.contains(heading), "{heading} is missing: {help}");
    }
    for flag in [
        "--listen",
        "--tls-client-ca",
        "--request-id-header",
        "--public-url",
        "--operator-credentials-file",
        "--give-up-after",
        "--log-level",
        "--token",
    ] {
        assert!(help.contains(flag), "{flag} is missing: {help}");
    }
    assert!(help.contains("BROKER_MAX_REQUESTS") && help.contains("TOML") && !help.contains("planted"), "{help}");
    for shell in ["bash", "zsh", "fish"] {
        assert!(run(&["completions", shell], &data).ok().contains("max-requests"), "{shell}");
    }
}

// SPEC T-3
pub(crate) async fn requests_are_named_by_the_header_that_the_operator_sets() {
    let place = tempfile::tempdir().unwrap();
    let broker = Running::start(&["--request-id-header", "X-Trace-Me"], &place.path().join("data")).await;

    let answer = broker.request("GET", "/nowhere").header("X-Trace-Me", "abc-1").send().await.unwrap();

    assert_eq!(answer.headers()["x-trace-me"], "abc-1");
    let log = broker.output();
    assert!(log.lines().any(|line| line.contains("abc-1") && line.contains("GET /nowhere answered 401")), "{log}");
    broker.stop();
}

// SPEC I-12, S-5
pub(crate) async fn dashboards_are_where_the_operator_says_and_their_keys_in_no_log() {
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("data");
    let check = |url: &str| run(&["check", "--listen", "127.0.0.1:0", "--public-url", url], &data).ok();
    assert!(check("https://x.test").contains("at https://x.test"));
    assert!(check("http://x.test").lines().any(|line| line.starts_with("warning") && line.contains("use https://")));
    let refused = run(&["serve", "--public-url", "https://x.test/?a=b"], &data).fails(2);
    assert!(refused.contains("it has a query or a fragment"), "{refused}");
    let broker = Running::start(&["--public-url", "https://x.test"], &data).await;
    broker.platform("POST", "/resources", "{\"name\":\"cache\",\"team\":\"data\"}").await;
    let info = broker.platform("GET", "/resources/cache", "").await.1;
    let link = info.split_once("https://x.test").expect("a link").1.split('"').next().unwrap();
    let (path, key) = link.split_once("?key=").expect("a key");

    let page = broker.request("GET", link).send().await.unwrap();

    assert_eq!(page.status(), 200);
    let nothing_there = broker.request("GET", &format!("{path}?key=x{key}")).send().await.unwrap();
    assert_eq!(nothing_there.status(), 404);
    let log = broker.output();
    assert!(log.contains("GET /dashboard/cache answered 200"), "{log}");
    assert!(log.contains("GET /dashboard/cache answered 404") && !log.contains(key), "{log}");
    broker.stop();
}
