//! Nothing that a broker says or leaves behind shows a secret (SPEC S-3, S-5).

use std::{fs, path::PathBuf, process::Stdio};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;

use crate::{
    place::{DATABASE_PASSWORD, Place, private},
    running::{Ended, PASSWORD, Running, program},
};

const TOKEN: &str = "planted-token-41c8";
const GUEST: &str = "planted-guest-93aa";
const OPERATOR: &str = "planted-operator-0e5d";
const PIN: &str = "planted-pin-6f02";
const BEARER: &str = "planted-bearer-b2c5";
const HASHED: &str = "planted-hashed-77ad";
const WRONG: &str = "planted-wrong-d7e4";

const SUBCOMMANDS: [&[&str]; 9] = [
    &["instances"],
    &["instances", "--json"],
    &["operations", "cache"],
    &["operations", "cache", "--json"],
    &["openapi"],
    &["catalog"],
    &["check"],
    &["serve", "--help"],
    &["rotate-key"],
];

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

    fn end(&mut self, subcommand: &[&str], ended: Ended) {
        self.add(format!("{subcommand:?}"), ended.out);
        self.add(format!("the errors of {subcommand:?}"), ended.errors);
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

pub(crate) async fn no_output_and_no_file_shows_a_secret() {
    nothing_shows_a_secret(&Place::folder()).await;
}

// SPEC S-7
pub(crate) async fn no_output_and_no_record_shows_a_secret_of_a_broker_with_a_database() {
    nothing_shows_a_secret(&Place::database()).await;
}

async fn nothing_shows_a_secret(place: &Place) {
    let hash = bcrypt::hash(HASHED, 4).unwrap();
    let config = private(
        place.path(),
        "broker.toml",
        &format!(
            "token = \"{TOKEN}\"\ncredentials-file = \"{}\"\noperator-credentials-file = \"{}\"\n",
            private(place.path(), "guests", &format!("guest:{GUEST}\nBearer {BEARER}\nslow:{hash}\n")),
            private(place.path(), "operators", &format!("watch:{OPERATOR}\n")),
        ),
    );
    let mut shown = Shown::default();
    for secret in [PASSWORD, TOKEN, GUEST, OPERATOR, BEARER, HASHED, &hash, PIN, WRONG, DATABASE_PASSWORD] {
        shown.plant(secret);
    }
    for (user, password) in
        [("fake", PASSWORD), ("guest", GUEST), ("slow", HASHED), ("watch", OPERATOR), ("fake", WRONG)]
    {
        shown.secrets.push(STANDARD.encode(format!("{user}:{password}")));
    }
    let broker = place.serve(&["--config", &config, "--public-url", "https://x.test"]).await;
    drive(&broker, &mut shown).await;
    let flags = ["--config", config.as_str()];
    for subcommand in SUBCOMMANDS {
        shown.end(subcommand, place.run(&[subcommand, &flags].concat()));
    }
    shown.end(&["serve"], place.run(&["serve", "--listen", &broker.url]));
    for line in fs::read_to_string(place.key()).unwrap().lines() {
        shown.plant(line);
    }
    shown.add("the log", broker.output());
    left_behind(place, &mut shown);
    broker.stop();
    left_behind(place, &mut shown);
    databases_that_are_not_there(place, &mut shown);

    assert!(shown.texts.len() > 40 && shown.secrets.len() > 40, "too little was looked at");
    let log = shown.texts.iter().find(|(place, _)| place == "the log").unwrap();
    let log = String::from_utf8_lossy(&log.1);
    assert!(log.contains("DEBUG"), "the log is not talkative");
    assert!(log.contains("the author's code panicked at") && log.contains("[secret] does not open it"), "{log}");
    assert_eq!(shown.found(), Vec::<String>::new());
}

/// What the broker's folder holds, but the key itself; or its database.
fn left_behind(place: &Place, shown: &mut Shown) {
    if let Some(dump) = place.dump() {
        assert!(dump.contains("cache"), "the dump has no records");
        return shown.add("the database", dump);
    }
    let files: Vec<PathBuf> = fs::read_dir(place.data()).unwrap().map(|file| file.unwrap().path()).collect();
    for file in files.into_iter().filter(|file| *file != place.key()) {
        shown.add(file.display().to_string(), fs::read(&file).unwrap());
    }
}

/// What is said of URLs that lead nowhere, or are none, from a file and from the environment.
fn databases_that_are_not_there(place: &Place, shown: &mut Shown) {
    let urls = [
        format!("postgres://broker:{DATABASE_PASSWORD}@127.0.0.1:1/records"),
        format!("postgres://broker:{DATABASE_PASSWORD}@127.0.0.1:port/records"),
        format!("postgres://broker:{DATABASE_PASSWORD}@/records?sslmode={DATABASE_PASSWORD}"),
        format!("mysql://broker:{DATABASE_PASSWORD}@127.0.0.1:1/records"),
        format!("broker:{DATABASE_PASSWORD}"),
    ];
    // At once: each waits a while for a database to come.
    let mut asked = Vec::new();
    for (number, url) in urls.iter().enumerate() {
        let file = private(place.path(), &format!("no-url-{number}"), url);
        for subcommand in [&["check", "--listen", "127.0.0.1:0"][..], &["serve"], &["instances"], &["rotate-key"]] {
            let from_file = [subcommand, &["--database-url-file", &file]].concat();
            let mut from_environment = program(subcommand, &place.data());
            from_environment.env("BROKER_DATABASE_URL", url);
            for mut command in [program(&from_file, &place.data()), from_environment] {
                let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
                asked.push((url, subcommand, child));
            }
        }
    }
    for (url, subcommand, child) in asked {
        let ended = Ended::from(child.wait_with_output().unwrap());
        assert_eq!(ended.status, 1, "{url}: {ended:?}");
        let said = [ended.out.as_str(), &ended.errors].concat();
        assert!(said.contains("database") || said.contains("key"), "{url}: {ended:?}");
        shown.end(subcommand, ended);
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
    let info = broker.platform("GET", "/resources/cache", "").await.1;
    let dashboard = info.split_once("https://x.test").expect("a link").1.split('"').next().unwrap().to_owned();
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
        let page = broker.request("GET", &dashboard).send().await.unwrap().text().await.unwrap();
        assert!(page.contains("App <strong>blog</strong>"), "{page}");
        shown.add(format!("dashboard {round}"), page);
    }
    shown.add(
        "DELETE bind-app",
        broker.platform("DELETE", "/resources/cache/bind-app", "{\"appName\":\"blog\"}").await.1,
    );
    for (token, status) in [(BEARER, 200), (WRONG, 503)] {
        let answer = broker.request("GET", "/resources/plans").bearer_auth(token).send().await.unwrap();
        assert_eq!(answer.status(), status);
        shown.add("GET with a token", answer.text().await.unwrap());
    }
    for user in [("fake", WRONG), ("guest", GUEST), ("slow", HASHED), ("slow", WRONG), ("watch", OPERATOR), (WRONG, "")]
    {
        for path in ["/metrics", "/resources/plans", "/nothing"] {
            shown.add(format!("GET {path}"), broker.ask(user, "GET", path, None).await.1);
        }
    }
}
