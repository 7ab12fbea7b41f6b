use platform_core::{
    Power, Progress, Removal,
    ports::RecordKind,
    testing::{brokers::BrokerCall, engine::EngineCall},
};

use crate::harness::{TestPlatform, app_name, archive, instance_name, redis};

#[tokio::test] // SPEC P-10
async fn an_operation_does_not_wait_for_a_repair() {
    let test = TestPlatform::new().await;
    test.running_app(1).await;
    test.engine.hold_ready(true);
    let unit = test.engine.units_of(&app_name("blog"))[0].id.clone();
    test.engine.kill(&unit);
    test.engine.forget_calls();
    test.platform.reconcile().await.unwrap();
    while !test.engine.calls().contains(&EngineCall::WaitReady(unit.clone())) {
        tokio::task::yield_now().await;
    }

    let stop = test.platform.power(&test.user, &app_name("blog"), None, Power::Stop, &Progress::silent()).await;

    stop.unwrap();
    assert!(test.units().is_empty());
}

#[tokio::test] // SPEC P-6
async fn a_unit_that_dies_during_a_deploy_gets_no_more_requests() {
    let test = TestPlatform::new().await;
    test.running_app(2).await;
    let deploy =
        test.platform.begin_deploy(&test.user, &app_name("blog"), archive(), &Progress::silent()).await.unwrap();
    let unit = test.engine.units_of(&app_name("blog"))[0].id.clone();

    test.engine.kill(&unit);
    test.platform.reconcile().await.unwrap();

    assert_eq!(test.routed(), ["blog.web.1-1.2"]);
    deploy.run().await.unwrap();
    assert_eq!(test.routed().len(), 2);
}

#[tokio::test] // SPEC J-6
async fn a_failed_bind_is_undone_at_the_broker_as_soon_as_the_broker_lets_it() {
    let test = TestPlatform::new().await;
    test.running_app(1).await;
    test.create_instance("cache").await;
    test.engine.fail_start(Some("no room"));
    test.brokers.refuse(BrokerCall::Unbind, "not now");

    test.bind("cache", "blog").await.unwrap_err();
    assert!(!test.brokers.bound(&redis(), &instance_name("cache")).is_empty());
    test.engine.fail_start(None);
    let test = test.restart().await;

    test.reconciled(|test| test.brokers.bound(&redis(), &instance_name("cache")).is_empty()).await;
    test.bind("cache", "blog").await.unwrap();
}

#[tokio::test] // SPEC P-5
async fn what_an_interrupted_removal_owes_does_not_reach_a_later_instance_of_that_name() {
    let test = TestPlatform::new().await;
    test.create_instance("cache").await;
    // The process dies while the removal ends.
    test.brokers.refuse(BrokerCall::Delete, "not now");
    test.store.panic_after(RecordKind::Event, 1);
    let (platform, user) = (test.platform.clone(), test.user.clone());
    let removal = tokio::spawn(async move {
        platform
            .remove_instance(&user, &redis(), &instance_name("cache"), Removal::default(), &Progress::silent())
            .await
    });
    assert!(removal.await.is_err());
    let test = test.restart().await;

    test.platform
        .remove_instance(&test.user, &redis(), &instance_name("cache"), Removal::default(), &Progress::silent())
        .await
        .unwrap();
    test.create_instance("cache").await;
    test.settled().await;

    assert!(test.brokers.has(&redis(), &instance_name("cache")));
}
