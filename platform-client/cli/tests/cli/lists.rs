//! Platforms, plans, pools, routers, teams, users, events (contract sections 4 to 6, 14 and 17).

use crate::harness::{Platform, fields};

#[test]
fn platforms_are_listed() {
    let platform = Platform::start().on("GET /1.0/platforms", 200, r#"[{"Name":"python","Disabled":false}]"#);

    platform.tsuru("platform list").says(
        "\
+--------+---------+
| Name   | Status  |
+--------+---------+
| python | enabled |
+--------+---------+
",
    );
    platform.tsuru("platform-list -q").says("python\n");
    Platform::start().on("GET /1.0/platforms", 204, "").tsuru("platform list").says("No platforms available.\n");
}

#[test]
fn a_platform_is_a_dockerfile() {
    let stream = "{\"Message\":\"Platform successfully added!\\n\"}\n";
    let platform = Platform::start().on("POST /1.0/platforms", 200, stream).on("PUT /1.0/platforms/py", 200, stream);
    std::fs::write(platform.home.path().join("Dockerfile"), "FROM debian").unwrap();
    let body = || String::from_utf8(platform.last().body.to_vec()).unwrap();

    platform.tsuru("platform add py -d .").says("Platform successfully added!\n");
    assert!(body().contains("name=\"name\"\r\n\r\npy\r\n"), "{}", body());
    assert!(
        body().contains("name=\"dockerfile_content\"; filename=\"Dockerfile\"\r\n") && body().contains("FROM debian"),
        "{}",
        body()
    );
    platform.tsuru("platform-add py -i image:1");
    assert!(body().contains("\r\nFROM image:1\r\n"), "{}", body());
    platform.tsuru("platform add py");
    assert!(body().contains("\r\nFROM tsuru/py\r\n"), "{}", body());
    platform.tsuru("platform update py --disable");
    assert!(body().contains("name=\"disabled\"\r\n\r\ntrue\r\n") && !body().contains("dockerfile"), "{}", body());
}

#[test]
fn a_platform_is_shown_and_removed() {
    let platform = Platform::start()
        .on("GET /1.6/platforms/py", 200, r#"{"platform":{"Name":"py","Disabled":true},"images":["py:v1","py:v2"]}"#)
        .on("DELETE /1.0/platforms/py", 200, "")
        .on("DELETE /1.0/platforms/no", 404, "Platform not found.\n");

    platform.tsuru("platform info py").says("Name:    py\nStatus:  disabled\nImages:  py:v1\n         py:v2\n");
    platform.tsuru("platform remove py -y").says("Platform successfully removed!\n");
    let ran = platform.tsuru("platform delete no -y");
    ran.complains("Error: Platform not found.\n");
    assert_eq!(ran.out, "Failed to remove platform!\n");
}

#[test]
fn plans_are_listed_and_created() {
    let plans = r#"[{"name":"c0.1m0.2","memory":268435456,"cpumilli":100,"default":true,"override":{}}]"#;
    let platform = Platform::start().on("GET /1.0/plans", 200, plans).on("POST /1.0/plans", 201, "");

    platform.tsuru("plan list").says(
        "\
+----------+-----+--------+---------+
| Name     | CPU | Memory | Default |
+----------+-----+--------+---------+
| c0.1m0.2 | 10% | 256Mi  | true    |
+----------+-----+--------+---------+
",
    );
    Platform::start().on("GET /1.0/plans", 204, "").tsuru("plan-list").says("No plans available.\n");
    platform.tsuru("plan create small -c 10% -m 256Mi").says("Plan successfully created!\n");
    let expected = [("name", "small"), ("cpumilli", "100"), ("memory", "268435456"), ("default", "false")];
    assert_eq!(platform.last().form(), fields(&expected));
}

#[test]
fn pools_are_listed_and_shown() {
    let pool = r#"{"name":"main","default":true,"provisioner":"","labels":{},"public":false,"teams":[],"allowed":{"router":["main"]}}"#;
    let platform = Platform::start().on("GET /1.0/pools", 200, &format!("[{pool}]")).on("GET /pools/main", 200, pool);

    platform.tsuru("pool list").says(
        "\
+------+---------+-------------+-------+---------+
| Pool | Kind    | Provisioner | Teams | Routers |
+------+---------+-------------+-------+---------+
| main | default | default     |       | main    |
+------+---------+-------------+-------+---------+
",
    );
    let ran = platform.tsuru("pool info main");
    assert!(ran.out.starts_with("Name:         main\nProvisioner:  default\n"), "{}", ran.out);
    assert_eq!(platform.asked()[1], "GET /pools/main");
}

#[test]
fn a_pool_is_added() {
    let platform = Platform::start().on("POST /1.0/pools", 201, "");

    platform.tsuru("pool add main -p -d").says("Pool successfully registered.\n");

    let expected =
        serde_json::json!({"name":"main","public":true,"default":true,"force":false,"provisioner":"","labels":{}});
    assert_eq!(platform.last().json(), expected);
}

#[test]
fn routers_are_listed() {
    let platform = Platform::start().on(
        "GET /1.3/routers",
        200,
        r#"[{"name":"main","type":"api","info":{"a":"1","b":"2"},"config":{},"dynamic":true,"default":true}]"#,
    );

    platform.tsuru("router list").says(
        "\
+------+---------------+------+
| Name | Type          | Info |
+------+---------------+------+
| main | api (dynamic) | a: 1 |
|      |               | b: 2 |
+------+---------------+------+
",
    );
    Platform::start()
        .on("GET /1.3/routers", 200, "[]")
        .tsuru("router-list")
        .says("+------+------+------+\n| Name | Type | Info |\n+------+------+------+\n+------+------+------+\n");
}

#[test]
fn teams_are_created_and_listed() {
    let platform = Platform::start()
        .on("POST /1.0/teams", 201, "")
        .on("POST /1.0/teams", 409, "team already exists\n")
        .on("GET /1.0/teams", 200, r#"[{"name":"core","tags":[],"permissions":["app","team"]}]"#);

    platform.tsuru("team create core -t a").says("Team \"core\" successfully created!\n");
    assert_eq!(platform.last().json(), serde_json::json!({"name":"core","tags":["a"]}));
    platform.tsuru("team-create core").complains("Error: team already exists\n");
    platform.tsuru("team list").says(
        "\
+------+-------------+------+
| Team | Permissions | Tags |
+------+-------------+------+
| core | app         |      |
|      | team        |      |
+------+-------------+------+
",
    );
}

#[test]
fn a_user_sees_roles_and_permissions() {
    let platform = Platform::start().on(
        "GET /1.0/users/info",
        200,
        r#"{"Email":"alice@example.com",
            "Roles":[{"Name":"dev","ContextType":"team","ContextValue":"core","Group":"g"},
                     {"Name":"admin","ContextType":"global","ContextValue":"","Group":""}],
            "Permissions":[{"Name":"","ContextType":"global","ContextValue":"","Group":""}],"Groups":[]}"#,
    );

    platform.tsuru("user info").says(
        "Email: alice@example.com\nRoles:\n\tadmin(global)\n\tdev(team core) (group g)\nPermissions:\n\t*(global)\n",
    );
}

const EVENT: &str = r#"{"UniqueID":"6650f1a2b3c4d5e6f7a8b9c0",
  "StartTime":"2026-01-02T03:04:05Z","EndTime":"2026-01-02T03:04:25Z","ExpireAt":"0001-01-01T00:00:00Z",
  "Target":{"Type":"app","Value":"blog"},
  "ExtraTargets":[{"Target":{"Type":"service-instance","Value":"mysql/blogdb"},"Lock":true}],
  "Kind":{"Type":"permission","Name":"app.deploy"},
  "Owner":{"Type":"user","Name":"alice@example.com"},"SourceIP":"10.1.2.3",
  "Error":"","Log":"line 1\nline 2\n","CancelInfo":{},"Cancelable":true,"Running":false,
  "CustomData":{"Start":{"image":"v1"},"End":null,"Other":null}}"#;

#[test]
fn events_are_listed_with_every_filter_on_the_wire() {
    let running = EVENT.replace("\"Running\":false", "\"Running\":true");
    let platform = Platform::start().on("GET /1.1/events", 200, &format!("[{EVENT},{running}]"));

    platform.tsuru("event list").says(
        "\
+--------------------------+-----------------------------+---------+---------+------------+--------------------------------+
| ID                       | Start (duration)            | Success | Owner   | Kind       | Target                         |
+--------------------------+-----------------------------+---------+---------+------------+--------------------------------+
| 6650f1a2b3c4d5e6f7a8b9c0 | 02 Jan 26 03:04 UTC (00:20) | true    | alice@… | app.deploy | app: blog                      |
|                          |                             |         |         |            | service-instance: mysql/blogdb |
+--------------------------+-----------------------------+---------+---------+------------+--------------------------------+
| 6650f1a2b3c4d5e6f7a8b9c0 | 02 Jan 26 03:04 UTC (…)     | …       | alice@… | app.deploy | app: blog                      |
|                          |                             |         |         |            | service-instance: mysql/blogdb |
+--------------------------+-----------------------------+---------+---------+------------+--------------------------------+
",
    );
    platform.tsuru("event-list -k app.deploy -t app -v blog -o a@b.cd -r");
    assert_eq!(
        platform.asked(),
        [
            "GET /1.1/events?allowedtargets=&erroronly=&kindtype=&limit=&ownername=&ownertype=&permissions=&raw=&since=&skip=&sort=&target.type=&target.value=&until=",
            "GET /1.1/events?allowedtargets=&erroronly=&kindname=app.deploy&kindtype=&limit=&ownername=a%40b.cd&ownertype=&permissions=&raw=&running=true&since=&skip=&sort=&target.type=app&target.value=blog&until=",
        ]
    );
}

#[test]
fn an_event_is_shown_with_its_log() {
    let platform = Platform::start().on("GET /1.1/events/6650f1a2b3c4d5e6f7a8b9c0", 200, EVENT);

    platform.tsuru("event info 6650f1a2b3c4d5e6f7a8b9c0").says(
        "\
ID:          6650f1a2b3c4d5e6f7a8b9c0
Start:       2026-01-02 03:04:05 +0000
End:         2026-01-02 03:04:25 +0000 (00:20)
Targets:     app(blog), service-instance(mysql/blogdb)
Kind:        permission(app.deploy)
Owner:       user(alice@example.com)
Source IP:   10.1.2.3
Success:     true
Cancelable:  true
Canceled:    false
Start Custom Data:
    image: v1
Log:
    line 1
    line 2
",
    );
}

#[test]
fn an_event_is_asked_to_stop() {
    let platform = Platform::start().on("POST /1.1/events/6650f1a2b3c4d5e6f7a8b9c0/cancel", 204, "");

    platform
        .tsuru("event cancel 6650f1a2b3c4d5e6f7a8b9c0 takes too long -y")
        .says("Cancellation successfully requested.\n");

    assert_eq!(platform.last().form(), fields(&[("reason", "takes too long")]));
}
