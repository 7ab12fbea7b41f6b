//! The fake platform, against a broker of the framework, and what a broker has to live with (contract 5).

use std::time::{Duration, Instant};

use broker_core::testing::{FakeBroker, FakePlatform, Misdeed, Target, TestBroker, eventually};

/// How long a platform waits that gives up.
const HASTE: Duration = Duration::from_millis(100);

async fn started() -> (FakeBroker, TestBroker) {
    let fake = FakeBroker::new();
    (fake.clone(), TestBroker::start(fake).await)
}

/// A platform of each kind.
fn platforms(url: &str) -> [FakePlatform; 3] {
    let target = Target::new(url, "small");
    [FakePlatform::tsuru(&target), FakePlatform::tsuru(&target).in_json(), FakePlatform::osb(&target)]
}

#[tokio::test]
async fn an_app_finds_the_variables_of_what_it_is_bound_to() {
    let (fake, broker) = started().await;
    for platform in platforms(&broker.url()) {
        platform.create("cache").await.unwrap();
        platform.bind("cache", "web").await.unwrap();
        assert!(fake.opens(&platform.env("web")));
        assert!(platform.bind("cache", "web").await.is_err(), "it is bound");
        platform.update("cache", "large").await.unwrap();
        assert_eq!(fake.plan().as_deref(), Some("large"));
        assert!(platform.remove("cache").await.is_err(), "an app is bound");
        platform.unbind("cache", "web").await.unwrap();
        assert!(platform.env("web").is_empty());
        platform.remove("cache").await.unwrap();
        assert_eq!((fake.instances(), fake.accounts().len()), (0, 0));
    }
}

#[tokio::test]
async fn a_platform_that_trips_takes_back_what_it_began() {
    let (fake, broker) = started().await;
    for platform in platforms(&broker.url()) {
        platform.trip();
        assert!(platform.create("cache").await.is_err());
        assert_eq!((fake.instances(), platform.instances().len()), (0, 0));
        platform.create("cache").await.unwrap();
        platform.trip();
        assert!(platform.bind("cache", "web").await.is_err());
        assert!(fake.accounts().is_empty() && platform.env("web").is_empty());
        platform.bind("cache", "web").await.unwrap();
        platform.unbind("cache", "web").await.unwrap();
        platform.remove("cache").await.unwrap();
    }
}

#[tokio::test]
async fn an_unbind_that_tsuru_takes_back_leaves_the_app_bound_and_without_variables() {
    let (fake, broker) = started().await;
    let [platform, ..] = platforms(&broker.url());
    platform.create("cache").await.unwrap();
    platform.bind("cache", "web").await.unwrap();

    platform.trip();
    platform.unbind("cache", "web").await.unwrap_err();

    assert_eq!((fake.accounts().len(), platform.env("web").len()), (1, 0));
    platform.unbind("cache", "web").await.unwrap();
    platform.remove("cache").await.unwrap();
    assert_eq!((fake.instances(), fake.accounts().len()), (0, 0));
}

#[tokio::test]
async fn what_a_platform_is_not_told_of_in_time_leaves_nothing() {
    let (fake, broker) = started().await;
    for platform in platforms(&broker.url()) {
        platform.create("cache").await.unwrap();
        let hasty = platform.timeout(HASTE);
        let (asked, begun) = (fake.count("bind"), Instant::now());
        fake.next("bind", Misdeed::Hang);
        let goes_on = eventually("the platform has given up on a call", async || {
            fake.count("bind") > asked && begun.elapsed() > HASTE * 2
        });
        let (bound, ()) = tokio::join!(hasty.bind("cache", "web"), async {
            goes_on.await;
            fake.release();
        });
        assert!(bound.is_err());
        let patient = hasty.timeout(Duration::from_secs(20));
        eventually("the app can be bound", async || patient.bind("cache", "web").await.is_ok()).await;
        assert!(fake.opens(&patient.env("web")));
        patient.unbind("cache", "web").await.unwrap();
        patient.remove("cache").await.unwrap();
        eventually("nothing is left", async || fake.instances() + fake.accounts().len() == 0).await;
    }
}

#[tokio::test]
async fn a_refused_create_and_a_failed_bind_leave_nothing() {
    let (fake, broker) = started().await;
    for platform in platforms(&broker.url()) {
        fake.next("provision", Misdeed::Refuse);
        let refusal = platform.create("cache").await.unwrap_err();
        assert!(refusal.to_string().contains("this provision is refused"), "{refusal}");
        platform.create("cache").await.unwrap();
        fake.next("bind", Misdeed::Fail);
        let failure = platform.bind("cache", "web").await.unwrap_err();
        assert!(!failure.to_string().contains("s3cret"), "{failure}");
        eventually("the half-made account is gone", async || fake.accounts().is_empty()).await;
        platform.remove("cache").await.unwrap();
        assert_eq!(fake.instances(), 0);
    }
}
