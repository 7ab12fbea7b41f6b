//! Service instances, and binding them (contract sections 12.3 and 12.4; the short form is our own).

use serde_json::json;

use crate::{
    harness::{Platform, fields},
    services::LISTING,
};

const BOUND: &str = "{\"Message\":\"\\nInstance \\\"blogdb\\\" is now bound to the app \\\"blog\\\".\\n\"}\n";

#[test]
fn an_instance_is_added() {
    let platform = Platform::start().on("POST /1.0/services/mysql/instances", 201, "");
    let added = "Service instance successfully added.\n\
                 For additional information use: tsuru service instance info mysql blogdb\n";

    platform
        .tsuru("service instance add mysql blogdb small -t core -d db -g a --plan-param size=10 --pool p")
        .says(added);
    let expected = [
        ("name", "blogdb"),
        ("plan", "small"),
        ("owner", "core"),
        ("description", "db"),
        ("pool", "p"),
        ("tag", "a"),
        ("parameters.size", "10"),
    ];
    assert_eq!(platform.last().form(), fields(&expected));

    for spelling in ["service-instance-add", "service instance create", "service-add"] {
        platform.tsuru(&format!("{spelling} mysql blogdb")).says(added);
        let empty = ["plan", "owner", "description", "pool", "parameters"].map(|name| (name, ""));
        assert_eq!(platform.last().form(), fields(&[&[("name", "blogdb")], &empty[..]].concat()));
    }
}

const INFO: &str = r#"{"Apps":["blog"],"Jobs":[],"Teams":["core"],"TeamOwner":"core","Description":"main db","PlanName":"small",
 "PlanDescription":"up to 1 GB","Pool":"","Cluster":"","CustomInfo":{"Address":"10.0.0.9:3306"},"Tags":[],"Parameters":{}}"#;

#[test]
fn an_instance_is_shown_with_its_status() {
    let platform = Platform::start().on("GET /1.0/services/mysql/instances/blogdb", 200, INFO).on(
        "GET /1.0/services/mysql/instances/blogdb/status",
        200,
        "Service instance \"blogdb\" is up",
    );

    platform.tsuru("service instance info mysql blogdb").says(
        "\
Service:      mysql
Instance:     blogdb
Apps:         blog
Teams:        core (owner)
Description:  main db
Plan:         small
Address:      10.0.0.9:3306
Status:       Service instance \"blogdb\" is up

Plan description:
  up to 1 GB

",
    );
    for spelling in ["service-status", "service-instance-status", "service instance status"] {
        platform.tsuru(&format!("{spelling} mysql blogdb")).says("Service instance \"blogdb\" is up\n");
    }
}

#[test]
fn an_update_sends_the_whole_instance() {
    let info = INFO.replace("\"Tags\":[],\"Parameters\":{}", r#""Tags":["a","b"],"Parameters":{"x":"1","y":"2"}"#);
    let platform = Platform::start().on("GET /1.0/services/mysql/instances/blogdb", 200, &info).on(
        "PUT /1.0/services/mysql/instances/blogdb",
        200,
        "",
    );

    platform
        .tsuru("service instance update mysql blogdb -p large -g c --remove-tag a --add-param z=3 --remove-param x")
        .says("Service successfully updated.\n");

    let expected = json!({"description":"main db","teamowner":"core","plan":"large","tags":["b","c"],"parameters":{"y":"2","z":"3"}});
    assert_eq!(platform.last().json(), expected);
}

#[test]
fn an_instance_is_removed_after_a_question() {
    let stream = "{\"Message\":\"service instance successfully removed\\n\"}\n";
    let platform = Platform::start().on("DELETE /1.0/services/mysql/instances/blogdb", 200, stream);
    let removed = "service instance successfully removed\n";

    platform
        .tsuru_reading("service instance remove mysql blogdb", "n\n")
        .says("Are you sure you want to remove the instance \"blogdb\"? (y/n) Abort.\n");
    platform.tsuru("service-remove mysql blogdb -y").says(removed);
    platform.tsuru("service-instance-delete mysql blogdb -f --ignore-errors -y").says(removed);
    assert_eq!(
        platform.asked(),
        [
            "DELETE /1.0/services/mysql/instances/blogdb?unbindall=false&ignoreerrors=false",
            "DELETE /1.0/services/mysql/instances/blogdb?unbindall=true&ignoreerrors=true",
        ]
    );
}

#[test]
fn teams_are_let_in_and_out() {
    let path = "/1.0/services/instances/permission/blogdb/ops";
    let path = path.replace("services/", "services/mysql/");
    let platform = Platform::start().on(&format!("PUT {path}"), 200, "").on(&format!("DELETE {path}"), 200, "");

    platform
        .tsuru("service instance grant mysql blogdb ops")
        .says("Granted access to team ops in blogdb service instance.\n");
    platform
        .tsuru("service-instance-revoke mysql blogdb ops")
        .says("Revoked access to team ops in blogdb service instance.\n");
}

#[test]
fn the_long_form_binds_and_unbinds() {
    let path = "/1.13/services/mysql/instances/blogdb/apps/blog";
    let platform = Platform::start().on(&format!("PUT {path}"), 200, BOUND).on(&format!("DELETE {path}"), 200, "");

    for spelling in ["service instance bind", "service-instance-bind", "service-bind", "service bind"] {
        platform
            .tsuru(&format!("{spelling} mysql blogdb -a blog"))
            .says("\nInstance \"blogdb\" is now bound to the app \"blog\".\n");
        assert_eq!(platform.last().form(), fields(&[("noRestart", "false")]));
    }
    platform.tsuru("service-bind mysql blogdb -a blog --no-restart");
    assert_eq!(platform.last().form(), fields(&[("noRestart", "true")]));
    platform.tsuru("service instance unbind mysql blogdb -a blog").says("");
    platform.tsuru("service-unbind mysql blogdb -a blog --force --no-restart").says("");
    let asked = platform.asked();
    assert_eq!(asked[asked.len() - 2], format!("DELETE {path}?noRestart=false&force=false"));
    assert_eq!(asked[asked.len() - 1], format!("DELETE {path}?noRestart=true&force=true"));
}

#[test]
fn a_failed_bind_says_why() {
    let error = "{\"Message\":\"\",\"Error\":\"instance is not ready yet (\\\"blogdb\\\" is pending)\"}\n";
    let platform = Platform::start().on("PUT /1.13/services/mysql/instances/blogdb/apps/blog", 200, error);

    platform
        .tsuru("service-bind mysql blogdb -a blog")
        .complains("Error: instance is not ready yet (\"blogdb\" is pending)\n");
}

#[test] // SPEC C-6
fn the_short_form_finds_the_instance_of_that_name() {
    let platform = Platform::start().on("GET /1.0/services/instances", 200, LISTING).on(
        "PUT /1.13/services/mysql/instances/blogdb/apps/blog",
        200,
        BOUND,
    );

    for spelling in ["service-bind blog blogdb", "service bind blog blogdb", "service bind blogdb -a blog"] {
        platform.tsuru(spelling).says("\nInstance \"blogdb\" is now bound to the app \"blog\".\n");
    }
}

#[test] // SPEC C-6
fn the_short_form_takes_the_only_instance_of_a_service() {
    let listing = r#"[{"service":"mysql","service_instances":[{"name":"blogdb"}]}]"#;
    let platform = Platform::start().on("GET /1.0/services/instances", 200, listing).on(
        "PUT /1.13/services/mysql/instances/blogdb/apps/blog",
        200,
        BOUND,
    );

    platform.tsuru("service-bind blog mysql").says(
        "Using your only instance of mysql, \"blogdb\".\n\nInstance \"blogdb\" is now bound to the app \"blog\".\n",
    );
}

#[test] // SPEC C-6
fn the_short_form_creates_the_first_instance_of_a_service() {
    let platform = Platform::start()
        .on("GET /1.0/services/instances", 200, LISTING)
        .on("GET /1.0/apps/blog", 200, r#"{"name":"blog","teamowner":"core"}"#)
        .on("POST /1.0/services/redis/instances", 201, "")
        .on("PUT /1.13/services/redis/instances/blog/apps/blog", 200, "{\"Message\":\"bound\\n\"}\n");

    platform
        .tsuru("service-bind blog redis")
        .says("You have no instance of redis yet: creating \"blog\" on its default plan.\nbound\n");

    assert_eq!(
        platform.asked(),
        [
            "GET /1.0/services/instances",
            "GET /1.0/apps/blog",
            "POST /1.0/services/redis/instances",
            "PUT /1.13/services/redis/instances/blog/apps/blog",
        ]
    );
}

#[test] // SPEC C-6
fn nothing_is_created_for_an_app_that_is_not_there() {
    let platform = Platform::start().on("GET /1.0/services/instances", 200, LISTING).on(
        "GET /1.0/apps/blog",
        404,
        "App blog not found.\n",
    );

    platform.tsuru("service-bind blog redis").complains("Error: App blog not found.\n");

    assert_eq!(platform.asked().len(), 2);
}

#[test] // SPEC C-6
fn the_short_form_refuses_what_could_be_two_things() {
    let platform = Platform::start().on("GET /1.0/services/instances", 200, LISTING);

    platform.tsuru("service-bind blog mysql").complains(
        "Error: there are several instances of \"mysql\". Type one of:\n\n  \
         tsuru service-bind mysql shopdb -a blog\n  tsuru service-bind mysql blogdb -a blog\n",
    );
    platform.tsuru("service-bind blog mongo").complains(
        "Error: there is no service instance and no service named \"mongo\". \
         Services: mysql, redis. Your instances: tsuru service list\n",
    );
    platform
        .tsuru("service-bind blog")
        .complains("Error: name the app and the instance: tsuru service bind APP INSTANCE\n");
}

#[test] // SPEC C-7
fn the_short_form_unbinds_only_what_is_bound() {
    let platform = Platform::start().on("GET /1.0/services/instances", 200, LISTING).on(
        "DELETE /1.13/services/mysql/instances/blogdb/apps/blog",
        200,
        "{\"Message\":\"unbound\\n\"}\n",
    );

    platform.tsuru("service-unbind blog blogdb").says("unbound\n");
    platform.tsuru("service unbind blog mysql").says("unbound\n");
    platform
        .tsuru("service-unbind blog shopdb")
        .complains("Error: \"shopdb\" is not bound to the app \"blog\". Bound instances: blogdb\n");
    platform
        .tsuru("service-unbind other redis")
        .complains("Error: \"redis\" is not bound to the app \"other\". Bound instances: none\n");
}
