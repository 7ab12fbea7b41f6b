//! The platforms of this repository.

use std::time::{Duration, Instant};

use platform_core::{HealthCheck, Progress, Unit, UnitEnv, ports::Engine};

use crate::harness::{PATIENCE, World, own_platforms};

/// Builds, starts, waits; prints how long each took.
async fn deploy(world: &World, what: &str, platform: &str, version: u32, files: &[(&str, &str)]) -> (Unit, String) {
    let archive = world.archive(files);
    let begun = Instant::now();
    let (built, log) = world.build(platform, version, &archive, UnitEnv::new()).await;
    let built = built.unwrap_or_else(|reason| panic!("{reason}\n{log}"));
    let at_built = begun.elapsed();
    let web = &built.processes[0];
    let mut spec = world.spec(&format!("v{version}"), &built.image, &[]);
    spec.command = web.start_command(&built.hooks);
    let unit = world.start(&spec).await;
    let at_started = begun.elapsed();
    let check = HealthCheck { path: "/".to_owned(), ..HealthCheck::default() };
    world.engine.wait_ready(&unit, Some(&check), true, PATIENCE).await.unwrap();
    let ms = |time: Duration| time.as_millis();
    println!(
        "{what}: build {} ms, start {} ms, ready {} ms, all {} ms",
        ms(at_built),
        ms(at_started - at_built),
        ms(begun.elapsed() - at_started),
        ms(begun.elapsed())
    );
    (unit, log)
}

async fn get(unit: &Unit, path: &str) -> (u16, String) {
    let url = format!("http://{}{path}", unit.address.unwrap());
    let _chosen_already = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let answer = client.get(url).send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

#[tokio::test]
async fn static_files_are_served_and_nothing_else() {
    own_platforms();
    let world = World::new().await;
    let files = [
        ("index.html", "<h1>hello</h1>"),
        ("docs/index.html", "docs"),
        (".env", "SECRET=1"),
        (".well-known/x.txt", "known"),
        ("tsuru.yaml", "healthcheck:\n  path: /\n"),
    ];

    let (unit, _) = deploy(&world, "static", "tsuru/static", 1, &files).await;
    let (again, _) = deploy(&world, "static again", "tsuru/static", 2, &files).await;

    assert_eq!(get(&unit, "/").await, (200, "<h1>hello</h1>".to_owned()));
    assert_eq!(get(&again, "/docs/").await, (200, "docs".to_owned()));
    assert_eq!(get(&unit, "/docs").await.0, 301);
    assert_eq!(get(&unit, "/.well-known/x.txt").await, (200, "known".to_owned()));
    for hidden in ["/.env", "/tsuru.yaml", "/Procfile", "/nothing"] {
        assert_eq!(get(&unit, hidden).await.0, 404, "{hidden}");
    }
    let begun = Instant::now();
    world.engine.stop(&unit.id, Duration::from_secs(10)).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(5), "nginx ends when it is asked to");
}

const APP: &str = "
import http.server, os, six

class Hello(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = ('six ' + six.__version__).encode()
        self.send_response(200)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)

http.server.ThreadingHTTPServer(('0.0.0.0', int(os.environ['PORT'])), Hello).serve_forever()
";

#[tokio::test]
async fn python_requirements_are_installed_once_and_found_by_processes() {
    own_platforms();
    let world = World::new().await;
    // A platform of its own, so that nobody else has made the layer.
    let platform = world.platform("FROM tsuru/python\n").await;
    let files = |app: &'static str| {
        [("Procfile", "web: python app.py\n"), ("requirements.txt", "six==1.16.0\n"), ("app.py", app)]
    };

    let (first, log) = deploy(&world, "python", &platform, 1, &files(APP)).await;
    assert!(log.contains("Successfully installed six-1.16.0"), "{log}");
    let changed = Box::leak(format!("{APP}\n# changed\n").into_boxed_str());
    let (second, log) = deploy(&world, "python, dependencies unchanged", &platform, 2, &files(changed)).await;
    assert!(log.contains("dependencies unchanged, layer reused"), "{log}");

    for unit in [&first, &second] {
        assert_eq!(get(unit, "/").await, (200, "six 1.16.0".to_owned()));
    }
    let progress = Progress::silent();
    world
        .engine
        .run_in(&second.id, "command -v python; command -v pip; env | grep -E 'PIP_|CERT|PROXY' || true", &progress)
        .await
        .unwrap();
    assert_eq!(progress.log(), "/home/application/venv/bin/python\n/home/application/venv/bin/pip\n");
}

#[tokio::test]
async fn a_requirement_that_does_not_exist_fails_the_build() {
    own_platforms();
    let world = World::new().await;
    let archive = world.archive(&[("Procfile", "web: x\n"), ("requirements.txt", "six==0.0.0.never\n")]);

    let (built, log) = world.build("tsuru/python", 1, &archive, UnitEnv::new()).await;

    let refusal = built.unwrap_err().to_string();
    assert_eq!(refusal, "installing dependencies failed with exit status 1, see its output above");
    assert!(log.contains("six==0.0.0.never"), "{log}");
}

#[tokio::test]
async fn system_packages_are_installed_where_the_source_asks_for_them() {
    own_platforms();
    let world = World::new().await;
    let archive = world.archive(&[("Procfile", "web: x\n"), ("requirements.apt", "# greets\nhello\n")]);

    let built = world.built("tsuru/base", 1, &archive).await;

    assert_eq!(world.output(&built.image, "hello; ls /var/lib/apt/lists").await, "Hello, world!\n");
}

#[tokio::test] // contract section 19
async fn the_platforms_deploy_script_does_the_same_as_the_short_way() {
    own_platforms();
    let world = World::new().await;
    let platform = world.platform("FROM tsuru/python\nLABEL tsuru.source=script\n").await;
    let archive = world.archive(&[("Procfile", "web: python app.py\n"), ("requirements.txt", "six==1.16.0\n")]);

    let built = world.built(&platform, 1, &archive).await;

    let asked = "python -c 'import six; print(six.__version__)'; cd /home/application; ls -A . current; stat -c %u current/Procfile";
    let expected = "1.16.0\n.:\ncurrent\nvenv\n\ncurrent:\nProcfile\na-link\nrequirements.txt\n1000\n";
    assert_eq!(world.output(&built.image, asked).await, expected);
}
