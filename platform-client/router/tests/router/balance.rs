//! Which unit answers, and over which connection.

use std::{collections::BTreeMap, sync::atomic::Ordering::SeqCst};

use crate::support::{Client, TestUnit, get, publish, router, soon};

#[tokio::test] // SPEC R-8
async fn requests_alternate_between_units() {
    let (router, one, two) = (router(), TestUnit::start("one").await, TestUnit::start("two").await);
    publish(&*router.routes(), &[&one, &two]).await;

    let mut client = Client::connect(router.local_addr()).await;
    let mut answers = BTreeMap::<String, u32>::new();
    for _ in 0..200 {
        *answers.entry(client.get("/").await.body).or_default() += 1;
    }

    assert!(answers["one"] > 50 && answers["two"] > 50, "{answers:?}");
}

#[tokio::test] // SPEC R-8
async fn a_busy_unit_gets_less() {
    let (router, busy, idle) = (router(), TestUnit::start("busy").await, TestUnit::start("idle").await);
    publish(&*router.routes(), &[&busy]).await;
    let mut holder = Client::connect(router.local_addr()).await;
    let _held = soon(holder.send(get("/hold"))).await.expect("an answer");

    publish(&*router.routes(), &[&busy, &idle]).await;

    let mut client = Client::connect(router.local_addr()).await;
    for _ in 0..50 {
        client.get("/").await.is_from("idle");
    }
}

#[tokio::test] // SPEC R-8
async fn connections_to_units_and_clients_are_kept() {
    let (router, unit) = (router(), TestUnit::start("one").await);
    publish(&*router.routes(), &[&unit]).await;

    let mut client = Client::connect(router.local_addr()).await;
    for _ in 0..100 {
        client.get("/").await.is_from("one");
        client.get("/big").await;
    }

    assert_eq!(unit.inside.requests.load(SeqCst), 200);
    assert!(unit.inside.connections.load(SeqCst) <= 2, "{:?}", unit.inside);
}

#[tokio::test] // SPEC R-7
async fn a_host_counts_in_any_case_with_any_port() {
    let (router, unit) = (router(), TestUnit::start("one").await);
    publish(&*router.routes(), &[&unit]).await;

    let mut client = Client::connect(router.local_addr()).await;
    for host in ["BLOG.test", "blog.test:8080", "blog.test."] {
        let mut request = get("/");
        request.headers_mut().insert("host", host.parse().unwrap());
        client.ask(request).await.is_from("one");
    }
}

#[tokio::test]
async fn two_thousand_connections_at_once_are_served() {
    let (router, unit) = (router(), TestUnit::start("one").await);
    publish(&*router.routes(), &[&unit]).await;

    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..2000 {
        let address = router.local_addr();
        clients.spawn(async move {
            let mut client = Client::connect(address).await;
            client.get("/").await.is_from("one");
            client
        });
    }
    let clients = soon(clients.join_all()).await;

    assert_eq!(clients.len(), 2000);
    assert_eq!(unit.inside.requests.load(SeqCst), 2000);
}
