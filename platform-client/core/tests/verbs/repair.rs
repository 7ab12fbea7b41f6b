use platform_core::{
    EventFilter, Power, Progress, Removal, RunWhere, UnitState,
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

#[tokio::test] // SPEC J-4
async fn a_unit_that_a_crashed_attempt_left_does_not_pass_for_one_with_the_new_variables() {
    let test = TestPlatform::new().await;
    test.running_app(1).await;
    test.create_instance("cache").await;
    let mut left = test.engine.spec_of(&test.engine.units_of(&app_name("blog"))[0].id).unwrap();
    left.generation += 1;
    left.id = platform_core::UnitId("blog.web.1-2.1".to_owned());
    platform_core::ports::Engine::start(&test.engine, &left).await.unwrap();

    test.bind("cache", "blog").await.unwrap();

    let unit = test.engine.units_of(&app_name("blog"))[0].id.clone();
    assert_eq!(unit, left.id);
    assert!(test.engine.spec_of(&unit).unwrap().env.contains_key("REDIS_HOST"));
}

#[tokio::test] // SPEC P-4
async fn access_is_not_changed_under_a_running_deploy() {
    let test = TestPlatform::new().await;
    test.running_app(1).await;
    test.platform.create_team(&test.user, "ops".parse().unwrap(), vec![]).await.unwrap();
    let deploy =
        test.platform.begin_deploy(&test.user, &app_name("blog"), archive(), &Progress::silent()).await.unwrap();

    let (blog, ops) = (app_name("blog"), "ops".parse().unwrap());
    let grant = || test.platform.set_access(&test.user, &blog, &ops, true);
    let refusal = grant().await.unwrap_err();
    deploy.run().await.unwrap();

    assert!(refusal.to_string().starts_with("event locked: app(blog) running \"app.deploy.upload\""));
    grant().await.unwrap();
}

#[tokio::test] // SPEC P-1
async fn a_command_that_was_run_is_among_the_apps_events_and_locks_nothing() {
    let test = TestPlatform::new().await;
    test.running_app(1).await;
    let deploy =
        test.platform.begin_deploy(&test.user, &app_name("blog"), archive(), &Progress::silent()).await.unwrap();

    let ran =
        test.platform.run_audited(&test.user, &app_name("blog"), "true", RunWhere::Once, &Progress::silent()).await;

    ran.unwrap();
    let about =
        EventFilter { target: Some("blog".to_owned()), kinds: vec!["app.run".to_owned()], ..Default::default() };
    assert_eq!(test.platform.events(&test.user, &about).await.unwrap().len(), 1);
    deploy.run().await.unwrap();
}

#[tokio::test] // SPEC P-4
async fn an_app_is_not_removed_under_a_bind_of_another_app_to_its_instance() {
    let test = TestPlatform::new().await;
    test.running_app(1).await;
    test.create_app("shop").await;
    test.create_instance("cache").await;
    test.bind("cache", "shop").await.unwrap();
    test.engine.hold_ready(true);
    let (platform, user) = (test.platform.clone(), test.user.clone());
    let binding = tokio::spawn(async move {
        let how = platform_core::Binding::default();
        platform.bind_app(&user, &redis(), &instance_name("cache"), &app_name("blog"), how, &Progress::silent()).await
    });
    while test.units().len() < 2 {
        tokio::task::yield_now().await;
    }

    let refusal = test.platform.remove_app(&test.user, &app_name("shop"), &Progress::silent()).await.unwrap_err();
    test.engine.hold_ready(false);

    assert!(refusal.to_string().starts_with("event locked: service-instance(redis/cache)"), "{refusal}");
    binding.await.unwrap().unwrap();
}

#[tokio::test] // SPEC A-11
async fn an_app_that_cannot_be_removed_now_keeps_all_it_has() {
    let test = TestPlatform::new().await;
    test.running_app(1).await;
    test.create_instance("cache").await;
    test.bind("cache", "blog").await.unwrap();
    let before = test.routed();
    test.engine.down(Some("Docker is away"));

    test.platform.remove_app(&test.user, &app_name("blog"), &Progress::silent()).await.unwrap_err();

    assert_eq!(test.routed(), before);
    assert!(!test.brokers.bound(&redis(), &instance_name("cache")).is_empty());
    test.engine.down(None);
    test.platform.remove_app(&test.user, &app_name("blog"), &Progress::silent()).await.unwrap();
    assert!(test.brokers.bound(&redis(), &instance_name("cache")).is_empty());
}

#[tokio::test] // SPEC P-6
async fn a_unit_comes_back_although_a_broker_keeps_an_operation_from_being_ended() {
    let test = TestPlatform::new().await;
    test.running_app(1).await;
    test.create_instance("cache").await;
    test.engine.fail_start(Some("no room"));
    (0..100).for_each(|_| test.brokers.refuse(BrokerCall::Unbind, "not now"));
    test.bind("cache", "blog").await.unwrap_err();
    test.engine.fail_start(None);
    let unit = test.engine.units_of(&app_name("blog"))[0].id.clone();

    test.engine.kill(&unit);

    test.reconciled(|test| {
        let units = test.engine.units_of(&app_name("blog"));
        units.iter().all(|unit| unit.state == UnitState::Started) && test.routed().len() == 1
    })
    .await;
}
