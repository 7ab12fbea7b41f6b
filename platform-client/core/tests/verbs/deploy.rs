//! SPEC chapter A: deploys, units, repairs.

use crate::harness::{TestPlatform, app_name, archive, processes};
use platform_core::{Error, Power, Progress, Source, Units};

#[tokio::test] // SPEC A-1
async fn a_first_deploy_starts_one_unit_of_each_process_and_routes_to_web() {
    let test = TestPlatform::new().await;
    test.create_app("blog").await;
    test.engine.builds_give(processes("web: x\nworker: y"));

    test.deploy("blog").await.unwrap();

    assert_eq!(test.units(), ["blog.web.1-1.1", "blog.worker.1-1.1"]);
    assert_eq!(test.routed(), ["blog.web.1-1.1"]);
    assert_eq!(test.app("blog").await.deploys, 1);
}

#[tokio::test] // SPEC A-2
async fn a_second_deploy_replaces_every_unit_and_keeps_their_number() {
    let test = TestPlatform::new().await;
    test.running_app(3).await;

    test.deploy("blog").await.unwrap();

    assert_eq!(test.units(), ["blog.web.2-2.1", "blog.web.2-2.2", "blog.web.2-2.3"]);
    assert_eq!(test.routed(), test.units());
}

#[tokio::test] // SPEC A-3
async fn a_failed_build_leaves_the_old_release_serving() {
    let test = TestPlatform::new().await;
    test.running_app(1).await;
    test.engine.fail_build(Some("pip install failed"));

    let refusal = test.deploy("blog").await.unwrap_err();

    assert!(refusal.to_string().contains("pip install failed"), "{refusal}");
    assert_eq!(test.routed(), ["blog.web.1-1.1"]);
    assert_eq!(test.app("blog").await.current, Some(1));
}

#[tokio::test] // SPEC A-3
async fn an_app_that_never_becomes_ready_leaves_nothing_of_its_new_release() {
    let test = TestPlatform::new().await;
    test.running_app(2).await;
    let before = test.units();
    let images = test.engine.images();
    test.engine.never_ready(Some("unit exited with status 1"));

    let refusal = test.deploy("blog").await.unwrap_err();

    assert!(refusal.to_string().contains("exited with status 1"), "{refusal}");
    assert_eq!(test.units(), before);
    assert_eq!(test.routed(), before);
    assert_eq!(test.engine.images(), images);
}

#[tokio::test] // SPEC A-4
async fn a_failed_versions_number_is_not_used_again() {
    let test = TestPlatform::new().await;
    test.running_app(1).await;
    test.engine.fail_build(Some("no"));
    test.deploy("blog").await.unwrap_err();
    test.engine.fail_build(None);

    test.deploy("blog").await.unwrap();

    assert_eq!(test.app("blog").await.current, Some(3));
}

#[tokio::test] // SPEC A-5
async fn a_rollback_runs_the_older_release_again_without_a_build() {
    let test = TestPlatform::new().await;
    test.running_app(1).await;
    test.deploy("blog").await.unwrap();
    test.engine.fail_build(Some("a rollback must not build"));

    test.deploy_source("blog", Source::Rollback("v1".to_owned())).await.unwrap();

    assert_eq!(test.app("blog").await.current, Some(1));
    assert_eq!(test.routed(), ["blog.web.1-3.1"]);
    let refusal = test.deploy_source("blog", Source::Rollback("v99".to_owned())).await.unwrap_err();
    assert!(matches!(refusal, Error::NotFound(_)), "{refusal}");
}

#[tokio::test] // SPEC A-5
async fn releases_beyond_those_kept_are_forgotten_with_their_images() {
    let test = TestPlatform::new().await;
    test.running_app(1).await;
    for _ in 0..4 {
        test.deploy("blog").await.unwrap();
    }

    let versions: Vec<u32> = test.app("blog").await.releases.iter().map(|release| release.version).collect();

    assert_eq!(versions, [3, 4, 5]);
}

#[tokio::test] // SPEC P-4
async fn two_deploys_of_one_app_exclude_each_other() {
    let test = TestPlatform::new().await;
    test.create_app("blog").await;
    let first =
        test.platform.begin_deploy(&test.user, &app_name("blog"), archive(), &Progress::silent()).await.unwrap();

    let refusal = test.deploy("blog").await.unwrap_err();

    let text = refusal.to_string();
    assert!(
        text.starts_with("event locked: app(blog) running \"app.deploy.upload\" start by user admin@example.com at 20"),
        "{text}"
    );
    first.run().await.unwrap();
    test.deploy("blog").await.unwrap();
}

#[tokio::test] // SPEC A-6
async fn units_are_added_and_removed_and_the_route_follows() {
    let test = TestPlatform::new().await;
    test.running_app(1).await;
    let blog = app_name("blog");

    test.platform.scale(&test.user, &blog, None, Units::Add(2), &Progress::silent()).await.unwrap();
    assert_eq!(test.routed().len(), 3);

    test.platform.scale(&test.user, &blog, None, Units::Remove(1), &Progress::silent()).await.unwrap();
    assert_eq!(test.routed(), ["blog.web.1-1.1", "blog.web.1-1.2"]);
    assert_eq!(test.units(), test.routed());
}

#[tokio::test] // SPEC A-6
async fn removing_all_units_is_a_stop_that_start_undoes() {
    let test = TestPlatform::new().await;
    test.running_app(2).await;
    let blog = app_name("blog");

    test.platform.scale(&test.user, &blog, None, Units::Remove(9), &Progress::silent()).await.unwrap();
    assert!(test.units().is_empty());
    let refusal = test.platform.scale(&test.user, &blog, None, Units::Add(1), &Progress::silent()).await.unwrap_err();
    assert!(refusal.to_string().contains("stopped units"), "{refusal}");

    test.platform.power(&test.user, &blog, None, Power::Start, &Progress::silent()).await.unwrap();
    assert_eq!(test.routed().len(), 2);
}

#[tokio::test] // SPEC A-6
async fn units_need_a_deploy_and_a_known_process() {
    let test = TestPlatform::new().await;
    test.create_app("blog").await;
    let scale = async |process: Option<&str>| {
        let process = process.map(|process| process.parse().unwrap());
        test.platform
            .scale(&test.user, &app_name("blog"), process.as_ref(), Units::Add(1), &Progress::silent())
            .await
            .unwrap_err()
            .to_string()
    };
    assert_eq!(scale(None).await, "units can only be modified after the first deploy");

    test.engine.builds_give(processes("web: x\nworker: y"));
    test.deploy("blog").await.unwrap();

    assert_eq!(scale(None).await, "no process name specified and more than one declared in Procfile");
    assert!(scale(Some("cron")).await.starts_with("process error: \"cron\""));
}

#[tokio::test] // SPEC A-7
async fn a_restart_replaces_units_without_a_moment_of_none() {
    let test = TestPlatform::new().await;
    test.running_app(2).await;

    test.platform.power(&test.user, &app_name("blog"), None, Power::Restart, &Progress::silent()).await.unwrap();

    assert_eq!(test.routed(), ["blog.web.1-2.1", "blog.web.1-2.2"]);
    assert_eq!(test.units(), test.routed());
}

#[tokio::test] // SPEC P-6
async fn a_unit_that_dies_comes_back() {
    let test = TestPlatform::new().await;
    test.running_app(2).await;
    let unit = test.engine.units_of(&app_name("blog"))[0].id.clone();

    test.engine.kill(&unit);

    test.reconciled(|test| {
        test.routed().len() == 2
            && test
                .engine
                .units_of(&app_name("blog"))
                .iter()
                .all(|unit| unit.state == platform_core::UnitState::Started)
    })
    .await;
}

#[tokio::test] // SPEC P-6
async fn a_unit_that_was_removed_by_hand_comes_back() {
    let test = TestPlatform::new().await;
    test.running_app(1).await;
    let unit = test.engine.units_of(&app_name("blog"))[0].id.clone();

    test.engine.lose(&unit);

    test.reconciled(|test| test.units().len() == 1 && test.routed().len() == 1).await;
}

#[tokio::test] // SPEC P-5
async fn units_of_a_deploy_that_a_crash_interrupted_are_cleared_away() {
    let test = TestPlatform::new().await;
    test.running_app(1).await;
    test.engine.hold_ready(true);
    let deploy =
        test.platform.begin_deploy(&test.user, &app_name("blog"), archive(), &Progress::silent()).await.unwrap();
    let running = tokio::spawn(deploy.run());
    while test.units().len() < 2 {
        tokio::task::yield_now().await;
    }
    running.abort();

    let test = test.restart().await;
    test.engine.hold_ready(false);

    test.reconciled(|test| test.units() == ["blog.web.1-1.1"]).await;
    test.settled().await;
    assert_eq!(test.routed(), ["blog.web.1-1.1"]);
    let deploys = test.platform.deploys(&test.user, None, 10, 0).await.unwrap();
    assert_eq!(deploys[0].event.error, "the platform was stopped while this ran");
    assert!(!deploys[0].event.running());
    let mut images = test.engine.images();
    images.retain(|image| image.contains("blog"));
    assert_eq!(images.len(), 1, "{images:?}");
    test.deploy("blog").await.unwrap();
}

#[tokio::test] // SPEC P-5
async fn units_of_an_app_nobody_knows_are_stopped() {
    let test = TestPlatform::new().await;
    test.running_app(1).await;
    let spec = test.engine.spec_of(&test.engine.units_of(&app_name("blog"))[0].id).unwrap();
    let stray =
        platform_core::UnitSpec { app: app_name("ghost"), id: platform_core::UnitId("ghost.web.1-1.1".into()), ..spec };
    platform_core::ports::Engine::start(&test.engine, &stray).await.unwrap();

    test.reconciled(|test| test.engine.units_of(&app_name("ghost")).is_empty()).await;

    assert_eq!(test.units().len(), 1);
}

#[tokio::test] // SPEC P-6
async fn a_dead_units_address_gets_no_request_while_it_comes_back() {
    let test = TestPlatform::new().await;
    test.running_app(1).await;
    test.engine.never_ready(Some("still broken"));
    let unit = test.engine.units_of(&app_name("blog"))[0].id.clone();

    test.engine.kill(&unit);

    test.reconciled(|test| test.routed().is_empty()).await;
    test.engine.never_ready(None);
    test.reconciled(|test| test.routed().len() == 1).await;
}
