//! The framework's own dashboards: the link, who it opens the page to, and what is on it (SPEC I-12 to I-14).

use std::{path::Path, sync::Arc, time::Duration};

use async_trait::async_trait;
use broker_core::{
    Binding, Broker, BrokerError, BrokerServer, Catalog, EnvVars, Health, InfoItem, Instance, Notes, Plan, Result,
    State, Update,
    testing::{Answer, FakeBroker, TestBroker, eventually},
};
use serde_json::{Value, json};
use tokio::sync::Notify;

/// What the links of these tests begin with: a proxy that takes the path away.
const PUBLIC: &str = "https://brokers.test/gallery";
const PIN: &str = "planted-pin-6f02";

/// A service of many moods: how each call goes is in an instance's parameters.
#[derive(Clone, Default)]
struct Gallery {
    released: Arc<Notify>,
    version: Option<&'static str>,
}

impl Gallery {
    async fn behave(&self, instance: &Instance, call: &str) -> Result<()> {
        let mood = mood(instance, call);
        if mood.contains("hangs") {
            self.released.notified().await;
        }
        if mood.contains("panics") {
            panic!("{} is wrong", instance.secret.expose());
        }
        if mood.contains("fails") {
            let sentence = format!("the {call} of <b> failed with {}", instance.secret.expose());
            return Err(BrokerError::Conflict(sentence));
        }
        Ok(())
    }
}

fn mood<'a>(instance: &'a Instance, call: &str) -> &'a str {
    instance.parameters.get(call).and_then(Value::as_str).unwrap_or_default()
}

#[async_trait]
impl Broker for Gallery {
    fn catalog(&self) -> Catalog {
        let small = Plan::new("small", "walls & <i>floors</i>");
        let small = match self.version {
            Some(version) => small.maintenance(version, "doors close for a minute"),
            None => small,
        };
        Catalog::new("gallery".parse().unwrap()).plan(small).plan(Plan::new("large", "a hall"))
    }

    async fn provision(&self, instance: &Instance) -> Result<Notes> {
        instance.progress("hung 1 of 3 <b>pictures</b>");
        self.behave(instance, "provision").await?;
        Ok(Notes::from_iter([("note".to_owned(), json!(PIN))]))
    }

    async fn bind(&self, _: &Instance, binding: &Binding) -> Result<EnvVars> {
        Ok(EnvVars::default().with("GALLERY_PASSWORD", binding.secret.clone()))
    }

    async fn update(&self, instance: &Instance, _: &Update) -> Result<Notes> {
        self.behave(instance, "update").await?;
        Ok(instance.notes.clone())
    }

    async fn status(&self, instance: &Instance) -> Result<Health> {
        self.behave(instance, "status").await?;
        Ok(match mood(instance, "notice") {
            "" => Health::Up,
            line => Health::Notice(line.to_owned()),
        })
    }

    async fn info(&self, instance: &Instance) -> Result<Vec<InfoItem>> {
        self.behave(instance, "info").await?;
        Ok(vec![
            InfoItem::new("Pictures", "3 of 40"),
            InfoItem::new("<script>alert(1)</script>", "\"'><img src=x onerror=alert(1)>"),
            InfoItem::new("Owner", format!("{} at mysql://root:hunter22@db.test/x", instance.secret.expose())),
        ])
    }

    fn dashboard(&self, instance: &Instance) -> Option<String> {
        (mood(instance, "dashboard") == "own").then(|| format!("https://gallery.test/{}", instance.name))
    }

    async fn deprovision(&self, instance: &Instance) -> Result<()> {
        self.behave(instance, "deprovision").await
    }
}

async fn served(gallery: &Gallery, folder: Option<&Path>) -> TestBroker {
    let settings =
        |server: BrokerServer| server.public_url(PUBLIC.parse().unwrap()).look_timeout(Duration::from_millis(500));
    TestBroker::start_with(gallery.clone(), folder, settings).await
}

async fn create(broker: &TestBroker, name: &str, more: &str) -> Answer {
    let body = format!("name={name}&plan=small&team=data&{more}&parameters.pin={PIN}&user=alice%40example.com");
    broker.form("POST", "/resources", &body).await
}

async fn osb(broker: &TestBroker, method: &str, path: &str, body: Value) -> Answer {
    let request = broker.request(method, &format!("/v2/{path}")).header("x-broker-api-version", "2.17");
    Answer::to(request.header("content-type", "application/json").body(body.to_string())).await
}

/// What the broker itself gets of an instance's link, behind the proxy.
async fn link(broker: &TestBroker, name: &str) -> String {
    let info = broker.ask("GET", &format!("/resources/{name}")).await.is(200).value();
    let line = info.as_array().unwrap().iter().find(|item| item["label"] == "Dashboard").expect("a link");
    local(line["value"].as_str().unwrap())
}

fn local(link: &str) -> String {
    link.strip_prefix(PUBLIC).expect("it begins with the public URL").to_owned()
}

/// As a browser asks: without credentials.
async fn open(broker: &TestBroker, link: &str) -> Answer {
    Answer::to(broker.anonymous("GET", link)).await
}

#[tokio::test] // SPEC I-12, O-22
async fn both_dialects_tell_the_link_and_it_opens_the_page_without_credentials() {
    let broker = served(&Gallery::default(), None).await;
    let mut wishes = wishes(&broker, json!({})).await;
    wishes["context"] = json!({ "instance_name": "Modern art" });

    let made = osb(&broker, "PUT", "service_instances/x1", wishes.clone()).await.is(201).value();

    let url = made["dashboard_url"].as_str().unwrap();
    assert!(url.starts_with(&format!("{PUBLIC}/dashboard/x1?key=")), "{url}");
    for (method, body) in [("PUT", wishes.clone()), ("PATCH", wishes), ("GET", Value::Null)] {
        assert_eq!(osb(&broker, method, "service_instances/x1", body).await.is(200).value()["dashboard_url"], url);
    }
    assert_eq!(link(&broker, "x1").await, local(url));
    let page = open(&broker, &local(url)).await.is(200).clone();
    assert_eq!(page.headers["content-type"], "text/html; charset=utf-8");
    for shown in ["<title>x1 · gallery · Up</title>", "Modern art", "<strong>small</strong>", "3 of 40", "Create"] {
        assert!(page.body.contains(shown), "{shown} is missing: {}", page.body);
    }
    assert!(!page.body.contains("http-equiv=\"refresh\""), "nothing goes on");
}

#[tokio::test] // SPEC I-12
async fn an_authors_own_dashboard_goes_first_and_without_a_public_url_there_is_no_other() {
    let broker = served(&Gallery::default(), None).await;
    create(&broker, "own", "parameters.dashboard=own").await.is(201);
    let info = broker.ask("GET", "/resources/own").await.is(200).value();
    assert!(info.as_array().unwrap().contains(&json!({ "label": "Dashboard", "value": "https://gallery.test/own" })));
    broker.stop().await;

    let broker = TestBroker::start(FakeBroker::new()).await;
    broker.create("cache").await.is(201);

    assert!(!broker.ask("GET", "/resources/cache").await.is(200).body.contains("Dashboard"));
    open(&broker, "/dashboard/cache?key=x").await.is(401);
    broker.ask("GET", "/dashboard/cache?key=x").await.is(404);
}

#[tokio::test] // SPEC I-13
async fn who_has_no_key_that_fits_reads_the_same_page_whatever_there_is() {
    let broker = served(&Gallery::default(), None).await;
    for name in ["cache", "other", "gone"] {
        create(&broker, name, "").await.is(201);
    }
    let (link, other, gone) = (link(&broker, "cache").await, link(&broker, "other").await, link(&broker, "gone").await);
    broker.remove("gone").await.is(200);
    create(&broker, "gone", "").await.is(201);
    let (path, key) = link.split_once("?key=").unwrap();
    let flipped = format!("{path}?key={}{}", if key.starts_with('A') { 'B' } else { 'A' }, &key[1..]);
    let of_other = format!("{path}?key={}", other.split_once("?key=").unwrap().1);
    let wanted = open(&broker, "/dashboard/nobody?key=x").await.is(404).clone();

    for tampered in [
        path.to_owned(),
        format!("{path}?key="),
        format!("{path}?key={key}A"),
        format!("{path}?key={}", &key[..42]),
        format!("{path}?key=%00{key}"),
        format!("{path}?other={key}"),
        flipped,
        of_other,
        // It was another instance's that had the name.
        gone,
        format!("/dashboard/nobody?key={key}"),
        format!("/dashboard/%ff?key={key}"),
        format!("/dashboard/a%2Fb?key={key}"),
        format!("/dashboard/plans?key={key}"),
    ] {
        let refused = open(&broker, &tampered).await.is(404).clone();
        assert_eq!(refused.body, wanted.body, "{tampered}");
        let names = |answer: &Answer| {
            let fixed = answer.headers.iter().filter(|(name, _)| *name != "date" && *name != "x-request-id");
            fixed.map(|(name, value)| (name.clone(), value.clone())).collect::<Vec<_>>()
        };
        assert_eq!(names(&refused), names(&wanted), "{tampered}");
    }
    assert!(wanted.body.contains("There is nothing here"), "{}", wanted.body);
    open(&broker, &link).await.is(200);
    // The key opens a page, and nothing else.
    for (method, path) in [
        ("POST", link.clone()),
        ("DELETE", link.clone()),
        ("OPTIONS", link.clone()),
        ("GET", format!("{path}/more?key={key}")),
        ("GET", format!("/dashboard?key={key}")),
        ("GET", format!("/dashboard/?key={key}")),
        ("GET", format!("/resources/cache?key={key}")),
    ] {
        Answer::to(broker.anonymous(method, &path)).await.is(401);
    }
    broker.ask("POST", &link).await.is(405);
}

#[tokio::test] // SPEC I-13
async fn a_page_is_kept_by_its_headers_and_told_to_who_asks_for_them_alone() {
    let broker = served(&Gallery::default(), None).await;
    create(&broker, "cache", "").await.is(201);
    let link = link(&broker, "cache").await;

    let page = open(&broker, &link).await.is(200).clone();

    let nothing_there = open(&broker, "/dashboard/cache?key=x").await.is(404).clone();
    for answer in [&page, &nothing_there] {
        for (name, value) in [
            ("cache-control", "no-store"),
            ("referrer-policy", "no-referrer"),
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
        ] {
            assert_eq!(answer.headers[name], value);
        }
        let policy = answer.headers["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none';") && policy.contains("frame-ancestors 'none'"), "{policy}");
        assert!(!policy.contains("script") && !policy.contains("unsafe"), "{policy}");
        assert!(policy.contains(&format!("'sha256-{}'", digest_of_style(&answer.body))), "the style is not applied");
    }
    let head = Answer::to(broker.anonymous("HEAD", &link)).await.is(200).clone();
    assert_eq!((head.body.as_str(), &head.headers["content-type"]), ("", &page.headers["content-type"]));
    assert_eq!(head.headers["content-length"], page.headers["content-length"]);
}

fn digest_of_style(page: &str) -> String {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    use sha2::{Digest as _, Sha256};

    let style = page.split_once("<style>").unwrap().1.split_once("</style>").unwrap().0;
    STANDARD.encode(Sha256::digest(style))
}

#[tokio::test] // SPEC I-12
async fn a_link_outlives_a_restart_and_another_sealing_key() {
    let (folder, gallery) = (tempfile::tempdir().unwrap(), Gallery::default());
    let broker = served(&gallery, Some(folder.path())).await;
    create(&broker, "cache", "").await.is(201);
    let first = link(&broker, "cache").await;
    broker.stop().await;
    State::rotate_key(folder.path()).await.unwrap();

    let broker = served(&gallery, Some(folder.path())).await;

    open(&broker, &first).await.is(200);
    assert_eq!(link(&broker, "cache").await, first);
}

#[tokio::test] // SPEC I-14
async fn texts_of_others_are_shown_and_never_read_as_html() {
    let broker = served(&Gallery::default(), None).await;
    let more = "parameters.notice=%3Csvg%2Fonload%3Dalert(1)%3E&description=%3C%2Fstyle%3E%3Cscript%3Ealert(2)%3C%2Fscript%3E%26amp%3B";
    create(&broker, "cache", more).await.is(201);

    let page = open(&broker, &link(&broker, "cache").await).await.is(200).body.clone();

    let body = page.split_once("</style>").unwrap().1;
    for raw in ["<script", "<img", "<svg", "<i>", "</style", "onerror=alert(1)>"] {
        assert!(!body.contains(raw), "{raw} is in the page: {body}");
    }
    for shown in [
        "&#60;script&#62;alert(1)&#60;/script&#62;",
        "&#34;&#39;&#62;&#60;img src=x onerror=alert(1)&#62;",
        "&#60;svg/onload=alert(1)&#62;",
        "&#60;/style&#62;&#60;script&#62;alert(2)&#60;/script&#62;&#38;amp;",
        "walls &#38; &#60;i&#62;floors&#60;/i&#62;",
    ] {
        assert!(body.contains(shown), "{shown} is missing: {body}");
    }
}

#[tokio::test] // SPEC I-14, S-5
async fn no_secret_is_on_a_page_whatever_its_author_says() {
    let broker = served(&Gallery::default(), None).await;
    create(&broker, "cache", "parameters.update=fails").await.is(201);
    let mut secrets = vec![PIN.to_owned(), "hunter22".to_owned(), "alice".to_owned()];
    for _ in 0..2 {
        secrets.push(broker.bind_app("cache", "web").await.is(201).env()["GALLERY_PASSWORD"].clone());
        broker.form("POST", "/resources/cache/rotate", "app-name=web").await.is(200);
    }
    broker.form("PUT", "/resources/cache", "plan=large&parameters.update=fails").await.is(409);

    let page = open(&broker, &link(&broker, "cache").await).await.is(200).body.clone();

    for secret in secrets {
        assert!(!page.contains(&secret), "{secret} is on the page: {page}");
    }
    // The instance's own stands where the author says it.
    assert!(page.contains("<dd>[secret] at mysql://[secret]@db.test/x</dd>"), "{page}");
    assert!(page.contains("the update of &#60;b&#62; failed with [secret]"), "{page}");
    for shown in ["App <strong>web</strong>", "New credentials of app &#34;web&#34;", "Bind app &#34;web&#34;"] {
        assert!(page.contains(shown), "{shown} is missing: {page}");
    }
}

#[tokio::test] // SPEC I-14, L-5
async fn an_author_who_is_slow_or_fails_gives_a_page_that_says_so() {
    let broker = served(&Gallery::default(), None).await;
    for (name, tags) in [
        ("slow", "parameters.info=hangs&parameters.status=hangs"),
        ("failing", "parameters.info=fails&parameters.status=fails"),
        ("panicking", "parameters.info=panics&parameters.status=panics"),
    ] {
        create(&broker, name, tags).await.is(201);
        // Its info, which has the link, fails as well: a platform of Open Service Broker was given it before.
        let url = osb(&broker, "GET", &format!("service_instances/{name}"), Value::Null).await.is(200).value();

        let page = open(&broker, &local(url["dashboard_url"].as_str().unwrap())).await.is(200).body.clone();

        assert!(page.contains(&format!("<title>{name} · gallery · Down</title>")), "{page}");
        let why = match name {
            "slow" => "the service is unavailable at the moment",
            "failing" => "the info of &#60;b&#62; failed with [secret]",
            _ => "the service failed, its operator finds the cause",
        };
        assert!(page.contains(&format!("More can't be shown now: {why}")), "{page}");
        assert!(page.contains("<strong>small</strong>") && page.contains("Create"), "what is known is missing: {page}");
    }
}

/// A catalog's identifiers, as a platform of Open Service Broker sends them.
async fn wishes(broker: &TestBroker, parameters: Value) -> Value {
    let catalog = osb(broker, "GET", "catalog", Value::Null).await.is(200).value();
    let service = &catalog["services"][0];
    json!({
        "service_id": service["id"], "plan_id": service["plans"][0]["id"], "parameters": parameters,
        "organization_guid": "org", "space_guid": "space",
    })
}

async fn provision_slowly(broker: &TestBroker, name: &str, parameters: Value) -> String {
    let path = format!("service_instances/{name}?accepts_incomplete=true");
    let accepted = osb(broker, "PUT", &path, wishes(broker, parameters).await).await.is(202).value();
    local(accepted["dashboard_url"].as_str().unwrap())
}

async fn comes_to(broker: &TestBroker, gallery: &Gallery, link: &str, text: &str) -> String {
    let mut page = String::new();
    eventually(text, async || {
        gallery.released.notify_waiters();
        page = open(broker, link).await.body.clone();
        page.contains(text)
    })
    .await;
    page
}

const IS_LOADED_AGAIN: &str = "<meta http-equiv=\"refresh\" content=\"5\">";

#[tokio::test] // SPEC I-14
async fn a_page_follows_its_instance_through_its_life() {
    let (folder, gallery) = (tempfile::tempdir().unwrap(), Gallery { version: Some("1.0.0"), ..Gallery::default() });
    let broker = served(&gallery, Some(folder.path())).await;
    create(&broker, "x1", "").await.is(201);
    broker.bind_app("x1", "earlier").await.is(201);
    broker.remove("x1").await.is(200);

    let link = provision_slowly(&broker, "x1", json!({ "provision": "hangs", "deprovision": "hangs" })).await;

    let page = open(&broker, &link).await.is(200).body.clone();
    assert!(page.contains("<title>x1 · gallery · Being made</title>") && page.contains(IS_LOADED_AGAIN), "{page}");
    assert!(page.contains("hung 1 of 3 &#60;b&#62;pictures&#60;/b&#62;") && page.contains("goes on"), "{page}");
    assert!(!page.contains("earlier"), "that was another instance of this name: {page}");
    let page = comes_to(&broker, &gallery, &link, "<title>x1 · gallery · Up</title>").await;
    assert!(page.contains("It works.") && page.contains("Nobody is bound.") && page.contains("done in"), "{page}");
    assert!(!page.contains(IS_LOADED_AGAIN) && !page.contains("earlier") && !page.contains("1.0.0"), "{page}");
    broker.stop().await;

    let gallery = Gallery { version: Some("1.1.0"), ..gallery };
    let broker = served(&gallery, Some(folder.path())).await;
    let page = open(&broker, &link).await.is(200).body.clone();
    let update = "1.1.0 is there, the instance is on 1.0.0: update it to get it (doors close for a minute)";
    assert!(page.contains(update), "{page}");
    let wishes = wishes(&broker, json!({})).await;
    let ids = ["service_id", "plan_id"].map(|id| wishes[id].as_str().unwrap());
    let path = format!("service_instances/x1?accepts_incomplete=true&service_id={}&plan_id={}", ids[0], ids[1]);
    osb(&broker, "DELETE", &path, Value::Null).await.is(202);
    let page = open(&broker, &link).await.is(200).body.clone();
    assert!(page.contains("<title>x1 · gallery · Being removed</title>") && page.contains(IS_LOADED_AGAIN), "{page}");
    comes_to(&broker, &gallery, &link, "There is nothing here").await;
}

#[tokio::test] // SPEC I-14, I-10
async fn a_page_says_why_an_instance_could_not_be_made() {
    let gallery = Gallery::default();
    let broker = served(&gallery, None).await;

    let link = provision_slowly(&broker, "x2", json!({ "provision": "hangs and fails" })).await;

    let page = comes_to(&broker, &gallery, &link, "<title>x2 · gallery · Down</title>").await;
    let why = "instance &#34;x2&#34; could not be made: the provision of &#60;b&#62; failed with [secret]";
    assert!(page.contains(why) && !page.contains(IS_LOADED_AGAIN), "{page}");
}

#[tokio::test] // SPEC I-13, T-4, T-5
async fn a_page_takes_a_place_of_those_who_ask_and_is_measured_without_its_key() {
    let gallery = Gallery::default();
    let settings = |server: BrokerServer| server.public_url(PUBLIC.parse().unwrap()).max_requests(1);
    let broker = TestBroker::start_with(gallery.clone(), None, settings).await;
    create(&broker, "cache", "").await.is(201);
    let link = link(&broker, "cache").await;
    broker.form("PUT", "/resources/cache", "plan=small&parameters.info=hangs").await.is(200);
    let page = tokio::spawn(Answer::to(broker.anonymous("GET", &link)));

    eventually("the only place is taken", async || broker.ask("GET", "/resources/plans").await.status == 503).await;

    open(&broker, &link).await.is(503);
    gallery.released.notify_waiters();
    page.await.unwrap().is(200);
    let metrics = broker.ask("GET", "/metrics").await.is(200).body.clone();
    let key = link.split_once("?key=").unwrap().1;
    assert!(metrics.contains("\"/dashboard/{name}\"") && !metrics.contains(key), "{metrics}");
}
