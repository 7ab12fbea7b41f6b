//! Both adapters of the `Routes` port keep its contract.

use std::{fs, os::unix::fs::PermissionsExt as _, sync::Arc, time::Duration};

use platform_core::{
    UnitId,
    ports::Routes as _,
    testing::routes::{MemoryRoutes, contract},
};
use platform_router::{Control, RemoteRoutes};

use crate::support::{RealTraffic, route, router, soon};

#[tokio::test]
async fn the_router_in_this_process_keeps_the_contract() {
    let router = router();
    contract(&*router.routes(), &RealTraffic::through(router.local_addr())).await;
}

#[tokio::test] // SPEC R-13
async fn a_router_behind_a_control_socket_keeps_the_contract() {
    let router = router();
    let folder = tempfile::tempdir().unwrap();
    let control = Control::serve(router.routes(), folder.path().join("router.sock")).unwrap();

    let remote = RemoteRoutes::at(control.path());

    contract(&remote, &RealTraffic::through(router.local_addr())).await;
}

#[tokio::test] // SPEC R-13
async fn the_control_socket_is_private_and_replaces_a_stale_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("router.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());

    let control = Control::serve(Arc::new(MemoryRoutes::new()), &path).unwrap();

    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let refusal = Control::serve(Arc::new(MemoryRoutes::new()), &path).unwrap_err().to_string();
    assert!(refusal.contains("another router serves it"), "{refusal}");
    drop(control);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left behind");
}

#[tokio::test] // SPEC R-13
async fn a_router_that_is_being_restarted_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("router.sock");
    let (routes, remote) = (MemoryRoutes::new(), RemoteRoutes::at(&path));

    let (published, _control) = tokio::join!(remote.publish(route("blog", &["blog.test"], &[])), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        Control::serve(Arc::new(routes.clone()), &path).unwrap()
    });

    published.unwrap();
    assert!(routes.route("blog").is_some());
}

#[tokio::test] // SPEC R-13
async fn a_router_that_is_away_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let remote = RemoteRoutes::at(folder.path().join("router.sock"));

    let refusal = soon(remote.published()).await.unwrap_err().to_string();

    assert!(refusal.starts_with("the router does not answer at /"), "{refusal}");
}

#[tokio::test] // SPEC R-13
async fn odd_identifiers_travel_whole() {
    let folder = tempfile::tempdir().unwrap();
    let routes = MemoryRoutes::new();
    let mut odd = route("blog", &["blog.test"], &[]);
    let id = UnitId("a/b?c d%é".to_owned());
    odd.units.push(platform_core::Backend { id: id.clone(), address: ([127, 0, 0, 1], 1).into() });
    routes.publish(odd).await.unwrap();
    let control = Control::serve(Arc::new(routes), folder.path().join("router.sock")).unwrap();

    let drained = RemoteRoutes::at(control.path()).drained(&id, Duration::from_millis(10)).await.unwrap();

    assert!(!drained, "the unit is published under that very name");
}
