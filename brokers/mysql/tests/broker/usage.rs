//! What instances use, as operators and owners see it.

use broker_core::{Broker as _, Instance, Metric, Tenant, testing::TestBroker};
use mysql_broker::MysqlBroker;

use crate::support::{Client, Grounds, binding, look_after, tenant};

const PLANS: &str = r#"
[[plan]]
name = "trial"
kind = "shared"
connections = 3
storage = "8mb"

[[plan]]
name = "own"
kind = "dedicated"
connections = 70
server-connections = 100
"#;

/// An instance with two bindings and a connection of each.
struct InUse {
    tenant: Tenant,
    _apps: Vec<Client>,
}

impl InUse {
    async fn of(broker: &MysqlBroker, plan: &str) -> Self {
        let mut instance = Instance::new(format!("a-{plan}").parse().unwrap(), plan.parse().unwrap());
        instance.notes = broker.provision(&instance).await.unwrap();
        let (blog, shop) = (binding("blog"), binding("shop"));
        let mut apps = Vec::new();
        for binding in [&blog, &shop] {
            let env = broker.bind(&instance, binding).await.unwrap();
            apps.push(Client::of(&env).await.unwrap());
        }
        apps[0].run("CREATE TABLE t (a INT)").await.unwrap();
        Self { tenant: tenant(&instance, &[&blog, &shop]), _apps: apps }
    }
}

#[tokio::test] // SPEC M-21
async fn operators_and_owners_see_what_each_instance_uses_of_what_it_may() {
    let grounds = Grounds::new();
    let broker = MysqlBroker::start(grounds.with_plans(PLANS)).await.unwrap();
    let (trial, own) = (InUse::of(&broker, "trial").await, InUse::of(&broker, "own").await);
    let removed = InUse::of(&broker, "trial").await;
    look_after(&broker, &[trial.tenant.clone(), own.tenant.clone(), removed.tenant.clone()]).await;
    broker.deprovision(&removed.tenant.instance).await.unwrap();

    for (InUse { tenant, .. }, connections) in
        [(&trial, "2, at most 3 of each binding"), (&own, "2 of 100, at most 70 of each binding")]
    {
        let info = broker.info(&tenant.instance).await.unwrap();
        let says = |label: &str| info.iter().find(|item| item.label == label).map(|item| item.value.as_str());
        assert_eq!(says("Plan"), Some(tenant.instance.plan.as_str()));
        assert_eq!(says("Connections"), Some(connections));
        assert!(says("Server").unwrap().starts_with("MariaDB "));
    }
    let to_owners = broker.instance_metrics(&own.tenant).await.unwrap().unwrap();
    let named = |metric: &Metric, name: &str| format!("{metric:?}").contains(&format!("\"{name}\""));
    let (statements, others): (Vec<_>, _) = to_owners.iter().partition(|metric| named(metric, "instance_statements"));
    assert_eq!((statements.len(), others.len()), (1, 3), "{to_owners:?}");
    let shown = broker.metrics().await.unwrap();
    assert!(others.iter().all(|metric| shown.contains(metric)), "{others:?}: {shown:?}");
    let served = TestBroker::start(broker).await;
    let metrics = served.request("GET", "/metrics").send().await.unwrap().text().await.unwrap();

    let figure = |name: &str, plan: &str| {
        let start = format!("mysql_instance_{name}{{instance=\"a-{plan}\",plan=\"{plan}\"}} ");
        let values: Vec<f64> = metrics.lines().filter_map(|line| line.strip_prefix(&start)?.parse().ok()).collect();
        assert!(values.len() <= 1, "{metrics}");
        values.first().copied()
    };
    assert!(figure("statements_total", "own").unwrap() > 10.0, "{metrics}");
    assert_eq!(figure("statements_total", "trial"), None);
    for (plan, room, most) in [("trial", Some(8.0 * 1024.0 * 1024.0), 6.0), ("own", None, 100.0)] {
        assert_eq!(figure("connections", plan), Some(2.0), "{metrics}");
        assert_eq!(figure("connections_limit", plan), Some(most));
        assert_eq!(figure("storage_limit_bytes", plan), room);
        assert!(figure("storage_bytes", plan).unwrap() >= 65536.0, "{metrics}");
    }
}

#[tokio::test] // SPEC M-21
async fn a_server_is_asked_for_all_of_its_instances_at_once() {
    let grounds = Grounds::new();
    let broker = grounds.broker().await;
    let mut admin = grounds.admin().await;
    let mut tenants = Vec::new();
    for number in 0..20 {
        let mut instance = Instance::new(format!("db-{number}").parse().unwrap(), "shared".parse().unwrap());
        instance.notes = broker.provision(&instance).await.unwrap();
        tenants.push(tenant(&instance, &[]));
    }
    look_after(&broker, &tenants).await;
    const ASKED: &str = "SELECT CAST(VARIABLE_VALUE AS UNSIGNED) FROM information_schema.GLOBAL_STATUS \
        WHERE VARIABLE_NAME = 'QUESTIONS'";
    let before = admin.number(ASKED).await;

    let metrics = format!("{:?}", broker.metrics().await.unwrap());

    let asked = admin.number(ASKED).await - before;
    assert_eq!(metrics.matches("\"instance_connections\"").count(), 20, "{metrics}");
    assert!(asked < 20, "{asked} questions");
}
