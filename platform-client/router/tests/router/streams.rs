//! Bodies pass as they come, and connections may change their protocol.

use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::{io::AsyncReadExt as _, net::TcpStream};

use crate::support::{Client, TestUnit, get, publish, raw, router, soon, upload};

async fn next(body: &mut Incoming) -> Option<String> {
    let frame = soon(body.frame()).await?.expect("a frame").into_data().expect("data");
    Some(String::from_utf8(frame.to_vec()).expect("a text"))
}

#[tokio::test] // SPEC R-15
async fn an_answers_first_byte_arrives_before_its_last_is_sent() {
    let (router, unit) = (router(), TestUnit::start("one").await);
    publish(&*router.routes(), &[&unit]).await;
    let mut client = Client::connect(router.local_addr()).await;

    let mut body = soon(client.send(get("/gated"))).await.unwrap().into_body();

    assert_eq!(next(&mut body).await.as_deref(), Some("first "));
    unit.inside.gate.add_permits(1);
    assert_eq!(next(&mut body).await.as_deref(), Some("second"));
    assert_eq!(next(&mut body).await, None);
}

#[tokio::test] // SPEC R-15
async fn an_uploads_first_byte_arrives_before_its_last_is_sent() {
    let (router, unit) = (router(), TestUnit::start("one").await);
    publish(&*router.routes(), &[&unit]).await;
    let mut client = Client::connect(router.local_addr()).await;
    let (sender, request) = upload("/echo");

    sender.unbounded_send("one").unwrap();
    let mut body = soon(client.send(request)).await.unwrap().into_body();
    assert_eq!(next(&mut body).await.as_deref(), Some("one"));
    sender.unbounded_send("two").unwrap();
    assert_eq!(next(&mut body).await.as_deref(), Some("two"));
    drop(sender);

    assert_eq!(next(&mut body).await, None);
}

#[tokio::test] // SPEC R-15
async fn a_client_that_asks_before_it_uploads_is_told_to_go_on() {
    let (router, unit) = (router(), TestUnit::start("one").await);
    publish(&*router.routes(), &[&unit]).await;
    let mut client = TcpStream::connect(router.local_addr()).await.unwrap();
    let head = "POST /echo HTTP/1.1\r\nHost: blog.test\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";

    let go_on = raw(&mut client, head, "\r\n\r\n").await;
    let answer = raw(&mut client, "hello", "hello").await;

    assert!(go_on.starts_with("HTTP/1.1 100 Continue"), "{go_on}");
    assert!(answer.contains("hello"), "{answer}");
}

#[tokio::test] // SPEC R-15
async fn a_client_that_asks_before_it_uploads_is_not_told_to_go_on_for_nothing() {
    let router = router();
    let mut client = TcpStream::connect(router.local_addr()).await.unwrap();
    let head = "POST /echo HTTP/1.1\r\nHost: blog.test\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";

    let answer = raw(&mut client, head, "\r\n\r\n").await;

    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
}

#[tokio::test] // SPEC R-15
async fn a_unit_may_answer_before_it_has_read_everything() {
    let (router, unit) = (router(), TestUnit::start("one").await);
    publish(&*router.routes(), &[&unit]).await;
    let mut client = Client::connect(router.local_addr()).await;
    let (sender, request) = upload("/early");
    sender.unbounded_send("a beginning").unwrap();

    let answer = client.ask(request).await;

    assert_eq!((answer.status.as_u16(), answer.body.as_str()), (413, "too much"));
}

const UPGRADE: &str = "GET /chat HTTP/1.1\r\nHost: blog.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

#[tokio::test] // SPEC R-16
async fn a_connection_that_changes_its_protocol_passes_bytes_both_ways() {
    let (router, unit) = (router(), TestUnit::start("one").await);
    publish(&*router.routes(), &[&unit]).await;
    let mut client = TcpStream::connect(router.local_addr()).await.unwrap();

    let head = raw(&mut client, UPGRADE, "\r\n\r\n").await;

    assert!(head.starts_with("HTTP/1.1 101 ") && head.contains("upgrade: websocket"), "{head}");
    for text in ["ping", "pong"] {
        assert_eq!(raw(&mut client, text, text).await, text);
    }
}

#[tokio::test] // SPEC
async fn an_open_upgrade_keeps_its_unit_from_being_drained() {
    let (router, unit) = (router(), TestUnit::start("one").await);
    let routes = router.routes();
    publish(&*routes, &[&unit]).await;
    let mut client = TcpStream::connect(router.local_addr()).await.unwrap();
    raw(&mut client, UPGRADE, "\r\n\r\n").await;
    publish(&*routes, &[]).await;

    assert!(!routes.drained(&unit.backend().id, Duration::from_millis(50)).await.unwrap());
    assert_eq!(raw(&mut client, "still here", "here").await, "still here");
    drop(client);

    assert!(soon(routes.drained(&unit.backend().id, crate::support::SOON)).await.unwrap());
}

#[tokio::test] // SPEC R-16
async fn a_unit_that_ends_an_upgrade_ends_it_for_the_client() {
    let (router, unit) = (router(), TestUnit::start("one").await);
    publish(&*router.routes(), &[&unit]).await;
    let mut client = TcpStream::connect(router.local_addr()).await.unwrap();
    raw(&mut client, UPGRADE, "\r\n\r\n").await;

    tokio::io::AsyncWriteExt::shutdown(&mut client).await.unwrap();

    let mut rest = Vec::new();
    soon(client.read_to_end(&mut rest)).await.unwrap();
    assert!(rest.is_empty());
}
