//! The whole story: push, bind, scale, unbind, remove.

use std::{collections::BTreeSet, fs};

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
    let servers = fs::read_dir(world.folder.path().join("redis-servers")).into_iter().flatten().flatten();
    let left: Vec<_> = servers.map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    assert!(left.is_empty(), "servers are left: {left:?}");
}
