//! Units: start, readiness, adoption, death, output.

use std::{path::PathBuf, time::Duration};

use futures::StreamExt;
use platform_core::{
    HealthCheck, Progress, UnitState,
    ports::Engine,
    testing::engine::{EngineFixture, engine_contract},
};
use platform_docker::{DockerConfig, DockerEngine};

use crate::harness::{COPYING, PATIENCE, SERVER, World, docker, sentence, test_platform};

const SERVE: [&str; 2] = ["perl", "/home/application/current/server.pl"];

async fn served() -> (World, String) {
    let world = World::new().await;
    let platform = test_platform(COPYING);
    let archive = world.archive(&[("Procfile", "web: perl server.pl\n"), ("server.pl", SERVER)]);
    let image = world.built(&platform, 1, &archive).await.image;
    (world, image)
}

#[tokio::test]
async fn docker_keeps_the_engines_contract() {
    let world = World::new().await;
    let fixture = EngineFixture {
        app: world.app.clone(),
        platform_image: test_platform(COPYING),
        archive: world.archive(&[("Procfile", "web: perl server.pl\n"), ("server.pl", SERVER)]),
        patience: PATIENCE,
    };
    engine_contract(&world.engine, &fixture).await;
}

#[tokio::test] // SPEC U-4
async fn a_unit_has_no_rights_beyond_its_own_user() {
    let (world, image) = served().await;
    let unit = world.start(&world.spec("bare", &image, &SERVE)).await;
    let progress = Progress::silent();

    let asked = "id -u; pwd; hostname; grep -E '^(CapEff|CapBnd|NoNewPrivs)' /proc/self/status | tr -d '\\t'";
    let status = world.engine.run_in(&unit.id, asked, &progress).await.unwrap();

    let none = "0000000000000000";
    let expected =
        format!("1000\n/home/application/current\n{}\nCapEff:{none}\nCapBnd:{none}\nNoNewPrivs:1\n", unit.id);
    assert_eq!((status, progress.log()), (0, expected));
}

#[tokio::test] // SPEC U-6
async fn a_unit_is_ready_when_its_check_passes() {
    let (world, image) = served().await;
    let unit = world.start(&world.spec("checked", &image, &SERVE)).await;
    let within = |path: &str, seconds| {
        (HealthCheck { path: path.to_owned(), ..HealthCheck::default() }, Duration::from_secs(seconds))
    };

    let (good, patience) = within("/302", 30);
    world.engine.wait_ready(&unit, Some(&good), true, patience).await.unwrap();
    let (bad, patience) = within("/500", 1);
    let refusal = sentence(world.engine.wait_ready(&unit, Some(&bad), true, patience).await);
    let command =
        HealthCheck { command: vec!["test".into(), "-f".into(), "/nothing".into()], ..HealthCheck::default() };
    let by_command = sentence(world.engine.wait_ready(&unit, Some(&command), true, patience).await);

    let id = &unit.id;
    assert_eq!(
        refusal,
        format!(
            "unit {id} was not ready after 1 s: GET /500 on port 8888 was answered with status 500; its last lines:\nlistening"
        )
    );
    assert!(by_command.contains("the command `test -f /nothing` ended with exit status 1"), "{by_command}");
}

#[tokio::test] // SPEC U-6
async fn a_unit_that_never_listens_is_told_where_to_listen() {
    let (world, image) = served().await;
    let unit = world.start(&world.spec("deaf", &image, &["sleep", "100"])).await;

    let refusal = sentence(world.engine.wait_ready(&unit, None, true, Duration::from_millis(600)).await);
    world.engine.wait_ready(&unit, None, false, PATIENCE).await.expect("staying up is enough without a port");

    assert!(refusal.contains("the app has to listen on 0.0.0.0:$PORT; it wrote nothing"), "{refusal}");
}

#[tokio::test] // SPEC U-6
async fn a_unit_whose_program_is_missing_says_so() {
    let (world, image) = served().await;
    let unit = world.start(&world.spec("missing", &image, &["/no/such/program"])).await;

    let refusal = sentence(world.engine.wait_ready(&unit, None, true, PATIENCE).await);

    assert!(refusal.contains("exited with status 127") && refusal.contains("/no/such/program"), "{refusal}");
}

#[tokio::test] // SPEC U-6
async fn a_unit_that_needs_more_memory_than_it_has_says_so() {
    let (world, image) = served().await;
    let greedy = ["perl", "-e", "my @all; push @all, 'x' x 1_000_000 while 1"];
    let unit = world.start(&world.spec("greedy", &image, &greedy)).await;

    let refusal = sentence(world.engine.wait_ready(&unit, None, true, PATIENCE).await);

    assert!(refusal.contains("used more memory than its plan allows"), "{refusal}");
}

#[tokio::test] // SPEC U-1
async fn a_dead_unit_is_listed_as_failed_and_starts_again() {
    let (world, image) = served().await;
    let spec = world.spec("dies", &image, &SERVE);
    let unit = world.start(&spec).await;
    world.engine.wait_ready(&unit, None, true, PATIENCE).await.unwrap();
    let mut changes = world.engine.changes().await;

    docker(&["kill", &format!("{}.{}", world.config.instance, unit.id)]);

    let heard = tokio::time::timeout(PATIENCE, changes.next()).await.expect("a death is a change");
    assert_eq!(heard, Some(Some(world.app.clone())));
    world.until("the unit failed", || docker(&["ps", "-q", "--filter", &format!("name={}", unit.id)]).is_empty()).await;
    let listed = world.engine.units(Some(&world.app)).await.unwrap();
    assert_eq!((listed[0].state, listed[0].address), (UnitState::Error, None));
    let again = world.start(&spec).await;
    assert_eq!((again.state, again.restarts, again.created_at), (UnitState::Started, 1, unit.created_at));
}

#[tokio::test] // SPEC U-1
async fn a_container_of_the_units_name_that_is_something_else_is_replaced() {
    let (world, image) = served().await;
    let old = world.spec("same", &image, &SERVE);
    world.start(&old).await;
    let mut new = old.clone();
    new.generation = 2;

    let unit = world.start(&new).await;

    assert_eq!(unit.generation, 2);
    assert_eq!(world.engine.units(Some(&world.app)).await.unwrap(), [unit]);
}

#[tokio::test] // SPEC U-1
async fn a_unit_that_cannot_start_leaves_nothing() {
    let (world, image) = served().await;

    let mut tiny = world.spec("tiny", &image, &SERVE);
    tiny.memory = 1;

    let refusal = sentence(world.engine.start(&tiny).await);
    let gone = sentence(world.engine.start(&world.spec("gone", "tsuru/app-nothing:v9", &SERVE)).await);

    assert!(refusal.starts_with("Docker could not make unit") && refusal.contains("memory"), "{refusal}");
    assert!(gone.starts_with("image tsuru/app-nothing:v9 of app"), "{gone}");
    assert_eq!(world.engine.units(Some(&world.app)).await.unwrap(), []);
}

#[tokio::test] // SPEC U-1
async fn platforms_on_one_docker_do_not_see_each_other() {
    let (world, image) = served().await;
    let other = World::new().await;
    let spec = world.spec("shared", &image, &SERVE);
    world.start(&spec).await;

    other.engine.stop(&spec.id, Duration::from_secs(1)).await.unwrap();

    assert_eq!(other.engine.units(None).await.unwrap(), []);
    assert_eq!(world.engine.units(None).await.unwrap().len(), 1);
}

#[tokio::test]
async fn the_last_lines_of_all_units_come_in_the_order_they_were_written() {
    let (world, image) = served().await;
    for (name, script) in
        [("a", "echo 1; sleep 0.4; echo 3; echo 5 >&2"), ("b", "sleep 0.2; echo 2; sleep 0.4; echo 4")]
    {
        let unit = world.start(&world.spec(name, &image, &["/bin/sh", "-c", script])).await;
        // The second starts no earlier than the first has.
        assert!(unit.address.is_some() || unit.state != UnitState::Created);
    }
    world.until("both have ended", || world.containers("unit").len() == 2 && running(&world).is_empty()).await;

    let lines: Vec<_> = world.engine.logs(&world.app, 4, false).await.unwrap().collect().await;

    let times: Vec<_> = lines.iter().map(|line| line.at).collect();
    assert!(times.is_sorted(), "{lines:?}");
    assert_eq!(lines.len(), 4);
    assert!(lines.iter().all(|line| line.message != "1"), "{lines:?}");
}

fn running(world: &World) -> Vec<String> {
    docker(&["ps", "-q", "--filter", &format!("label=tsuru.instance={}", world.config.instance)])
}

#[tokio::test] // SPEC U-7
async fn without_docker_every_call_says_what_to_do() {
    let socket = format!("unix://{}/docker.sock", tempfile::tempdir().unwrap().path().display());
    let config = DockerConfig { host: socket.clone(), ..DockerConfig::default() };

    let refusal = DockerEngine::connect(config).await.err().expect("there is no Docker").to_string();

    assert_eq!(refusal, format!("Docker does not answer at {socket}: start the Docker engine, then try again"));
}

#[tokio::test] // SPEC U-7
async fn when_docker_comes_back_everything_counts_as_changed() {
    let place = tempfile::tempdir().unwrap();
    let socket = place.path().join("docker.sock");
    let docker = Stand::new(&socket);
    let host = format!("unix://{}", socket.display());
    let config = DockerConfig { host: host.clone(), instance: "test-away".to_owned(), ..DockerConfig::default() };
    let engine = DockerEngine::connect(config).await.unwrap();
    let mut changes = engine.changes().await;
    // The first look at the events opens the connection that is about to be lost.
    assert!(tokio::time::timeout(Duration::from_millis(200), changes.next()).await.is_err());

    drop(docker);
    let refusal = sentence(engine.units(None).await);
    let _docker = Stand::new(&socket);

    assert_eq!(refusal, format!("Docker does not answer at {host}: start the Docker engine, then try again"));
    assert_eq!(tokio::time::timeout(PATIENCE, changes.next()).await.expect("it is back"), Some(None));
    engine.units(None).await.expect("calls work again");
}

/// A socket that leads to Docker for as long as it is kept.
struct Stand(PathBuf, tokio::task::JoinSet<()>);

impl Stand {
    fn new(socket: &std::path::Path) -> Self {
        let listener = tokio::net::UnixListener::bind(socket).unwrap();
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((mut client, _)) = listener.accept().await {
                connections.spawn(async move {
                    let mut docker = tokio::net::UnixStream::connect("/var/run/docker.sock").await.unwrap();
                    let _closed = tokio::io::copy_bidirectional(&mut client, &mut docker).await;
                });
            }
        });
        Self(socket.to_path_buf(), tasks)
    }
}

impl Drop for Stand {
    fn drop(&mut self) {
        self.1.abort_all();
        std::fs::remove_file(&self.0).unwrap();
    }
}
