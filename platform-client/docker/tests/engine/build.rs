//! From source to image.

use std::time::Duration;

use platform_core::{
    Error, Progress, UnitEnv,
    ports::{Build, Engine},
};

use crate::harness::{COPYING, SCRIPTED, SERVER, World, docker, sentence, test_platform};

fn env(variables: &[(&str, &str)]) -> UnitEnv {
    variables.iter().map(|&(name, value)| (name.to_owned(), value.into())).collect()
}

#[tokio::test] // SPEC U-3
async fn source_arrives_as_it_is_and_belongs_to_the_apps_user() {
    let world = World::new().await;
    let platform = test_platform(COPYING);
    let archive =
        world.archive(&[("Procfile", "web: ./run\n"), ("deep/down/run", "#!/bin/sh\n"), ("./server.pl", SERVER)]);

    let built = world.built(&platform, 1, &archive).await;

    assert_eq!(built.processes[0].command, ["./run"]);
    let asked = "cd /home/application/current; stat -c '%n %u:%g %a' . deep deep/down/run server.pl; readlink a-link";
    assert_eq!(
        world.output(&built.image, asked).await,
        ". 1000:1000 755\ndeep 1000:1000 755\ndeep/down/run 1000:1000 755\nserver.pl 1000:1000 644\nProcfile\n"
    );
    world.until("the container that it was built in is gone", || world.containers("build").is_empty()).await;
}

#[tokio::test] // SPEC U-2
async fn dependencies_are_installed_once_while_their_files_are_unchanged() {
    let world = World::new().await;
    // A platform of its own, so that nobody else has made the layers.
    let platform = world.platform(&format!("FROM {}\n", test_platform(COPYING))).await;
    let app = |wishes: &str, extra: &str| {
        world.archive(&[("Procfile", "web: x\n"), ("wishes.txt", wishes), ("extra", extra)])
    };
    let reused = " ---> dependencies unchanged, layer reused\n";

    let (first, log) = world.build(&platform, 1, &app("a pony\n", "1"), UnitEnv::new()).await;
    assert!(log.contains("a pony\n") && !log.contains(reused), "{log}");
    let (second, log) = world.build(&platform, 2, &app("a pony\n", "2"), UnitEnv::new()).await;
    assert!(log.contains(reused) && !log.contains("a pony\n"), "{log}");
    let (third, log) = world.build(&platform, 3, &app("a boat\n", "2"), UnitEnv::new()).await;
    assert!(log.contains("a boat\n"), "{log}");
    let (_, log) = world.build(&platform, 4, &app("a boat\n", "2"), env(&[("WISH_KIND", "big")])).await;
    assert!(log.contains("a boat\n"), "a variable that dependencies depend on makes another layer: {log}");

    let installed = "cat /home/application/installed /home/application/current/extra";
    assert_eq!(world.output(&first.unwrap().image, installed).await, "a pony\n1");
    assert_eq!(world.output(&second.unwrap().image, installed).await, "a pony\n2");
    assert_eq!(world.output(&third.unwrap().image, installed).await, "a boat\n2");
}

#[tokio::test] // SPEC U-5
async fn what_only_builds_may_see_is_neither_in_the_image_nor_in_units() {
    let mut world = World::new().await;
    let certificate = "-----BEGIN CERTIFICATE-----\nof the house\n-----END CERTIFICATE-----\n";
    world.config.build.ca_bundle = Some(world.file(certificate.as_bytes()));
    world.config.build.env = env(&[("PIP_INDEX_URL", "https://me:house-secret@index.example/")]);
    world.engine = platform_docker::DockerEngine::connect(world.config.clone()).await.unwrap();
    let platform = test_platform(COPYING);
    let yaml = "hooks:\n  build:\n    - grep -c 'of the house' $SSL_CERT_FILE\n    - echo $PIP_INDEX_URL $APP_SECRET $PIP_CERT\n    - id -u; touch made-by-hook\n";
    let archive = world.archive(&[("Procfile", "web: x\n"), ("tsuru.yaml", yaml)]);

    let (built, log) = world.build(&platform, 1, &archive, env(&[("APP_SECRET", "app-secret")])).await;

    let image = built.unwrap().image;
    assert!(log.contains("\n1\n") && log.contains("\n1000\n"), "{log}");
    assert!(log.contains("https://me:house-secret@index.example/ app-secret /dev/shm/tsuru-ca.pem\n"), "{log}");
    let described = [docker(&["inspect", &image]), docker(&["history", "--no-trunc", &image])].concat().join("\n");
    assert!(!described.contains("secret"), "{described}");
    let found = world
        .output(
            &image,
            "ls /home/application/current; env; ls /dev/shm; grep -rl 'of the house' /etc /home /tmp /run || true",
        )
        .await;
    assert!(found.contains("made-by-hook\n"), "{found}");
    assert!(!found.contains("secret") && !found.contains("tsuru-ca") && !found.contains("CERT"), "{found}");
}

#[tokio::test] // SPEC U-2
async fn a_failing_step_fails_the_build_and_leaves_nothing() {
    let world = World::new().await;
    let platform = test_platform(COPYING);
    let archive =
        world.archive(&[("Procfile", "web: x\n"), ("tsuru.yaml", "hooks:\n  build: ['echo oh no; exit 3']\n")]);

    let (built, log) = world.build(&platform, 1, &archive, UnitEnv::new()).await;

    assert!(matches!(built, Err(Error::Build(_))));
    assert_eq!(sentence(built), "build hook `echo oh no; exit 3` failed with exit status 3");
    assert!(log.contains("oh no\n"), "{log}");
    world.until("nothing is left", || world.containers("build").is_empty()).await;
    assert!(!world.image_is_there(&world.image("app-", 1)));
}

#[tokio::test] // SPEC U-2
async fn output_is_told_while_the_build_runs_and_a_build_that_is_given_up_leaves_nothing() {
    let world = World::new().await;
    let platform = test_platform(COPYING);
    let yaml = "hooks:\n  build: ['echo begun; sleep 1000']\n";
    let archive = world.archive(&[("Procfile", "web: x\n"), ("tsuru.yaml", yaml)]);
    let build =
        Build { app: &world.app, version: 1, platform_image: &platform, archive: &archive, env: UnitEnv::new() };
    let (progress, mut heard) = Progress::channel();

    tokio::select! {
        built = world.engine.build(&build, &progress) => panic!("the hook cannot have ended: {built:?}"),
        () = async { while heard.recv().await.expect("output") != "begun\n" {} } => {}
    }

    world.until("nothing is left", || world.containers("build").is_empty()).await;
    assert!(!world.image_is_there(&world.image("app-", 1)));
}

#[tokio::test] // SPEC U-2
async fn a_build_that_takes_too_long_is_given_up() {
    let mut world = World::new().await;
    let platform = test_platform(COPYING);
    world.config.build_timeout = Duration::from_secs(2);
    world.engine = platform_docker::DockerEngine::connect(world.config.clone()).await.unwrap();
    let archive = world.archive(&[("Procfile", "web: x\n"), ("tsuru.yaml", "hooks:\n  build: ['sleep 1000']\n")]);

    let (built, _) = world.build(&platform, 1, &archive, UnitEnv::new()).await;

    assert_eq!(sentence(built), "the build took longer than 2 s and was given up");
    world.until("nothing is left", || world.containers("build").is_empty()).await;
}

#[tokio::test] // SPEC U-2
async fn a_platform_that_says_nothing_builds_by_its_deploy_script() {
    let world = World::new().await;
    let platform = test_platform(SCRIPTED);
    let good = world.archive(&[("Procfile", "web: perl server.pl\nworker: x\n"), ("server.pl", SERVER)]);
    let broken = world.archive(&[("Procfile", "web: x\n"), ("broken", "")]);

    let (built, log) = world.build(&platform, 1, &good, env(&[("WHOM", "me")])).await;
    let (refused, _) = world.build(&platform, 2, &broken, UnitEnv::new()).await;

    let built = built.unwrap();
    assert!(log.contains("unpacked for me\n"), "{log}");
    assert_eq!(built.processes.len(), 2);
    let asked = "id -u; ls -A /home/application; stat -c %u /home/application/current/server.pl";
    assert_eq!(world.output(&built.image, asked).await, "1000\ncurrent\n1000\n");
    assert_eq!(sentence(refused), "the platform's deploy script failed with exit status 9");
}

#[tokio::test] // SPEC A-8
async fn source_that_names_no_process_is_refused() {
    let world = World::new().await;
    let platform = test_platform(&format!("{COPYING}CMD []\n"));

    let (built, _) = world.build(&platform, 1, &world.archive(&[("readme", "hello")]), UnitEnv::new()).await;
    let (garbage, _) = world.build(&platform, 2, &world.file(b"PK and so on"), UnitEnv::new()).await;
    let (nothing, _) = world.build("tsuru/nothing:v1", 3, &world.archive(&[("x", "")]), UnitEnv::new()).await;

    assert!(sentence(built).starts_with("neither Procfile nor entrypoint and cmd set"));
    assert!(sentence(garbage).starts_with("the source is not a gzip-compressed tar archive"));
    assert!(sentence(nothing).starts_with("the platform's image tsuru/nothing:v1 is not on the server"));
    assert!(!world.image_is_there(&world.image("app-", 1)));
}

#[tokio::test] // SPEC A-8
async fn a_ready_image_runs_its_own_command_or_its_procfile() {
    let world = World::new().await;
    let own = world.platform("FROM debian:bookworm-slim\nENTRYPOINT [\"perl\"]\nCMD [\"server.pl\", \"-x\"]\n").await;

    let taken = world.engine.take_image(&world.app, 7, &own, &Progress::silent()).await.unwrap();
    let missing = sentence(world.engine.take_image(&world.app, 8, "127.0.0.1:1/nothing", &Progress::silent()).await);

    assert_eq!(taken.image, world.image("app-", 7));
    assert_eq!(taken.processes[0].command, ["perl", "server.pl", "-x"]);
    assert!(
        missing.starts_with("image 127.0.0.1:1/nothing is not on the server and could not be pulled: "),
        "{missing}"
    );
}

#[tokio::test]
async fn a_platform_that_cannot_be_built_says_why() {
    let world = World::new().await;
    let name = world.app.as_str().parse().unwrap();
    let progress = Progress::silent();

    let failed =
        world.engine.build_platform(&name, 2, "FROM debian:bookworm-slim\nRUN echo hm; exit 5\n", &progress).await;
    let nonsense = world.engine.build_platform(&name, 3, "FLY debian\n", &Progress::silent()).await;

    let failed = sentence(failed);
    assert!(
        failed.starts_with("the platform could not be built: ") && failed.ends_with("non-zero code: 5"),
        "{failed}"
    );
    assert!(progress.log().contains("hm\n"), "{}", progress.log());
    assert!(sentence(nonsense).starts_with("the platform could not be built: "));
    assert!(!world.image_is_there(&world.image("", 2)));
}

#[tokio::test]
async fn what_an_interrupted_process_left_is_swept_away() {
    let world = World::new().await;
    let instance = format!("tsuru.instance={}", world.config.instance);
    docker(&["create", "--label", &instance, "--label", "tsuru.role=build", "debian:bookworm-slim", "true"]);
    docker(&["create", "--label", &instance, "--label", "tsuru.role=unit", "debian:bookworm-slim", "true"]);

    world.engine.sweep().await.unwrap();

    assert_eq!((world.containers("build").len(), world.containers("unit").len()), (0, 1));
}
