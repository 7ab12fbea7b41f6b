//! The contract's cases against the binary and a real server.

use broker_core::testing::{Program, Variables, conformance};

use crate::support::{Client, Grounds};

#[tokio::test] // A1 to A114, O1 to O186, SPEC S-5
async fn the_plan_shared_conforms() {
    let (grounds, secrets) = (Grounds::new(), std::sync::Mutex::new(Vec::new()));
    let arguments = [
        format!("--servers-dir={}", grounds.root().display()),
        format!("--ports={}", grounds.ports()),
        "--buffer-pool=16".to_owned(),
    ];
    let broker = Program::serve(env!("CARGO_BIN_EXE_mysql-broker"), "mysql", &grounds.data(), &arguments);

    let report = conformance(&broker.target("shared"), async |env: &Variables| match env.get("DATABASE_URL") {
        Some(url) => {
            secrets.lock().unwrap().extend(env.get("MYSQL_PASSWORD").cloned());
            Client::login(url).await.is_ok()
        }
        None => false,
    })
    .await;

    report.is_clean();
    assert!(report.count() > 220, "only {} cases ran", report.count());
    let mut admin = grounds.admin().await;
    assert!(admin.texts("SHOW DATABASES LIKE 'tb%'").await.is_empty(), "databases were left behind");
    assert!(
        admin.texts("SELECT User FROM mysql.user WHERE User LIKE 'ub%'").await.is_empty(),
        "accounts were left behind"
    );
    let (log, secrets) = (broker.log(), secrets.into_inner().unwrap());
    assert!(!secrets.is_empty() && !secrets.iter().any(|secret| log.contains(secret)), "a secret is in the log");
}
