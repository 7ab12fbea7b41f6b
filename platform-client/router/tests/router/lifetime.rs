//! Starting, stopping, starting again.

use std::{fs, time::Duration};

use http_body_util::BodyExt as _;
use platform_router::{Router, RouterConfig};
use tokio::net::TcpStream;

use crate::support::{Client, SOON, TestUnit, config, get, publish, router, soon};

#[tokio::test] // SPEC R-12
async fn a_restarted_router_serves_what_was_published() {
    let folder = tempfile::tempdir().unwrap();
    let config = RouterConfig { state_file: Some(folder.path().join("state/routes.json")), ..config() };
    let unit = TestUnit::start("one").await;
    let router = Router::bind(config.clone()).unwrap();
    publish(&*router.routes(), &[&unit]).await;
    router.shutdown(SOON).await;

    let router = Router::bind(config).unwrap();

    Client::connect(router.local_addr()).await.get("/").await.is_from("one");
}

#[tokio::test] // SPEC R-12
async fn a_router_with_a_damaged_table_starts_without_routes() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("routes.json");
    fs::write(&file, "{\"version\":1,\"routes\":[{").unwrap();

    let router = Router::bind(RouterConfig { state_file: Some(file.clone()), ..config() }).unwrap();

    Client::connect(router.local_addr()).await.get("/").await.is_routers(404, "unknown-host");
    let unit = TestUnit::start("one").await;
    publish(&*router.routes(), &[&unit]).await;
    assert!(fs::read_to_string(&file).unwrap().contains("blog.test"), "the next change is kept again");
}

#[tokio::test] // SPEC R-14
async fn a_taken_port_is_named() {
    let first = router();

    let refusal = Router::bind(RouterConfig { listen: first.local_addr(), ..config() }).unwrap_err().to_string();

    let port = first.local_addr().port();
    assert!(refusal.starts_with(&format!("port {port} of 127.0.0.1 is taken by another program")), "{refusal}");
}

#[tokio::test] // SPEC R-14
async fn a_shutdown_lets_requests_end_and_takes_no_new_ones() {
    let (router, unit) = (router(), TestUnit::start("one").await);
    publish(&*router.routes(), &[&unit]).await;
    let mut client = Client::connect(router.local_addr()).await;
    let idle = Client::connect(router.local_addr()).await;
    let answer = soon(client.send(get("/gated"))).await.unwrap();

    let ((), body) = tokio::join!(soon(router.shutdown(SOON)), async {
        soon(async {
            while TcpStream::connect(router.local_addr()).await.is_ok() {
                tokio::task::yield_now().await;
            }
        })
        .await;
        unit.inside.gate.add_permits(1);
        soon(answer.into_body().collect()).await.unwrap().to_bytes()
    });

    assert_eq!(body, "first second");
    drop(idle);
}

#[tokio::test] // SPEC R-14
async fn a_shutdown_does_not_wait_longer_than_told() {
    let (router, unit) = (router(), TestUnit::start("one").await);
    publish(&*router.routes(), &[&unit]).await;
    let mut client = Client::connect(router.local_addr()).await;
    let answer = soon(client.send(get("/hold"))).await.unwrap();

    soon(router.shutdown(Duration::from_millis(50))).await;

    assert!(soon(answer.into_body().collect()).await.is_err(), "cut off, and the client can tell");
}

#[tokio::test] // SPEC R-14
async fn a_dropped_router_frees_its_port() {
    let router = router();
    let address = router.local_addr();

    drop(router);

    soon(async {
        while Router::bind(RouterConfig { listen: address, ..config() }).is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test] // SPEC R-14
async fn a_client_that_never_finishes_its_head_is_let_go() {
    let limit = Duration::from_millis(50);
    let router = Router::bind(RouterConfig { head_within: limit, ..config() }).unwrap();
    let mut slow = TcpStream::connect(router.local_addr()).await.unwrap();

    crate::support::raw(&mut slow, "GET / HTTP/1.1\r\nHost:", "nothing").await;
}
