//! The contract's cases against the binary and real servers.

use broker_core::testing::{Program, Variables, conformance};

use crate::support::{Client, Grounds};

/// The binary, on a folder of its own.
fn serve(grounds: &Grounds) -> Program {
    let arguments = [
        format!("--servers-dir={}", grounds.root().display()),
        format!("--ports={}", grounds.ports()),
        "--maxmemory=16mb".to_owned(),
        "--shared-maxmemory=32mb".to_owned(),
    ];
    Program::serve(env!("CARGO_BIN_EXE_redis-broker"), "redis", &grounds.data(), &arguments)
}

async fn opens(env: &Variables) -> bool {
    match env.get("REDIS_URL") {
        Some(url) => Client::login(url).await.is_ok(),
        None => false,
    }
}

async fn conforms(plan: &str, left: &[&str]) {
    // Most cases make an instance, and all of them stay until the end.
    let (grounds, secrets) = (Grounds::with_ports(400), std::sync::Mutex::new(Vec::new()));
    let broker = serve(&grounds);

    let report = conformance(&broker.target(plan), async |env: &Variables| {
        secrets.lock().unwrap().extend(env.get("REDIS_PASSWORD").cloned());
        opens(env).await
    })
    .await;

    report.is_clean();
    assert!(report.count() > 220, "only {} cases ran", report.count());
    assert_eq!(grounds.servers(), left, "servers were left behind");
    let (log, secrets) = (broker.log(), secrets.into_inner().unwrap());
    assert!(!secrets.is_empty() && !secrets.iter().any(|secret| log.contains(secret)), "a secret is in the log");
}

#[tokio::test] // A1 to A114, O1 to O186, SPEC S-5
async fn the_plan_dedicated_conforms() {
    // Open Service Broker's cases move instances to the other plan, whose server stays.
    conforms("dedicated", &["shared"]).await;
}

#[tokio::test] // A1 to A114, O1 to O186, SPEC S-5
async fn the_plan_shared_conforms() {
    conforms("shared", &["shared"]).await;
}
