//! What holds for servers in containers alone.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use broker_hosting::{Host, Hosting, Limits};

use crate::support::{Grounds, Plain, docker, eventually, free_ports, id, say};

/// One field of a container, as `docker inspect` tells it.
fn field(container: &str, path: &str) -> String {
    docker(&["inspect", "--format", &format!("{{{{json .{path}}}}}"), container])
}

#[tokio::test] // SPEC H-7
async fn a_container_can_do_nothing_but_serve() {
    let grounds = Grounds::new();
    let host = grounds.open().await;
    let limits = Limits { memory: Some(64 << 20), cpu_milli: Some(500), processes: Some(40), open_files: Some(4096) };

    host.ensure(&id("a"), &Plain { limits, ..Plain::in_container("") }).await.unwrap();

    let container = grounds.container("a");
    let is = |path: &str, wanted: &str| assert_eq!(field(&container, path), wanted, "{path}");
    is("HostConfig.Memory", "67108864");
    is("HostConfig.MemorySwap", "67108864");
    is("HostConfig.NanoCpus", "500000000");
    is("HostConfig.PidsLimit", "40");
    is("HostConfig.ReadonlyRootfs", "true");
    is("HostConfig.CapDrop", "[\"ALL\"]");
    is("HostConfig.SecurityOpt", "[\"no-new-privileges\"]");
    is("HostConfig.RestartPolicy.Name", "\"unless-stopped\"");
    is("HostConfig.LogConfig.Config", "{\"max-file\":\"2\",\"max-size\":\"5m\"}");
    let user = field(&container, "Config.User");
    assert!(!user.starts_with("\"0") && user.len() > 2, "{user}");
    let inside = |script: &str| docker(&["exec", &container, "sh", "-c", script]);
    assert_eq!(inside("touch /etc/x 2>/dev/null || echo no"), "no");
    assert_eq!(inside("grep -c ^Cap.*0000000000000000 /proc/self/status"), "5");
    assert_eq!(inside("ulimit -n"), "4096");
}

#[tokio::test] // SPEC H-7
async fn apps_in_containers_reach_the_server_and_nobody_listens_elsewhere() {
    let grounds = Grounds::new();
    let subnet = docker(&["network", "inspect", "bridge", "--format", "{{(index .IPAM.Config 0).Subnet}}"]);
    let base: Ipv4Addr = subnet.split('/').next().unwrap().parse().expect("the default bridge has a network");
    // This machine has the first address there.
    let bridge = IpAddr::from(Ipv4Addr::from(u32::from(base) + 1));
    let host = Host::open(Hosting { addresses: vec![bridge], ..grounds.hosting(&free_ports(4)) }).await.unwrap();

    let port = host.ensure(&id("a"), &Plain::in_container("")).await.unwrap().port;

    let script = format!("exec 3<>/dev/tcp/{bridge}/{port}; printf 'PING\\r\\n' >&3; head -n 1 <&3");
    let answer = docker(&["run", "--rm", "debian:bookworm-slim", "timeout", "10", "bash", "-c", &script]);
    assert_eq!(answer, "+PONG");
    assert_eq!(field(&grounds.container("a"), "NetworkSettings.Ports").matches("HostIp").count(), 2);
}

#[tokio::test] // SPEC H-7
async fn a_server_in_a_container_has_no_way_out() {
    let grounds = Grounds::new();
    let host = grounds.open().await;
    let (a, b) = (id("a"), id("b"));
    host.ensure(&a, &Plain::in_container("")).await.unwrap();
    host.ensure(&b, &Plain::in_container("")).await.unwrap();
    let name = grounds.container("b");
    let address = docker(&["inspect", "--format", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", &name]);
    let port = host.find(&b).unwrap().unwrap().port;

    let script =
        format!("timeout 2 bash -c 'exec 3<>/dev/tcp/{address}/{port}' 2>/dev/null && echo reached || echo no");
    let answer = docker(&["exec", &grounds.container("a"), "sh", "-c", &script]);

    assert_eq!(answer, "no");
}

#[tokio::test] // SPEC H-8
async fn what_a_crash_left_of_a_container_is_used_or_replaced() {
    let grounds = Grounds::new();
    let host = grounds.open().await;
    let before = host.ensure(&id("a"), &Plain::in_container("")).await.unwrap();
    say(before.port, "SET k v").await.unwrap();
    let container = grounds.container("a");

    // Made, and not started.
    docker(&["stop", "--time", "5", &container]);
    docker(&["rm", &container]);
    let (broker, server) = container.split_once('.').unwrap();
    let labels =
        [("broker", broker), ("server", server)].map(|(of, name)| format!("--label=broker.hosting.{of}={name}"));
    docker(&["create", "--name", &container, &labels[0], &labels[1], "debian:bookworm-slim", "true"]);
    let after = host.ensure(&id("a"), &Plain::in_container("")).await.unwrap();

    assert_eq!((after.port, say(after.port, "GET k").await.unwrap().as_str()), (before.port, "$1 v"));
    // Started, and not yet kept running.
    docker(&["update", "--restart", "no", &grounds.container("a")]);
    drop(host);
    let adopted = grounds.open().await.ensure(&id("a"), &Plain::in_container("")).await.unwrap();
    assert_eq!(adopted, after);
    assert_eq!(field(&grounds.container("a"), "HostConfig.RestartPolicy.Name"), "\"unless-stopped\"");
}

#[tokio::test] // SPEC H-8
async fn a_removal_that_was_interrupted_is_finished_by_a_repeat() {
    let grounds = Grounds::new();
    let host = grounds.open().await;
    host.ensure(&id("a"), &Plain::in_container("")).await.unwrap();
    // The container went, the network and the folder did not.
    docker(&["rm", "--force", &grounds.container("a")]);
    assert_eq!(grounds.in_the_engine().len(), 1);

    host.remove(&id("a")).await.unwrap();

    assert_eq!(grounds.in_the_engine(), Vec::<String>::new());
    assert!(!host.knows(&id("a")));
}

#[tokio::test] // SPEC H-7
async fn the_engine_starts_a_server_again_that_died() {
    let grounds = Grounds::new();
    let host = grounds.open().await;
    let running = host.ensure(&id("a"), &Plain::in_container("")).await.unwrap();

    // From inside: what the engine is asked to end stays ended.
    let _ = say(running.port, "SHUTDOWN NOSAVE").await;

    eventually("the server is back", async || say(running.port, "PING").await.is_ok_and(|answer| answer == "+PONG"))
        .await;
    host.stop(&id("a"), Duration::from_secs(5)).await.unwrap();
    assert!(!host.is_running(&id("a")).await.unwrap());
}
