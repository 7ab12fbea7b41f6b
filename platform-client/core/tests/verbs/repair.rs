use platform_core::{Power, Progress, testing::engine::EngineCall};

use crate::harness::{TestPlatform, app_name, archive};

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
