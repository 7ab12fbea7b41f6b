//! Deploys and the events that they are (contract 8, 14).

use axum::{body::Body, http::Request};
use platform_api::ApiInfo;
use serde_json::json;

use crate::harness::{Answer, Reading, TestApi};

const FILE: (&str, Option<&str>, &str) = ("file", Some("archive.tar.gz"), "a gzip tar");

fn upload(api: &TestApi, parts: &[(&str, Option<&str>, &str)]) -> Request<Body> {
    api.multipart("POST", "/1.0/apps/blog/deploy", parts)
}

#[tokio::test] // checklist 51
async fn an_upload_is_deployed_and_ends_with_ok() {
    let api = TestApi::start().await;
    api.create_app().await;

    // The order of parts is the client's own affair.
    let answer = api.send(upload(&api, &[FILE, ("origin", None, "app-deploy"), ("message", None, "first")])).await;

    assert!(answer.is(200).body.ends_with("\nOK\n"), "{}", answer.body);
    assert_eq!(answer.header("content-type"), "text");
    let event = answer.header("x-tsuru-eventid");
    assert!(event.len() == 24 && event.bytes().all(|b| b.is_ascii_hexdigit()), "{event}");
    answer.has("---- Building image ----\n").has(" ---> 1 of 1 new units ready\n");
    let deploy = &api.get("/1.0/deploys?app=blog&limit=10").await.value()[0];
    assert_eq!((&deploy["ID"], &deploy["Image"], &deploy["Version"]), (&json!(event), &json!("v1"), &json!(1)));
    assert_eq!(
        (&deploy["Origin"], &deploy["CanRollback"], &deploy["Error"]),
        (&json!("app-deploy"), &json!(true), &json!(""))
    );
    assert!(deploy["Duration"].is_i64() || deploy["Duration"].is_u64());
    assert_eq!(deploy["Log"], "");
    assert!(
        api.get(&format!("/1.0/deploys/{event}")).await.value()["Log"].as_str().unwrap().contains("Building image")
    );
}

#[tokio::test] // checklist 55
async fn an_image_is_deployed_by_form() {
    let api = TestApi::start().await;
    api.create_app().await;

    let answer = api.post("/1.0/apps/blog/deploy", "origin=image&image=registry/blog:1&override-versions=true").await;

    assert!(answer.is(200).body.ends_with("\nOK\n"), "{}", answer.body);
    assert_eq!(api.get("/1.0/deploys").await.value()[0]["Origin"], "image");
}

#[tokio::test] // checklist 56, 57, 58, 59
async fn what_cannot_be_deployed_is_refused_before_it_begins() {
    let api = TestApi::start().await;
    api.create_app().await;
    let nothing = r#"You must provide at least one of: "archive-url", "dockerfile", "image" or "file""#;
    let both = r#"Cannot set "image" mutually with "archive-url", "dockerfile" or "file" fields"#;
    let image = ("image", None, "registry/blog");

    api.send(upload(&api, &[("origin", None, "app-deploy")])).await.is(400).says(nothing);
    api.post("/1.0/apps/blog/deploy", "origin=app-deploy&image=&message=").await.is(400).says(nothing);
    api.send(upload(&api, &[("file", Some("archive.tar.gz"), "")])).await.is(400).says(nothing);
    api.send(upload(&api, &[image, FILE])).await.is(400).says(both);
    api.send(upload(&api, &[image, ("dockerfile", None, "FROM x")])).await.is(400).says(both);
    api.post("/1.0/apps/blog/deploy", "image=x&archive-url=http%3A%2F%2Fy").await.is(400).says(both);
    api.send(upload(&api, &[("archive-url", None, "http://y"), FILE])).await.is(400).has("Cannot set \"archive-url\"");
    api.send(upload(&api, &[("origin", None, "bogus"), FILE])).await.is(400).says("Invalid deployment origin");
    api.post("/1.0/apps/blog/deploy", "archive-url=http%3A%2F%2Fy").await.is(400).has("not supported");
    api.send(upload(&api, &[("dockerfile", None, "FROM x")])).await.is(400).has("Dockerfile is not supported");
    api.send(upload(&api, &[("dockerfile", None, "FROM x"), FILE])).await.is(400).has("Dockerfile is not supported");
    api.send(upload(&api, &[("new-version", None, "true"), FILE])).await.is(400);
    api.get("/1.0/deploys?app=blog").await.is(204);
}

#[tokio::test] // contract 8.1
async fn a_deploys_refusals_have_sentences_of_their_own() {
    let mut api = TestApi::start().await;
    api.create_app().await;
    api.post("/1.0/apps", "name=images").await.is(201);

    api.post("/1.0/apps/missing/deploy", "image=x").await.is(404).says("App not found");
    let archive = api.multipart("POST", "/1.0/apps/images/deploy", &[FILE]);
    let refusal = "can't deploy app without platform, if it's not an image, dockerfile or rollback";
    api.send(archive).await.is(400).says(refusal);
    api.token = api.as_bob().await;
    let refusal = "User does not have permission to do this action in this app";
    api.post("/1.0/apps/blog/deploy", "image=x").await.is(403).says(refusal);
}

#[tokio::test]
async fn an_upload_that_is_too_large_is_refused_and_leaves_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let info = ApiInfo { upload_limit: 10, upload_dir: Some(folder.path().to_owned()), ..ApiInfo::default() };
    let api = TestApi::with(info).await;
    api.create_app().await;
    let files = || std::fs::read_dir(folder.path()).unwrap().count();

    let large = ("file", Some("archive.tar.gz"), "more than ten bytes");
    api.send(upload(&api, &[large])).await.is(413).has("larger than 10 bytes");
    assert_eq!(files(), 0);

    let answer = api.send(upload(&api, &[FILE])).await;
    assert!(answer.is(200).body.ends_with("\nOK\n"), "{}", answer.body);
    assert_eq!(files(), 0);
}

#[tokio::test] // checklist 53, 54
async fn a_failed_deploy_says_why_and_does_not_end_with_ok() {
    let api = TestApi::start().await;
    api.running_app().await;
    api.engine.fail_build(Some("hook `make` failed"));

    let answer = api.send(upload(&api, &[FILE])).await;

    assert!(answer.is(200).body.ends_with("\nhook `make` failed\n"), "{}", answer.body);
    assert!(!answer.body.contains("OK\n"));
    assert_eq!(api.units(), 1);
    let deploy = &api.get("/1.0/deploys?app=blog").await.value()[0];
    assert_eq!((&deploy["Error"], &deploy["CanRollback"]), (&json!("hook `make` failed"), &json!(false)));
}

#[tokio::test] // checklist 60
async fn a_second_deploy_of_an_app_is_500_with_event_locked() {
    let api = TestApi::start().await;
    api.create_app().await;
    api.engine.hold_ready(true);
    let mut first = Reading::of(api.answer(upload(&api, &[FILE])).await);
    first.until("Updating units").await;

    let second = api.send(upload(&api, &[FILE])).await;

    let begins = "event locked: app(blog) running \"app.deploy.upload\" start by user admin@example.com at ";
    assert!(second.is(500).body.starts_with(begins), "{}", second.body);
    api.engine.hold_ready(false);
    assert!(first.rest().await.ends_with("\nOK\n"));
}

#[tokio::test] // checklist 61, 62, 63
async fn a_rollback_is_a_json_stream_and_another_deploy() {
    let api = TestApi::start().await;
    api.running_app().await;
    api.deploy().await;
    let path = "/1.0/apps/blog/deploy/rollback";

    let answer = api.post(path, "origin=rollback&image=v1").await;

    assert!(answer.is(200).told().contains("[version 1]"), "{}", answer.body);
    assert!(answer.messages().iter().all(|message| message["Error"].is_null()));
    let deploys = api.get("/1.0/deploys?app=blog&limit=2").await.value();
    assert_eq!(deploys.as_array().unwrap().len(), 2);
    assert!(deploys.as_array().unwrap().iter().any(|deploy| deploy["Origin"] == "rollback"));
    assert_eq!(api.get("/1.0/apps/blog").await.value()["deploys"], 3);
    api.post(path, "image=v99").await.is(404).has("version v99");
    api.post(path, "origin=rollback&image=").await.is(400).says("you cannot rollback without an image name");
    api.get("/1.0/deploys?app=missing").await.is(404);
    api.get("/1.0/deploys/6650f1a2b3c4d5e6f7a8b9c0").await.is(404).says("Deploy not found.");
    api.get("/1.0/deploys/xyz").await.is(400);
}

#[tokio::test] // checklist 111, 114, 116
async fn events_are_listed_with_every_key_of_the_filter_empty() {
    let api = TestApi::start().await;
    api.running_app().await;
    let all = "allowedtargets=&erroronly=&kindtype=&limit=&ownername=&ownertype=&permissions=&raw=&since=&skip=&sort=\
        &target.type=&target.value=&until=";
    let list = async |query: &str| -> Answer { api.get(&format!("/1.1/events?{all}&{query}")).await };

    let events = list("").await.value();
    for event in events.as_array().unwrap() {
        let id = event["UniqueID"].as_str().unwrap();
        assert!(id.len() == 24 && id.bytes().all(|b| b.is_ascii_hexdigit()), "{event}");
        for time in ["StartTime", "EndTime", "ExpireAt", "LockUpdateTime"] {
            event[time].as_str().unwrap().parse::<chrono::DateTime<chrono::Utc>>().unwrap();
        }
    }
    let deploys = api.get("/1.1/events?kindname=app.deploy&target.type=app&target.value=blog").await.value();
    assert_eq!(deploys.as_array().unwrap().len(), 1);
    assert_eq!(deploys[0]["Target"], json!({"Type": "app", "Value": "blog"}));
    assert_eq!(deploys[0]["Owner"], json!({"Type": "user", "Name": "admin@example.com"}));
    list("kindname=app.delete").await.is(204);
    api.get("/1.1/events?target.type=container").await.is(204);
    api.get("/1.1/events?running=true").await.is(204);
    api.get("/1.1/events?limit=x").await.is(400);
    api.get("/1.1/events?since=yesterday").await.is(400);
    assert!(api.get("/1.1/events/kinds").await.value().as_array().unwrap().len() > 10);
}

#[tokio::test] // checklist 112, 113
async fn an_event_has_its_log_and_cannot_be_cancelled() {
    let api = TestApi::start().await;
    api.running_app().await;
    let id = api.get("/1.1/events?kindname=app.deploy").await.value()[0]["UniqueID"].as_str().unwrap().to_owned();

    let event = api.get(&format!("/1.1/events/{id}")).await.value();

    assert_eq!(event["Kind"], json!({"Type": "permission", "Name": "app.deploy.image"}));
    assert!(event["Log"].as_str().unwrap().contains("Building image"));
    let path = format!("/1.1/events/{id}/cancel");
    api.json("POST", &path, json!({"reason": "because"})).await.is(400).says("event is not cancelable");
    api.post(&path, "").await.is(400).says("reason is mandatory");
    api.post("/1.1/events/6650f1a2b3c4d5e6f7a8b9c0/cancel", "reason=x").await.is(404).says("event not found");
    api.post("/1.1/events/xyz/cancel", "reason=x").await.is(400).has("uuid parameter is not ObjectId");
}
