//! The crash suite on real servers, with moves between plans.

use broker_core::testing::{Subject, Variables, crash_safety};
use redis_broker::{Config, RedisBroker};

use crate::support::{Client, Given, Grounds};

async fn survives_crashes(plan: &str, moved_to: &str) {
    let grounds = Grounds::new();
    let given = Given::start(&["--databases", "1"]).await;
    let config = Config { shared_url: Some(given.url("default", "admin")), ..grounds.config() };

    let report = crash_safety(
        Subject::on_plan(plan).updated_to(moved_to),
        async || RedisBroker::start(config.clone()).await.unwrap(),
        async |env: &Variables| Client::login(&env["REDIS_URL"]).await.is_ok(),
        async || {
            let mut admin = given.admin().await;
            let accounts = admin.list("ACL USERS").await.into_iter().filter(|user| user != "default");
            accounts.chain(admin.list("KEYS *").await).chain(grounds.servers()).collect()
        },
    );

    let report = report.await;
    report.is_clean();
    assert!(report.crashes() > 40, "only {} crashes", report.crashes());
}

#[tokio::test] // SPEC L-2, L-3, K-11
async fn shared_instances_and_their_moves_survive_crashes() {
    survives_crashes("shared", "dedicated").await;
}

#[tokio::test] // SPEC L-2, L-3, K-11
async fn dedicated_instances_and_their_moves_survive_crashes() {
    survives_crashes("dedicated", "shared").await;
}
