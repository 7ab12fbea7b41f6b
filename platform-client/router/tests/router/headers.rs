//! What units and clients see of each other's headers.

use hyper::Method;
use tokio::net::TcpStream;

use crate::support::{Client, TestUnit, config, get, publish, raw, request, router};
use platform_router::Router;

#[tokio::test] // SPEC R-10
async fn a_unit_learns_who_asked_and_how() {
    let (router, unit) = (router(), TestUnit::start("one").await);
    publish(&*router.routes(), &[&unit]).await;
    let mut ask = get("/headers");
    let port = router.local_addr().port();
    for (name, value) in [
        ("host", format!("blog.test:{port}").as_str()),
        ("x-forwarded-for", "1.2.3.4"),
        ("x-forwarded-proto", "https"),
        ("connection", "keep-alive, x-private"),
        ("x-private", "1"),
        ("accept", "text/html"),
    ] {
        ask.headers_mut()
            .insert(hyper::header::HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
    }

    let answer = Client::connect(router.local_addr()).await.ask(ask).await;

    for line in [
        &format!("host: blog.test:{port}\n"),
        "x-forwarded-for: 1.2.3.4, 127.0.0.1\n",
        "x-forwarded-proto: http\n",
        &format!("x-forwarded-host: blog.test:{port}\n"),
        &format!("x-forwarded-port: {port}\n"),
        "x-request-start: 1",
        "accept: text/html\n",
    ] {
        assert!(answer.body.contains(line), "{line} is not in {}", answer.body);
    }
    let id = answer.headers["x-request-id"].to_str().unwrap();
    assert!(answer.body.contains(&format!("x-request-id: {id}\n")), "{}", answer.body);
    assert!(!answer.body.contains("x-private") && !answer.body.contains("connection:"), "{}", answer.body);
}

#[tokio::test] // SPEC R-10
async fn a_request_keeps_the_identifier_it_came_with() {
    let (router, unit) = (router(), TestUnit::start("one").await);
    publish(&*router.routes(), &[&unit]).await;
    let mut ask = get("/headers");
    ask.headers_mut().insert("x-request-id", "mine-1".parse().unwrap());

    let answer = Client::connect(router.local_addr()).await.ask(ask).await;

    assert_eq!(answer.headers["x-request-id"], "mine-1");
    assert!(answer.body.contains("x-request-id: mine-1\n"));
}

#[tokio::test] // SPEC R-10
async fn a_head_request_gets_the_length_and_no_body() {
    let (router, unit) = (router(), TestUnit::start("one").await);
    publish(&*router.routes(), &[&unit]).await;
    let mut client = Client::connect(router.local_addr()).await;

    let answer = client.ask(request(Method::HEAD, "/big")).await;

    assert_eq!((answer.headers["content-length"].to_str().unwrap(), answer.body.as_str()), ("300000", ""));
    client.get("/").await.is_from("one");
}

#[tokio::test] // SPEC R-10
async fn an_old_client_and_one_that_sends_whole_uris_are_understood() {
    let (router, unit) = (router(), TestUnit::start("one").await);
    publish(&*router.routes(), &[&unit]).await;

    let mut old = TcpStream::connect(router.local_addr()).await.unwrap();
    let answer = raw(&mut old, "GET / HTTP/1.0\r\nHost: blog.test\r\n\r\n", "nothing").await;
    assert!(answer.starts_with("HTTP/1.0 200 OK") && answer.ends_with("\r\n\r\none"), "{answer}");

    let mut proxied = TcpStream::connect(router.local_addr()).await.unwrap();
    let text = "GET http://blog.test/uri?q=1 HTTP/1.1\r\nHost: other.test\r\nConnection: close\r\n\r\n";
    let answer = raw(&mut proxied, text, "nothing").await;
    assert!(answer.ends_with("GET /uri?q=1"), "{answer}");
}

#[tokio::test] // SPEC R-14
async fn a_head_that_is_too_long_is_refused() {
    let router = Router::bind(platform_router::RouterConfig { head_limit: 2000, ..config() }).unwrap();
    let mut client = TcpStream::connect(router.local_addr()).await.unwrap();
    let text = format!("GET / HTTP/1.1\r\nHost: blog.test\r\nX-Long: {}\r\n\r\n", "x".repeat(3000));

    let answer = raw(&mut client, &text, "nothing").await;

    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
}
