//! Operations that are told while they happen (contract 1.5 to 1.7; checklist 117 to 119).

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use crate::harness::{PATIENCE, Reading, TestApi, eventually};

#[tokio::test] // SPEC W-6
async fn the_first_word_arrives_while_the_operation_runs() {
    let api = TestApi::start().await;
    api.running_app().await;
    api.engine.hold_ready(true);

    let mut reading = Reading::of(api.answer(api.form("POST", "/1.0/apps/blog/restart", "")).await);
    reading.until("---- Restarting the app").await;
    assert_eq!(api.get("/1.1/events?running=true").await.value()[0]["Kind"]["Name"], "app.update.restart");

    api.engine.hold_ready(false);
    assert!(reading.rest().await.contains("1 of 1 new units ready"));
}

#[tokio::test] // SPEC W-6
async fn a_failure_before_the_first_word_has_a_status() {
    let api = TestApi::start().await;
    api.running_app().await;

    let answer = api.put("/1.0/apps/blog/units", "units=1&process=cron").await;

    answer.is(400).has("process error: ");
    assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
}

#[tokio::test] // checklist 118, SPEC W-6
async fn a_failure_after_the_first_word_is_the_streams_last_line() {
    let api = TestApi::start().await;
    api.running_app().await;
    api.engine.never_ready(Some("unit exited with status 1"));

    let answer = api.post("/1.0/apps/blog/restart", "").await;

    let messages = answer.is(200).messages();
    let last = messages.last().unwrap();
    assert_eq!((last["Message"].as_str(), last["Error"].as_str()), (Some(""), Some("unit exited with status 1")));
    assert!(messages[..messages.len() - 1].iter().all(|message| message["Error"].is_null()));
}

#[tokio::test] // checklist 119, SPEC W-7
async fn a_client_that_goes_away_changes_nothing() {
    let api = TestApi::start().await;
    api.running_app().await;
    api.engine.hold_ready(true);
    let mut deploy = Reading::of(api.answer(api.form("POST", "/1.0/apps/blog/deploy", "image=next")).await);
    deploy.until("Updating units").await;

    drop(deploy);
    api.engine.hold_ready(false);

    eventually("the second deploy is done", async || api.get("/1.0/apps/blog").await.value()["deploys"] == 2).await;
    assert!(api.platform.idle(PATIENCE).await);
    assert_eq!(api.event_error("app.deploy").await.as_deref(), Some(""));
}

#[tokio::test] // SPEC W-7
async fn a_client_that_goes_away_before_the_answer_changes_nothing_either() {
    let api = TestApi::start().await;
    api.running_app().await;
    api.engine.hold_ready(true);
    let restart = api.form("POST", "/1.0/apps/blog/restart", "");
    let waiting = tokio::spawn({
        let router = api.router.clone();
        async move { tower::ServiceExt::oneshot(router, restart).await }
    });
    eventually("the restart runs", async || api.get("/1.1/events?running=true").await.status == 200).await;

    waiting.abort();
    api.engine.hold_ready(false);

    assert!(api.platform.idle(PATIENCE).await);
    assert_eq!(api.event_error("app.update.restart").await.as_deref(), Some(""));
}

#[tokio::test(start_paused = true)] // checklist 117, SPEC W-5
async fn a_silent_operation_writes_a_line_break_every_half_minute() {
    let api = TestApi::start().await;
    api.running_app().await;
    api.engine.hold_ready(true);
    let began = tokio::time::Instant::now();

    let mut reading = Reading::of(api.answer(api.form("POST", "/1.0/apps/blog/restart", "")).await);
    reading.patient().until("\n\n\n").await;

    assert!(began.elapsed() < Duration::from_secs(65), "{:?}", began.elapsed());
    api.engine.hold_ready(false);
    let text = reading.rest().await;
    assert!(text.lines().filter(|line| !line.is_empty()).all(|line| line.starts_with('{')), "{text}");
}

#[tokio::test(start_paused = true)] // SPEC W-5: nothing follows `OK`
async fn a_silent_deploy_asks_for_patience_and_still_ends_with_ok() {
    let api = TestApi::start().await;
    api.create_app().await;
    api.engine.hold_ready(true);

    let mut reading = Reading::of(api.answer(api.form("POST", "/1.0/apps/blog/deploy", "image=x")).await);
    reading.patient().until("please wait...\nplease wait...\n").await;
    api.engine.hold_ready(false);

    assert!(reading.rest().await.ends_with("\nOK\n"));
}

#[tokio::test] // checklist 51, 52
async fn a_chunked_upload_over_a_real_connection_is_answered_while_the_deploy_runs() {
    let api = TestApi::start().await;
    api.create_app().await;
    api.engine.hold_ready(true);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(axum::serve(listener, api.router.clone()).into_future());
    let mut client = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST /1.0/apps/blog/deploy HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: bearer {}\r\n\
         Content-Type: multipart/form-data; boundary=b1\r\nTransfer-Encoding: chunked\r\n\r\n",
        api.token
    );
    client.write_all(head.as_bytes()).await.unwrap();
    let body =
        "--b1\r\nContent-Disposition: form-data; name=\"file\"; filename=\"archive.tar.gz\"\r\n\r\nbytes\r\n--b1--\r\n";
    for chunk in body.as_bytes().chunks(7) {
        client.write_all(format!("{:x}\r\n", chunk.len()).as_bytes()).await.unwrap();
        client.write_all(chunk).await.unwrap();
        client.write_all(b"\r\n").await.unwrap();
    }
    client.write_all(b"0\r\n\r\n").await.unwrap();

    let early = read_until(&mut client, "Updating units").await;
    assert!(early.starts_with("HTTP/1.1 200 OK\r\n"), "{early}");
    assert!(early.contains("content-type: text\r\n") && early.contains("x-tsuru-eventid: "), "{early}");
    api.engine.hold_ready(false);
    let rest = read_until(&mut client, "\nOK\n").await;
    assert!(!rest.contains("content-encoding"), "{rest}");
    serving.abort();
}

async fn read_until(client: &mut TcpStream, wanted: &str) -> String {
    let mut text = String::new();
    let mut buffer = [0; 4096];
    while !text.contains(wanted) {
        let read = tokio::time::timeout(PATIENCE, client.read(&mut buffer)).await.expect("bytes in time").unwrap();
        assert_ne!(read, 0, "it ended before {wanted:?}: {text}");
        text += std::str::from_utf8(&buffer[..read]).unwrap();
    }
    text
}
