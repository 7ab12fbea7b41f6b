//! Units, power, commands, logs (contract 7.7 to 7.9, 9).

use serde_json::json;

use crate::harness::{Reading, TestApi};

#[tokio::test] // checklist 68, 69
async fn units_are_added_and_removed() {
    let api = TestApi::start().await;
    api.running_app().await;

    let told = api.put("/1.0/apps/blog/units", "units=2&process=web&version=1").await.is(200).told();
    assert!(told.contains("---- Patching from 1 to 3 units ----\n"), "{told}");
    assert!(told.contains(" ---> 2 of 2 new units ready\n"), "{told}");
    let units = api.get("/1.0/apps/blog").await.value()["units"].clone();
    assert!(units.as_array().unwrap().iter().all(|unit| unit["Routable"] == true));
    api.delete("/1.0/apps/blog/units?units=2&process=&version=").await.is(200);
    assert_eq!(api.units(), 1);
}

#[tokio::test] // checklist 70
async fn a_number_of_units_is_a_number_above_zero() {
    let api = TestApi::start().await;
    api.running_app().await;
    let sentence = "Invalid number of units: the number must be an integer greater than 0.";

    for bad in ["0", "-1", "x", "", "99999999999"] {
        api.put("/1.0/apps/blog/units", &format!("units={bad}")).await.is(400).says(sentence);
        api.delete(&format!("/1.0/apps/blog/units?units={bad}")).await.is(400).says(sentence);
    }
    api.put("/1.0/apps/blog/units", "units=1&version=7").await.is(400).has("version 7");
    api.put("/1.0/apps/missing/units", "units=1").await.is(404);
}

#[tokio::test] // checklist 71, 72, 73, 76
async fn scaling_is_refused_where_it_has_no_meaning() {
    let api = TestApi::start().await;
    api.create_app().await;
    let path = "/1.0/apps/blog/units";
    api.put(path, "units=1").await.is(412).says("units can only be modified after the first deploy");

    api.builds_give("web: ./serve\nworker: ./work");
    api.deploy().await;
    let unnamed = "no process name specified and more than one declared in Procfile";
    api.put(path, "units=1").await.is(400).says(unnamed);
    api.put(path, "units=1&process=cron").await.is(400).has("process error: ");

    let told = api.delete("/1.0/apps/blog/units?units=9&process=web").await.is(200).told();
    assert!(told.contains("---- Calling app stop internally as the number of units is zero ----"), "{told}");
    assert_eq!(api.units(), 1);
    let stopped = "Cannot add units to an app that has stopped units";
    api.put(path, "units=1&process=web").await.is(412).says(stopped);
}

#[tokio::test] // checklist 74
async fn a_unit_is_killed_by_its_identifier() {
    let api = TestApi::start().await;
    api.running_app().await;
    let id = api.get("/1.0/apps/blog").await.value()["units"][0]["ID"].as_str().unwrap().to_owned();

    api.delete(&format!("/1.12/apps/blog/units/{id}?force=true")).await.is(200);

    assert_eq!(api.units(), 0);
    api.delete("/1.12/apps/blog/units/nope").await.is(404).says("unit \"nope\" not found");
}

#[tokio::test] // checklist 75
async fn an_app_is_stopped_started_and_restarted() {
    let api = TestApi::start().await;
    api.running_app().await;

    let told = api.post("/1.0/apps/blog/stop", "process=&version=").await.is(200).told();
    assert_eq!((told.as_str(), api.units()), ("---- Stopping the app \"blog\" ----\n", 0));
    api.post("/1.0/apps/blog/start", "process=web").await.is(200);
    assert_eq!(api.units(), 1);
    let told = api.post("/1.0/apps/blog/restart", "").await.is(200).told();
    assert!(told.starts_with("---- Restarting the app \"blog\" ----\n"), "{told}");
    api.post("/1.0/apps/missing/restart", "").await.is(404);
}

#[tokio::test] // checklist 81
async fn a_commands_output_has_no_times_and_its_failure_is_told_in_the_stream() {
    let api = TestApi::start().await;
    api.create_app().await;
    let path = "/1.0/apps/blog/run";
    let early = api.post(path, "command=echo hi&once=false&isolated=false").await;
    let refusal = "App must be available to run non-isolated commands";
    assert_eq!(early.is(200).messages()[0]["Error"], refusal);
    api.deploy().await;

    let answer = api.post(path, "command=echo hi; exit 3&once=true&isolated=false").await;

    let failed = json!({"Message": "", "Error": "the command exited with status 3"});
    assert_eq!(answer.is(200).messages(), [json!({"Message": "hi\n"}), failed]);
    let isolated = api.post(path, "command=echo alone&once=false&isolated=true").await;
    assert_eq!(isolated.is(200).messages().last().unwrap()["Error"], json!(null));
    api.post(path, "command=").await.is(400);
    api.post("/1.0/apps/missing/run", "command=ls").await.is(404);
}

#[tokio::test] // checklist 77, 78
async fn log_lines_come_in_an_array() {
    let api = TestApi::start().await;
    api.running_app().await;
    let unit = api.engine.units_of(&"blog".parse().unwrap())[0].id.clone();
    assert_eq!(api.get("/1.0/apps/blog/log?lines=5").await.is(200).body, "[]\n");
    for line in ["one", "two", "{\"three\":3}"] {
        api.engine.say(&unit, line);
    }

    let lines = api.get("/1.0/apps/blog/log?lines=2").await.is(200).value();
    let seen: Vec<_> = lines.as_array().unwrap().iter().map(|line| line["Message"].as_str().unwrap()).collect();
    assert_eq!(seen, ["two", "{\"three\":3}"]);
    let line = &lines[0];
    assert_eq!((&line["Source"], &line["Name"], &line["Type"]), (&json!("web"), &json!("blog"), &json!("app")));
    assert!(line["Date"].as_str().unwrap().parse::<chrono::DateTime<chrono::Utc>>().is_ok());

    assert_eq!(api.get("/1.0/apps/blog/log?lines=9&source=worker").await.value(), json!([]));
    assert_eq!(api.get("/1.0/apps/blog/log?lines=2&source=web").await.value(), lines);
    assert_eq!(api.get("/1.0/apps/blog/log?lines=2&source=worker&invert-source=true").await.value(), lines);
    assert_eq!(api.get("/1.0/apps/blog/log?lines=2&unit=other&unit=another").await.value(), json!([]));
    api.get("/1.0/apps/blog/log").await.is(400).says("Parameter \"lines\" is mandatory.");
    api.get("/1.0/apps/blog/log?lines=x").await.is(400);
    api.get("/1.0/apps/blog/log?lines=-1").await.is(400);
    api.get("/1.0/apps/missing/log?lines=1").await.is(404);
    api.post("/1.0/apps/blog/log", "message=x").await.is(501);
}

#[tokio::test(start_paused = true)] // checklist 79, 80
async fn a_log_that_is_followed_begins_with_an_array_and_is_kept_alive() {
    let api = TestApi::start().await;
    api.running_app().await;
    let unit = api.engine.units_of(&"blog".parse().unwrap())[0].id.clone();
    let request = api.form("GET", "/1.0/apps/blog/log?lines=1&follow=1", "");

    let mut reading = Reading::of(api.answer(request).await);

    reading.patient().until("[]\n").await;
    reading.until("[]\n\n\n").await;
    api.engine.say(&unit, "hello");
    reading.until("\"Message\":\"hello\"").await;
    assert!(reading.text.ends_with("]\n"), "{}", reading.text);
}
