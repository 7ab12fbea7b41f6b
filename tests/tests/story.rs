//! The whole story: push, bind, scale, unbind, remove.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::TcpStream,
    path::PathBuf,
};

use end_to_end::{Page, World};

#[tokio::test] // SPEC G-1, J-4, A-6, A-11
async fn a_pushed_app_counts_in_redis_writes_in_mysql_and_goes_without_a_trace() {
    let world = World::start();
    world.tsuru(&["app", "create", "blog", "python"]).ok();
    let source = world.example("guestbook");
    world.git(&source, &["init", "-q", "."]).ok();
    world.commit(&source, &[]);
    world.tsuru_in(&source, &["git", "setup", "-a", "blog"]).ok();

    let push = world.git(&source, &["push", "tsuru", "main"]);
    push.ok();
    assert!(push.stderr().contains("remote:"), "{}", push.stderr());
    world.eventually("blog", "/", |page| page.status == 200).await;

    world.tsuru(&["service", "instance", "add", "redis", "visits"]).ok();
    world.tsuru(&["service-bind", "blog", "visits"]).ok();
    world.tsuru(&["service-bind", "blog", "mysql"]).ok();
    assert_eq!(databases(&world).len(), 1);
    let env = world.tsuru(&["env", "get", "-a", "blog"]).ok();
    for name in ["REDIS_URL", "REDIS_HOST", "REDIS_PASSWORD", "MYSQL_HOST", "MYSQL_PASSWORD", "DATABASE_URL"] {
        assert!(env.contains(&format!("{name}=*** (private variable managed by ")), "{name} is not in\n{env}");
    }

    world.tsuru(&["unit", "set", "3", "-a", "blog"]).ok();
    let mut units = BTreeSet::new();
    let mut pages = Vec::new();
    for _ in 0..24 {
        let page = world.get("blog", "/plain").await;
        assert_eq!(page.status, 200, "{page:?}");
        units.insert(page.field("unit"));
        pages.push(page);
    }
    assert_eq!(units.len(), 3, "{units:?}");
    let visits = |page: &Page| page.field("visits").parse::<u32>().unwrap();
    assert_eq!(visits(&pages[23]), visits(&pages[0]) + 23);

    let signed = world.post("blog", "/", &[("name", "Alice"), ("message", "tea & <cake>")]).await;
    assert_eq!(signed.status, 303, "{signed:?}");
    let page = world.get("blog", "/").await;
    assert!(page.body.contains("tea &amp; &lt;cake&gt;"), "{}", page.body);

    world.tsuru(&["service", "instance", "unbind", "redis", "visits", "-a", "blog"]).ok();
    assert!(!world.tsuru(&["env", "get", "-a", "blog"]).ok().contains("REDIS_URL"));
    world.tsuru(&["service", "instance", "remove", "redis", "visits", "-y"]).ok();

    world.tsuru(&["app", "remove", "-a", "blog", "-y"]).ok();
    assert_eq!(world.get("blog", "/").await.status, 404);
    assert!(world.containers().is_empty());
    world.tsuru(&["service", "instance", "remove", "mysql", "blog", "-y"]).ok();
    assert_eq!(folders(&world, "redis-servers", ""), Vec::<PathBuf>::new());
    assert_eq!(databases(&world), Vec::<PathBuf>::new());
}

/// Tenants' databases on the MySQL broker's server: a folder each.
fn databases(world: &World) -> Vec<PathBuf> {
    let servers = folders(world, "mysql-servers", "");
    servers.iter().flat_map(|server| folders(world, &server.join("data").to_string_lossy(), "tb")).collect()
}

/// Folders whose name begins so, below a folder of the world.
fn folders(world: &World, below: &str, prefix: &str) -> Vec<PathBuf> {
    let below = world.folder.path().join(below);
    let entries = fs::read_dir(&below).unwrap_or_else(|reason| panic!("{}: {reason}", below.display()));
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.filter(|path| path.is_dir() && path.file_name().unwrap().to_string_lossy().starts_with(prefix)).collect()
}

#[tokio::test] // SPEC B-4, J-7, K-4
async fn credentials_work_inside_a_unit_and_are_dead_after_an_unbind() {
    let world = World::start();
    let _source = world.pushed_teacup("blog");
    world.tsuru(&["service", "instance", "add", "redis", "cache", "shared"]).ok();
    world.tsuru(&["service-bind", "blog", "cache"]).ok();
    assert_eq!(world.get("blog", "/incr").await.body, ":1");
    let env: BTreeMap<String, String> = serde_json::from_str(&world.get("blog", "/env").await.body).unwrap();
    assert_eq!(authenticate(&env), "+OK");

    world.tsuru(&["service-unbind", "blog", "cache"]).ok();

    let after: BTreeMap<String, String> = serde_json::from_str(&world.get("blog", "/env").await.body).unwrap();
    assert!(env.keys().any(|name| name.starts_with("REDIS_")) && !after.keys().any(|name| name.starts_with("REDIS_")));
    assert_eq!(after["TSURU_SERVICES"], "{}");
    assert!(authenticate(&env).starts_with("-WRONGPASS"), "{}", authenticate(&env));
}

/// What Redis answers to a binding's credentials.
fn authenticate(env: &BTreeMap<String, String>) -> String {
    let mut server = TcpStream::connect((env["REDIS_HOST"].as_str(), env["REDIS_PORT"].parse().unwrap())).unwrap();
    write!(server, "AUTH {} {}\r\n", env["REDIS_USERNAME"], env["REDIS_PASSWORD"]).unwrap();
    let mut answer = String::new();
    BufReader::new(server).read_line(&mut answer).unwrap();
    answer.trim().to_owned()
}
