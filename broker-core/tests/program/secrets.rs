//! Nothing that a broker says or leaves behind shows a secret (SPEC S-3, S-5).

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;

use crate::running::{PASSWORD, Running, run};

const TOKEN: &str = "planted-token-41c8";
const GUEST: &str = "planted-guest-93aa";
const OPERATOR: &str = "planted-operator-0e5d";
const PIN: &str = "planted-pin-6f02";
const WRONG: &str = "planted-wrong-d7e4";

/// Whatever a broker has shown, by where; and what must not be in it.
#[derive(Default)]
struct Shown {
    texts: Vec<(String, Vec<u8>)>,
    secrets: Vec<String>,
}

impl Shown {
    fn add(&mut self, place: impl Into<String>, text: impl Into<Vec<u8>>) {
        self.texts.push((place.into(), text.into()));
    }

    /// As it is, and as it is when it travels.
    fn plant(&mut self, secret: &str) {
        self.secrets.extend([secret.to_owned(), STANDARD.encode(secret), hex::encode(secret)]);
    }

    fn found(&self) -> Vec<String> {
        let contains = |text: &[u8], secret: &str| text.windows(secret.len()).any(|part| part == secret.as_bytes());
        let mut found = Vec::new();
        for (place, text) in &self.texts {
            let shown = self.secrets.iter().filter(|secret| contains(text, secret));
            found.extend(shown.map(|secret| format!("{secret} in {place}")));
        }
        found
    }
}

/// A file for its owner.
fn private(place: &Path, name: &str, text: &str) -> String {
    let file = place.join(name);
    fs::write(&file, text).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    file.to_str().unwrap().to_owned()
}

pub(crate) async fn no_output_and_no_file_shows_a_secret() {
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("data");
    let config = private(
        place.path(),
        "broker.toml",
        &format!(
            "token = \"{TOKEN}\"\ncredentials-file = \"{}\"\noperator-credentials-file = \"{}\"\n",
            private(place.path(), "guests", &format!("guest:{GUEST}\n")),
            private(place.path(), "operators", &format!("watch:{OPERATOR}\n")),
        ),
    );
    let mut shown = Shown::default();
    for secret in [PASSWORD, TOKEN, GUEST, OPERATOR, PIN, WRONG] {
        shown.plant(secret);
    }
    for (user, password) in [("fake", PASSWORD), ("guest", GUEST), ("watch", OPERATOR), ("fake", WRONG)] {
        shown.secrets.push(STANDARD.encode(format!("{user}:{password}")));
    }
    let broker = Running::start(&["--config", &config], &data).await;
    drive(&broker, &mut shown).await;
    let flags = ["--config", config.as_str()];
    for subcommand in [
        &["instances"][..],
        &["instances", "--json"],
        &["operations", "cache"],
        &["operations", "cache", "--json"],
        &["openapi"],
        &["check"],
        &["serve", "--help"],
        &["serve", "--listen", &broker.url],
        &["rotate-key"],
    ] {
        let ended = run(&[subcommand, &flags].concat(), &data);
        shown.add(format!("{subcommand:?}"), ended.out);
        shown.add(format!("the errors of {subcommand:?}"), ended.errors);
    }
    for line in fs::read_to_string(data.join("state.key")).unwrap().lines() {
        shown.plant(line);
    }
    shown.add("the log", broker.output());
    files(&data, &mut shown);
    broker.stop();
    files(&data, &mut shown);

    assert!(shown.texts.len() > 40 && shown.secrets.len() > 40, "too little was looked at");
    let log = shown.texts.iter().find(|(place, _)| place == "the log").unwrap();
    let log = String::from_utf8_lossy(&log.1);
    assert!(log.contains("DEBUG"), "the log is not talkative");
    assert!(log.contains("the author's code panicked at") && log.contains("[secret] does not open it"), "{log}");
    assert_eq!(shown.found(), Vec::<String>::new());
}

/// What the broker's folder holds, but the key itself.
fn files(data: &Path, shown: &mut Shown) {
    let files: Vec<PathBuf> = fs::read_dir(data).unwrap().map(|file| file.unwrap().path()).collect();
    for file in files.into_iter().filter(|file| !file.ends_with("state.key")) {
        shown.add(file.display().to_string(), fs::read(&file).unwrap());
    }
}

/// Whatever a platform, an operator or a stranger may ask.
async fn drive(broker: &Running, shown: &mut Shown) {
    let create = format!("{{\"name\":\"cache\",\"team\":\"data\",\"parameters\":{{\"pin\":\"{PIN}\"}}}}");
    let form = format!("name=second&team=data&parameters.pin={PIN}");
    let fails = format!("{{\"name\":\"bad\",\"parameters\":{{\"pin\":\"{PIN}\",\"fail\":true}}}}");
    for (method, path, body) in [
        ("POST", "/resources", create.as_str()),
        ("POST", "/resources", &create),
        ("POST", "/resources", &fails),
        ("POST", "/resources", &format!("{{\"name\":\"x1\",\"parameters\":{{\"memory\":\"{PIN}\"}}}}")),
        ("POST", "/resources", &format!("{{\"name\":\"x1\",\"parameters\":{{\"other\":\"{PIN}\"}}}}")),
        ("POST", "/resources", &format!("{{\"name\":\"x1\",\"parameters\":\"{PIN}\"}}")),
        ("POST", "/resources", &format!("{{\"name\":\"x1\",\"parameters\":{PIN}}}")),
        ("PUT", "/resources/cache", &create),
        ("PUT", "/v2/service_instances/osb", &format!("{{\"parameters\":\"{PIN}\"}}")),
        ("PUT", "/v2/service_instances/osb", &format!("{{\"parameters\":{{\"pin\":\"{PIN}\"}}, {PIN}")),
        ("GET", "/resources/cache", ""),
        ("GET", "/resources/cache/status", ""),
        ("GET", "/resources/cache/operations", ""),
        ("GET", "/v2/service_instances/cache/last_operation", ""),
        ("GET", "/v2/catalog", ""),
        ("GET", "/openapi.json", ""),
    ] {
        shown.add(format!("{method} {path} {body:.20}"), broker.platform(method, path, body).await.1);
    }
    let kind = "application/x-www-form-urlencoded";
    for body in [form, format!("name=x2&parameters.={PIN}&parameters.a=1&parameters.a.b={PIN}")] {
        let answer = broker.ask_in(kind, ("fake", PASSWORD), "POST", "/resources", Some(&body)).await;
        shown.add(format!("POST {body:.10}"), answer.1);
    }
    for round in 0..2 {
        let (status, bound) = broker.platform("POST", "/resources/cache/bind-app", "{\"appName\":\"blog\"}").await;
        assert_eq!(status, 201, "{bound}");
        let variables: Value = serde_json::from_str(&bound).unwrap();
        variables.as_object().unwrap().values().for_each(|value| shown.plant(value.as_str().unwrap()));
        for (how, status) in [("cause", 500), ("sentence", 400), ("panic", 500)] {
            for method in ["GET", "POST"] {
                let answer = broker.platform(method, &format!("/resources/cache/leak/{how}"), "").await;
                assert_eq!(answer.0, status, "{answer:?}");
                shown.add(format!("{method} leak/{how}"), answer.1);
            }
        }
        let (status, said) = broker.platform("POST", "/resources/cache/rotate", "{\"appName\":\"blog\"}").await;
        assert_eq!(status, 200, "{said}");
        shown.add(format!("rotation {round}"), said);
    }
    shown.add(
        "DELETE bind-app",
        broker.platform("DELETE", "/resources/cache/bind-app", "{\"appName\":\"blog\"}").await.1,
    );
    for user in [("fake", WRONG), ("guest", GUEST), ("watch", OPERATOR), (WRONG, "")] {
        for path in ["/metrics", "/resources/plans", "/nothing"] {
            shown.add(format!("GET {path}"), broker.ask(user, "GET", path, None).await.1);
        }
    }
}
