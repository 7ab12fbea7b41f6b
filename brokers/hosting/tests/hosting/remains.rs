//! What is found of servers that nobody remembers.

use std::fs;

use broker_core::{Instance, OpaqueId, Tenant, cli::Drift};
use broker_hosting::Host;

use crate::support::{Grounds, Plain, free_ports, id};

async fn said_of(host: &Host, mut drift: Drift) -> Vec<String> {
    host.compare(&mut drift, true).await;
    drift.to_string().lines().map(str::to_owned).collect()
}

#[tokio::test] // SPEC H-13
async fn folders_containers_and_networks_that_nobody_remembers_are_found_and_removed() {
    let (grounds, others) = (Grounds::new(), Grounds::new());
    let (host, other) = (grounds.open().await, others.open().await);
    let known = Instance::new("known".parse().unwrap(), "small".parse().unwrap());
    let (whole, bare) = (OpaqueId::generate(), OpaqueId::generate());
    for server in [known.id.as_str(), whole.as_str(), bare.as_str(), "shared"] {
        host.ensure(&id(server), &Plain::in_container("")).await.unwrap();
    }
    other.ensure(&id(OpaqueId::generate().as_str()), &Plain::in_container("")).await.unwrap();
    fs::remove_dir_all(grounds.root().join(bare.as_str())).unwrap();
    let (tenants, there) = (vec![Tenant::new(known, Vec::new())], grounds.in_the_engine());

    let beside = Host::look(grounds.hosting(&free_ports(4))).unwrap();
    let mut found = said_of(&beside, Drift::look(tenants.clone())).await;

    found.sort_by_key(|line| line.contains(bare.as_str()));
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(
        found[0].contains(whole.as_str()) && found[0].ends_with("a server's folder and its container"),
        "{found:#?}"
    );
    assert!(found[1].ends_with("a server's container or its network, without a folder"), "{found:#?}");
    assert_eq!(grounds.in_the_engine(), there);
    let removed = said_of(&host, Drift::repair(tenants.clone()).removing_orphans()).await;
    assert!(removed.len() == 2 && removed.iter().all(|line| line.starts_with("removed ")), "{removed:#?}");
    assert_eq!(said_of(&host, Drift::look(tenants)).await, Vec::<String>::new());
    assert_eq!((grounds.in_the_engine().len(), others.in_the_engine().len()), (4, 2));
}

#[tokio::test] // SPEC H-13
async fn an_engine_that_is_away_hides_no_folder() {
    let grounds = Grounds::new();
    let mut hosting = grounds.hosting(&free_ports(4));
    if let Some(containers) = &mut hosting.containers {
        containers.engine = "unix:///nowhere.sock".to_owned();
    }
    let orphan = OpaqueId::generate();
    fs::create_dir_all(grounds.root().join(orphan.as_str())).unwrap();

    let found = said_of(&Host::look(hosting).unwrap(), Drift::look(Vec::new())).await;

    assert!(found.len() == 2 && found[0].starts_with("unseen    containers"), "{found:#?}");
    assert!(found[1].starts_with("orphan ") && found[1].contains(orphan.as_str()), "{found:#?}");
}
