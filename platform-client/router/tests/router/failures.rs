//! What clients see when there is no answer to be had, and what is tried before that.

use std::{sync::atomic::Ordering::SeqCst, time::Duration};

use hyper::Method;
use platform_router::{Router, RouterConfig};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use crate::support::{Client, TestUnit, config, get, publish, raw, request, route, router, soon, upload};

#[tokio::test] // SPEC R-9
async fn a_host_that_nobody_has_is_not_found() {
    let router = router();

    let answer = Client::connect(router.local_addr()).await.get("/").await;

    answer.is_routers(404, "unknown-host");
    assert!(answer.body.contains("blog.test"), "{}", answer.body);
}

#[tokio::test] // SPEC R-9
async fn an_app_without_units_is_unavailable_for_now() {
    let router = router();
    publish(&*router.routes(), &[]).await;

    let answer = Client::connect(router.local_addr()).await.get("/").await;

    answer.is_routers(503, "no-unit");
    assert_eq!(answer.headers["retry-after"], "5");
}

#[tokio::test] // SPEC R-9
async fn a_request_without_a_host_is_refused() {
    let router = router();
    let mut client = TcpStream::connect(router.local_addr()).await.unwrap();

    let answer = raw(&mut client, "GET / HTTP/1.0\r\n\r\n", "nothing").await;

    assert!(answer.starts_with("HTTP/1.0 400 ") && answer.contains("x-router-error: no-host"), "{answer}");
}

#[tokio::test] // SPEC R-11
async fn a_unit_that_refuses_is_passed_over_even_by_uploads() {
    let (router, there, gone) = (router(), TestUnit::start("there").await, TestUnit::absent("gone").await);
    publish(&*router.routes(), &[&there, &gone]).await;

    let mut client = Client::connect(router.local_addr()).await;
    for _ in 0..50 {
        client.get("/").await.is_from("there");
        let (body, request) = upload("/echo");
        body.unbounded_send("all of it").unwrap();
        drop(body);
        assert_eq!(client.ask(request).await.body, "all of it");
    }
}

#[tokio::test] // SPEC R-11
async fn a_request_waits_a_moment_for_units_that_are_being_replaced() {
    let (router, gone, fresh) = (router(), TestUnit::absent("gone").await, TestUnit::start("fresh").await);
    let routes = router.routes();
    publish(&*routes, &[&gone]).await;
    let mut client = Client::connect(router.local_addr()).await;

    let (answer, ()) = tokio::join!(client.get("/"), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        publish(&*routes, &[&fresh]).await;
    });

    answer.is_from("fresh");
}

#[tokio::test] // SPEC
async fn units_that_stay_away_are_given_up() {
    let patience = Duration::from_millis(100);
    let router = Router::bind(RouterConfig { replaced_within: patience, ..config() }).unwrap();
    publish(&*router.routes(), &[&TestUnit::absent("a").await, &TestUnit::absent("b").await]).await;

    let answer = Client::connect(router.local_addr()).await.get("/").await;

    answer.is_routers(502, "unit-unreachable");
}

#[tokio::test] // SPEC R-9
async fn a_unit_that_takes_too_long_is_given_up_and_told_so() {
    let limit = Duration::from_millis(100);
    let router = Router::bind(RouterConfig { answer_within: limit, ..config() }).unwrap();
    let unit = TestUnit::start("one").await;
    publish(&*router.routes(), &[&unit]).await;
    let mut client = Client::connect(router.local_addr()).await;

    client.get("/slow").await.is_routers(504, "unit-too-slow");

    let mut cancelled = unit.inside.cancelled.subscribe();
    soon(cancelled.wait_for(|&count| count == 1)).await.unwrap();
    client.get("/").await.is_from("one");
}

#[tokio::test] // SPEC R-11
async fn a_client_that_leaves_takes_its_request_with_it() {
    let (router, unit) = (router(), TestUnit::start("one").await);
    publish(&*router.routes(), &[&unit]).await;
    let mut stream = TcpStream::connect(router.local_addr()).await.unwrap();
    stream.write_all(b"GET /slow HTTP/1.1\r\nHost: blog.test\r\n\r\n").await.unwrap();
    soon(async {
        while unit.inside.requests.load(SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;

    drop(stream);

    let mut cancelled = unit.inside.cancelled.subscribe();
    soon(cancelled.wait_for(|&count| count == 1)).await.unwrap();
}

/// Serves connections by hand: reads a request's head on each, and answers with the text that
/// `answers` gives for the number of the connection and of the request on it; hangs up if it gives none.
async fn fickle_unit(answers: impl Fn(usize, usize) -> Option<String> + Send + 'static) -> platform_core::Backend {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut connection = 0;
        while let Ok((mut stream, _)) = listener.accept().await {
            connection += 1;
            for number in 1.. {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    match stream.read_u8().await {
                        Ok(byte) => head.push(byte),
                        Err(_) => break,
                    }
                }
                let Some(text) = answers(connection, number) else { break };
                if stream.write_all(text.as_bytes()).await.is_err() {
                    break;
                }
            }
        }
    });
    platform_core::Backend { id: platform_core::UnitId("fickle".into()), address }
}

/// A router on one thread, so that a second request meets the connection of the first.
async fn fickle(answers: impl Fn(usize, usize) -> Option<String> + Send + 'static) -> Router {
    let router = Router::bind(RouterConfig { threads: 1, ..config() }).unwrap();
    let mut route = route("blog", &["blog.test"], &[]);
    route.units.push(fickle_unit(answers).await);
    router.routes().publish(route).await.unwrap();
    router
}

/// Answers with the two numbers, except the second request on the first connection.
fn all_but_the_second(connection: usize, number: usize) -> Option<String> {
    let text = format!("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{connection}.{number}");
    ((connection, number) != (1, 2)).then_some(text)
}

#[tokio::test] // SPEC R-11
async fn a_kept_connection_that_ends_under_a_harmless_request_is_replaced() {
    let router = fickle(all_but_the_second).await;
    let mut client = Client::connect(router.local_addr()).await;

    client.get("/").await.is_from("1.1");
    client.get("/").await.is_from("2.1");
}

#[tokio::test] // SPEC R-11
async fn a_request_that_may_have_done_something_is_never_sent_twice() {
    let router = fickle(all_but_the_second).await;
    let mut client = Client::connect(router.local_addr()).await;

    client.get("/").await.is_from("1.1");
    client.ask(request(Method::POST, "/")).await.is_routers(502, "unit-broke-off");
}

#[tokio::test] // SPEC R-11
async fn a_fresh_connection_that_ends_without_an_answer_is_a_failure() {
    let router = fickle(|_, _| None).await;

    let answer = Client::connect(router.local_addr()).await.ask(get("/")).await;

    answer.is_routers(502, "unit-broke-off");
}

#[tokio::test] // SPEC R-9
async fn an_answer_that_is_none_is_a_failure() {
    for nonsense in ["SSH-2.0-OpenSSH\r\n", "HTTP/1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"] {
        let router = fickle(|_, _| Some(nonsense.to_owned())).await;

        let answer = Client::connect(router.local_addr()).await.get("/").await;

        answer.is_routers(502, "unit-broke-off");
    }
}

#[tokio::test] // SPEC R-9
async fn connect_is_not_served() {
    let router = router();
    let mut client = TcpStream::connect(router.local_addr()).await.unwrap();

    let answer = raw(&mut client, "CONNECT blog.test:443 HTTP/1.1\r\nHost: blog.test\r\n\r\n", "served").await;

    assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");
}
