//! The table changes while requests pass: none fails.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use http_body_util::BodyExt as _;
use hyper::{Method, StatusCode};
use platform_core::{Backend, ports::Routes};
use tokio::task::JoinSet;

use crate::support::{Client, SOON, TestUnit, get, publish, request, router, soon};

/// Asks again and again until told to stop; counts answers, panics on anything that is none.
async fn keep_asking(router: std::net::SocketAddr, number: usize, stop: Arc<AtomicBool>, answers: Arc<AtomicUsize>) {
    let mut client = Client::connect(router).await;
    while !stop.load(SeqCst) {
        let request = if number.is_multiple_of(2) { get("/") } else { request(Method::POST, "/") };
        let response = soon(client.send(request)).await.expect("an answer");
        let status = response.status();
        let body = soon(response.into_body().collect()).await.expect("a whole body").to_bytes();
        assert_eq!(status, StatusCode::OK, "{body:?}");
        answers.fetch_add(1, SeqCst);
    }
}

async fn retire(routes: &dyn Routes, unit: TestUnit) {
    let Backend { id, .. } = unit.backend();
    assert!(routes.drained(&id, SOON).await.unwrap(), "{id} is drained");
    unit.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)] // SPEC
async fn no_request_fails_while_units_come_and_go() {
    let router = router();
    let routes = router.routes();
    let (stop, answers) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut units = vec![TestUnit::start("u0").await, TestUnit::start("u1").await];
    publish(&*routes, &units.iter().collect::<Vec<_>>()).await;
    let mut clients = JoinSet::new();
    for number in 0..16 {
        clients.spawn(keep_asking(router.local_addr(), number, Arc::clone(&stop), Arc::clone(&answers)));
    }

    for change in 0..400 {
        let fresh = TestUnit::start(&format!("u{}", change + 2)).await;
        let leaver = units.remove(0);
        units.push(fresh);
        publish(&*routes, &units.iter().collect::<Vec<_>>()).await;
        retire(&*routes, leaver).await;
    }

    stop.store(true, SeqCst);
    soon(clients.join_all()).await;
    assert!(answers.load(SeqCst) > 1000, "{} answers", answers.load(SeqCst));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)] // SPEC R-5
async fn no_request_fails_while_an_app_is_scaled_up_and_down() {
    let router = router();
    let routes = router.routes();
    let (stop, answers) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let units = [TestUnit::start("a").await, TestUnit::start("b").await, TestUnit::start("c").await];
    publish(&*routes, &[&units[0]]).await;
    let mut clients = JoinSet::new();
    for number in 0..8 {
        clients.spawn(keep_asking(router.local_addr(), number, Arc::clone(&stop), Arc::clone(&answers)));
    }

    for change in 0..600 {
        let count = 1 + change % 3;
        publish(&*routes, &units.iter().take(count).collect::<Vec<_>>()).await;
        // Some requests meet each table.
        soon(async {
            while answers.load(SeqCst) < 4 * change {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    stop.store(true, SeqCst);
    soon(clients.join_all()).await;
}

#[tokio::test] // SPEC R-6
async fn an_open_answer_keeps_its_unit_from_being_drained() {
    let (router, unit) = (router(), TestUnit::start("one").await);
    let routes = router.routes();
    publish(&*routes, &[&unit]).await;
    let id = unit.backend().id;
    let mut client = Client::connect(router.local_addr()).await;
    let answer = soon(client.send(get("/gated"))).await.unwrap();
    publish(&*routes, &[]).await;

    assert!(!routes.drained(&id, Duration::from_millis(50)).await.unwrap());
    let (drained, body) = tokio::join!(routes.drained(&id, SOON), async {
        unit.inside.gate.add_permits(1);
        soon(answer.into_body().collect()).await.unwrap().to_bytes()
    });

    assert!(drained.unwrap());
    assert_eq!(body, "first second", "the answer that was under way is whole");
}

#[tokio::test] // SPEC R-4
async fn a_unit_that_moves_is_found_at_its_new_address() {
    let (router, old, new) = (router(), TestUnit::start("same").await, TestUnit::start("same").await);
    let mut client = Client::connect(router.local_addr()).await;
    publish(&*router.routes(), &[&old]).await;
    client.get("/").await.is_from("same");

    publish(&*router.routes(), &[&new]).await;
    client.get("/").await.is_from("same");

    assert_eq!((old.inside.requests.load(SeqCst), new.inside.requests.load(SeqCst)), (1, 1));
}
