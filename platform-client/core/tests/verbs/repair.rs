use platform_core::{Power, Progress, testing::engine::EngineCall};

use crate::harness::{TestPlatform, app_name};

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
