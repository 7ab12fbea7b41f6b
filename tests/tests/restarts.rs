//! Each of the three processes is killed while apps run: nothing is lost, nothing is doubled.

use std::{
    net::TcpListener,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use chrono::Utc;
use end_to_end::{World, teacup};

#[tokio::test] // SPEC P-5, P-7
async fn the_platform_is_killed_and_is_back_before_anything_is_looked_at() {
    let mut world = World::start();
    let source = world.pushed_teacup("blog");
    world.tsuru(&["service-bind", "blog", "redis"]).ok();
    world.tsuru(&["unit", "set", "2", "-a", "blog"]).ok();
    let containers = world.containers();
    assert_eq!(world.get("blog", "/incr").await.body, ":1");

    world.tsurud.kill_9();
    assert_eq!(world.containers(), containers);
    let back = Instant::now();
    world.tsurud.start_again();
    world.eventually("blog", "/incr", |page| page.body == ":2").await;
    // It serves from the table that it kept: not even the first look of the reconciler is waited for.
    assert!(back.elapsed() < Duration::from_secs(10), "it took {:?}", back.elapsed());
    println!("the app answered {:?} after tsurud was started again", back.elapsed());

    assert_eq!(world.containers(), containers);
    world.tsuru(&["service", "instance", "unbind", "redis", "blog", "-a", "blog"]).ok();
    world.tsuru(&["service-bind", "blog", "redis"]).ok();
    world.commit(&source, &teacup("version 2"));
    world.git(&source, &["push", "tsuru", "main"]).ok();
    world.eventually("blog", "/", |page| page.body == "version 2").await;
    assert_eq!(world.containers().len(), 2);
}

#[tokio::test] // SPEC P-5, A-3
async fn a_platform_killed_in_the_middle_of_a_push_leaves_the_old_version_and_no_lock() {
    let mut world = World::start();
    let source = world.pushed_teacup("blog");
    let waiting = "import time; time.sleep(5)\n".to_owned() + &teacup("version 2")[0].1;
    world.commit(&source, &[("teacup.py", waiting)]);

    let pushing = std::thread::scope(|scope| {
        let push = scope.spawn(|| world.git(&source, &["push", "tsuru", "main"]));
        let deadline = Instant::now() + Duration::from_secs(60);
        while world.containers().len() < 2 {
            assert!(Instant::now() < deadline, "the push starts no unit");
            std::thread::sleep(Duration::from_millis(20));
        }
        end_to_end::run(std::path::Path::new("/"), "kill", &["-9", &world.tsurud.id().to_string()]).ok();
        push.join().unwrap()
    });
    assert!(!pushing.succeeded(), "{}", pushing.stderr());
    world.tsurud.kill_9();
    world.tsurud.start_again();

    assert_eq!(world.eventually("blog", "/", |page| page.status == 200).await.body, "version 1");
    world.eventually("blog", "/", |_| world.containers().len() == 1).await;
    world.commit(&source, &teacup("version 3"));
    world.git(&source, &["push", "tsuru", "main"]).ok();
    world.eventually("blog", "/", |page| page.body == "version 3").await;
}

#[tokio::test] // SPEC P-9
async fn a_broker_that_is_down_stops_nobody_but_those_who_ask_it() {
    let mut world = World::start();
    let _source = world.pushed_teacup("blog");
    world.tsuru(&["service-bind", "blog", "redis"]).ok();
    world.tsuru(&["app", "create", "shop", "python"]).ok();
    let env = world.get("blog", "/env").await.body;

    world.redis.kill_9();
    assert_eq!(world.get("blog", "/incr").await.body, ":1");
    world.tsuru(&["service-bind", "shop", "redis"]).fails_with("redis");
    world.tsuru(&["service", "instance", "unbind", "redis", "blog", "-a", "blog"]).fails_with("");
    let listed = world.tsuru(&["service", "list"]).ok();
    assert!(listed.contains("blog"), "{listed}");

    world.redis.start_again();
    assert_eq!(world.get("blog", "/incr").await.body, ":2");
    assert_eq!(world.get("blog", "/env").await.body, env);
    world.tsuru(&["service", "instance", "unbind", "redis", "blog", "-a", "blog"]).ok();
    world.tsuru(&["service", "instance", "bind", "redis", "blog", "-a", "blog"]).ok();
    world.eventually("blog", "/incr", |page| page.body == ":3").await;

    world.mysql.kill_9();
    world.mysql.start_again();
    world.tsuru(&["service-bind", "shop", "mysql"]).ok();
    assert!(world.tsuru(&["env", "get", "-a", "shop"]).ok().contains("DATABASE_URL"));
}

#[tokio::test] // SPEC P-9
async fn a_broker_that_answers_rubbish_leaves_nothing_half_made() {
    let world = World::start();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            use std::io::{Read as _, Write as _};
            let mut stream = stream;
            // What is asked does not matter, and whoever hangs up does not matter either.
            let _asked = stream.read(&mut [0; 4096]);
            let _told = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\nConnection: close\r\n\r\n{\"A\":1}");
        }
    });
    let manifest = format!("id: rubbish\npassword: secret\nteam: admin\nendpoint:\n  production: {endpoint}\n");
    let file = world.source("manifest", &[("rubbish.yaml", manifest)]).join("rubbish.yaml");
    world.tsuru(&["service", "create", file.to_str().unwrap()]).ok();
    world.tsuru(&["app", "create", "blog", "python"]).ok();
    world.tsuru(&["service", "instance", "add", "rubbish", "heap"]).ok();

    world.tsuru(&["service", "instance", "bind", "rubbish", "heap", "-a", "blog"]).fails_with("heap");

    let env = world.tsuru(&["env", "get", "-a", "blog"]).ok();
    assert!(env.contains("TSURU_SERVICES") && !env.contains("rubbish"), "{env}");
    world.tsuru(&["service", "instance", "remove", "rubbish", "heap", "-y"]).ok();
}

#[tokio::test] // SPEC P-8, R-12
async fn a_router_of_its_own_serves_without_the_api_and_after_its_own_death() {
    let (mut world, mut router) = World::start_with_router();
    let source = world.pushed_teacup("blog");
    assert_eq!(world.get("blog", "/").await.body, "version 1");

    world.tsurud.kill_9();
    assert_eq!(world.get("blog", "/").await.body, "version 1");
    router.kill_9();
    assert_eq!(world.get("blog", "/").await.status, 0);
    router.start_again();
    assert_eq!(world.get("blog", "/").await.body, "version 1");

    world.tsurud.start_again();
    world.commit(&source, &teacup("version 2"));
    world.git(&source, &["push", "tsuru", "main"]).ok();
    assert_eq!(world.get("blog", "/").await.body, "version 2");
}

#[tokio::test] // SPEC A-6
async fn units_come_and_go_without_a_failed_request() {
    let world = Arc::new(World::start());
    let source = world.pushed_teacup("blog");
    let stop = Arc::new(AtomicBool::new(false));
    let (asked, failed) = (Arc::new(AtomicU32::new(0)), Arc::new(std::sync::Mutex::new(Vec::new())));
    let load: Vec<_> = (0..4)
        .map(|_| {
            let (world, stop, asked, failed) = (world.clone(), stop.clone(), asked.clone(), failed.clone());
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let begun = Utc::now();
                    let page = world.get("blog", "/").await;
                    asked.fetch_add(1, Ordering::Relaxed);
                    if page.status != 200 {
                        failed.lock().unwrap().push((begun, page));
                    }
                }
            })
        })
        .collect();

    let changing = world.clone();
    tokio::task::spawn_blocking(move || {
        for units in ["3", "1", "2"] {
            changing.tsuru(&["unit", "set", units, "-a", "blog"]).ok();
        }
        changing.tsuru(&["app", "restart", "-a", "blog"]).ok();
        changing.commit(&source, &teacup("version 2"));
        changing.git(&source, &["push", "tsuru", "main"]).ok();
        changing.tsuru(&["env", "set", "-a", "blog", "A=1"]).ok();
    })
    .await
    .unwrap();
    stop.store(true, Ordering::Relaxed);
    for task in load {
        task.await.unwrap();
    }

    let failed = failed.lock().unwrap();
    if let Some((begun, page)) = failed.first() {
        let (failed, asked) = (failed.len(), asked.load(Ordering::Relaxed));
        // What the platform and its router did meanwhile: a failure under load is not easily had again.
        let log = world.tsurud.log_since(*begun - Duration::from_secs(1));
        panic!("{failed} of {asked} requests failed, the first one of {begun:?} with {page:?}; from then on:\n{log}");
    }
}
