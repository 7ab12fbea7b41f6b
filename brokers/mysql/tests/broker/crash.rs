//! The crash suite on several shared servers, with moves between plans.

use std::time::Duration;

use broker_core::{
    Broker as _,
    testing::{Subject, Variables, crash_safety},
};
use mysql_broker::MysqlBroker;

use crate::{
    fleet::{databases, make, name_of, on, server_of, two},
    support::{Client, Grounds},
};

/// A server that is made takes its time on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(90);

async fn survives_crashes(subject: Subject<'_>) {
    let grounds = Grounds::new();
    let config = on(&grounds, &two());
    let broker = MysqlBroker::start(config.clone()).await.unwrap();
    // All others are on the second server.
    let (neighbour, other) = (make(&broker).await.unwrap(), make(&broker).await.unwrap());
    assert_eq!((server_of(&neighbour), server_of(&other)), ("a", "b"));
    broker.deprovision(&other).await.unwrap();
    drop(broker);

    let report = crash_safety(
        subject.patience(PATIENCE),
        async || MysqlBroker::start(config.clone()).await.unwrap(),
        async |env: &Variables| Client::login(&env["DATABASE_URL"]).await.is_ok(),
        async || {
            let mut left: Vec<_> = grounds.servers().into_iter().filter(|server| server.len() > 1).collect();
            for server in ["a", "b"] {
                left.extend(databases(&grounds, server).await);
                left.extend(
                    grounds.admin_of(server).await.texts("SELECT User FROM mysql.user WHERE User LIKE 'ub%'").await,
                );
            }
            left.into_iter().filter(|name| *name != name_of(&neighbour)).collect()
        },
    );

    let report = report.await;
    report.is_clean();
    assert!(report.crashes() > 40, "only {} crashes", report.crashes());
}

#[tokio::test] // SPEC L-2, L-3, M-14
async fn instances_on_several_servers_survive_crashes() {
    survives_crashes(Subject::on_plan("crowd")).await;
}

#[tokio::test] // SPEC L-2, L-3, M-9, M-14
async fn moves_from_one_of_several_servers_survive_crashes() {
    survives_crashes(Subject::on_plan("crowd").updated_to("own")).await;
}

#[tokio::test] // SPEC L-2, L-3, M-9, M-14
async fn moves_to_one_of_several_servers_survive_crashes() {
    survives_crashes(Subject::on_plan("own").updated_to("crowd")).await;
}
