//! Wrong input and failing deploys: each says what is wrong, and nothing is left half-made.

use end_to_end::{World, teacup};

#[tokio::test] // SPEC A-3, G-1
async fn a_failed_deploy_rejects_the_push_and_the_old_version_serves_on() {
    let world = World::start();
    let source = world.pushed_teacup("blog");
    let head = |world: &World| world.git(&source, &["ls-remote", "tsuru", "main"]).ok();
    let before = head(&world);

    world.commit(&source, &[("requirements.txt", "no-such-package-of-anyone==9.9.9\n".to_owned())]);
    let push = world.git(&source, &["push", "tsuru", "main"]);
    push.fails_with("pre-receive hook declined");
    assert!(push.stderr().contains("no-such-package-of-anyone"), "{}", push.stderr());
    assert_eq!(world.get("blog", "/").await.body, "version 1");
    assert_eq!(head(&world), before);

    // It builds, and ends at once.
    world.commit(
        &source,
        &[
            ("requirements.txt", String::new()),
            ("Procfile", "web: python3 -c 'print(\"out of tea\"); exit(3)'\n".to_owned()),
        ],
    );
    let push = world.git(&source, &["push", "tsuru", "main"]);
    push.fails_with("pre-receive hook declined");
    assert!(push.stderr().contains("out of tea"), "{}", push.stderr());
    assert_eq!(world.get("blog", "/").await.body, "version 1");

    // It runs, and never listens.
    world.commit(&source, &[("Procfile", "web: sleep 600\n".to_owned())]);
    world.git(&source, &["push", "tsuru", "main"]).fails_with("pre-receive hook declined");
    assert_eq!(world.get("blog", "/").await.body, "version 1");
    assert_eq!(world.containers().len(), 1);

    // No Procfile where one is needed.
    world.git(&source, &["rm", "-q", "Procfile"]).ok();
    world.commit(&source, &[("note", "without".to_owned())]);
    let push = world.git(&source, &["push", "tsuru", "main"]);
    push.fails_with("pre-receive hook declined");
    assert!(push.stderr().contains("neither Procfile nor entrypoint and cmd set"), "{}", push.stderr());

    world.commit(&source, &teacup("version 2"));
    world.git(&source, &["push", "tsuru", "main"]).ok();
    world.eventually("blog", "/", |page| page.body == "version 2").await;
}

#[tokio::test] // SPEC E-3, N-2, N-4
async fn wrong_input_of_each_kind_is_answered_by_a_sentence() {
    let world = World::start();
    world.tsuru(&["app", "create", "blog", "python"]).ok();
    let refused = |arguments: &[&str], sentence: &str| world.tsuru(arguments).fails_with(sentence);

    refused(&["app", "info", "missing"], "App missing not found.");
    refused(&["app", "create", "Blog", "python"], "Invalid app name, your app should have at most 40 characters");
    refused(&["app", "create", "shop", "cobol"], "Invalid platform");
    refused(&["app", "create", "shop", "python", "-p", "huge"], "plan \"huge\" does not exist");
    refused(&["app", "create", "blog", "python"], "there is already an app with this name");
    refused(&["unit", "add", "1", "-a", "blog"], "units can only be modified after the first deploy");
    refused(&["unit", "add", "none", "-a", "blog"], "");
    refused(&["env", "set", "-a", "blog", "1A=x"], "");
    refused(&["env", "set", "-a", "blog", "TSURU_APPNAME=x"], "TSURU_APPNAME");
    refused(&["cname", "add", "not a name", "-a", "blog"], "Invalid cname");
    refused(&["service", "instance", "add", "redis", "1cache"], "invalid service instance name");
    refused(&["service", "instance", "add", "redis", "cache", "no-such-plan"], "no-such-plan");
    refused(&["service", "instance", "add", "oracle", "cache"], "Service not found.");
    refused(&["service", "instance", "info", "redis", "cache"], "service instance not found");
    refused(&["service", "instance", "bind", "redis", "cache", "-a", "blog"], "service instance not found");
    refused(&["service", "instance", "unbind", "redis", "cache", "-a", "blog"], "service instance not found");
    refused(&["service-bind", "blog", "nothing-like-it"], "nothing-like-it");
    refused(&["service", "destroy", "nothing", "-y"], "Service not found.");
    refused(&["app", "deploy", "rollback", "v99", "-a", "blog", "-y"], "v99");
    refused(&["login", "nobody@example.com"], "");

    let listed = world.tsuru(&["service", "list"]).ok();
    assert!(!listed.contains("cache"), "{listed}");
    assert!(world.containers().is_empty());
}

#[tokio::test] // SPEC J-5, J-3
async fn binding_twice_or_removing_what_is_bound_is_refused() {
    let world = World::start();
    world.tsuru(&["app", "create", "blog", "python"]).ok();
    world.tsuru(&["service", "instance", "add", "redis", "cache", "shared"]).ok();
    world.tsuru(&["service-bind", "blog", "cache"]).ok();

    world
        .tsuru(&["service", "instance", "bind", "redis", "cache", "-a", "blog"])
        .fails_with("app is already bound to this service instance");
    world
        .tsuru(&["service", "instance", "remove", "redis", "cache", "-y"])
        .fails_with("This service instance is bound to at least one app");
    world
        .tsuru(&["service", "destroy", "redis", "-y"])
        .fails_with("This service cannot be removed because it has instances.");

    world.tsuru(&["service", "instance", "remove", "redis", "cache", "-y", "-f"]).ok();
    assert!(!world.tsuru(&["env", "get", "-a", "blog"]).ok().contains("REDIS_HOST"));
}
