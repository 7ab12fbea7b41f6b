//! Apps (contract sections 7, 10, 11 and 17).

use serde_json::json;

use crate::harness::{Platform, fields};

/// The app of the contract's section 16.1, as the layout of section 17.2 has it.
pub(crate) fn blog() -> serde_json::Value {
    let created = chrono::Utc::now() - chrono::Duration::seconds(5 * 60 + 20);
    json!({"name":"blog","description":"my blog","platform":"python","provisioner":"kubernetes","teams":["core","extra"],
      "plan":{"name":"c0.1m0.2","memory":268435456,"cpumilli":100,"default":true},
      "cname":["blog.example.com"],"owner":"alice@example.com","pool":"main","deploys":1,"teamowner":"core","tags":["a","b"],
      "units":[{"ID":"blog-web-1","Name":"blog-web-1","AppName":"blog","ProcessName":"web","Type":"python","Status":"started",
        "Address":{"Scheme":"http","Host":"10.0.0.7:8888"},"Version":1,"Routable":true,"Restarts":0,"CreatedAt":created,"Ready":true}],
      "routers":[{"name":"main","type":"api","opts":{},"address":"blog.apps.example.com","addresses":["blog.apps.example.com"],"status":"ready"}],
      "serviceInstanceBinds":[{"service":"mysql","instance":"blogdb","plan":"small"}],
      "quota":{"limit":-1,"inuse":1},"processes":[{"name":"web"}]})
}

#[test]
fn an_app_is_created_with_every_field() {
    let platform = Platform::start().on("POST /1.0/apps", 201, r#"{"status":"success","ip":"blog.apps.example.com"}"#);
    let created = "App \"blog\" has been created!\nUse app info to check the status of the app and its units.\n";

    platform.tsuru("app create blog python").says(created);
    let empty = ["plan", "teamOwner", "pool", "description", "router"].map(|name| (name, ""));
    let expected = [&[("name", "blog"), ("platform", "python")], &empty[..], &[("routeropts", "")]].concat();
    assert_eq!(platform.last().form(), fields(&expected));

    platform
        .tsuru("app-create blog python:v3 -p small -r main -t core -o prod -d words -g a -g b --router-opts ttl=30")
        .says(created);
    let expected = [
        ("name", "blog"),
        ("platform", "python:v3"),
        ("plan", "small"),
        ("teamOwner", "core"),
        ("pool", "prod"),
        ("description", "words"),
        ("router", "main"),
        ("tag", "a"),
        ("tag", "b"),
        ("routeropts.ttl", "30"),
    ];
    assert_eq!(platform.last().form(), fields(&expected));
}

#[test]
fn apps_are_listed_in_a_ruled_table() {
    let unit = |id: &str, ready: bool| json!({"ID": id, "Status": "started", "Ready": ready});
    let apps = json!([
        {"name":"shop","units":[unit("s1", false), unit("", true)],"routers":[{"name":"main","address":"shop.apps.example.com"}]},
        {"name":"blog","units":[unit("b1", true), unit("b2", true)],"cname":["blog.example.com"],
         "routers":[{"name":"main","address":"blog.apps.example.com","addresses":["blog.apps.example.com"]}]},
    ]);
    let platform = Platform::start().on("GET /1.0/apps", 200, &apps.to_string());

    platform.tsuru("app list").says(
        "\
+-------------+-----------+---------------------------------+
| Application | Units     | Address                         |
+-------------+-----------+---------------------------------+
| blog        | 2 ready   | http://blog.example.com (cname) |
|             |           | http://blog.apps.example.com    |
+-------------+-----------+---------------------------------+
| shop        | 1 started | http://shop.apps.example.com    |
+-------------+-----------+---------------------------------+
",
    );
    platform.tsuru("app list -n ^b -o main -s ready,error -p python -t core -u a@b.cd -g x -q").says("blog\nshop\n");
    assert_eq!(
        platform.asked()[1],
        "GET /1.0/apps?name=%5Eb&platform=python&teamOwner=core&owner=a%40b.cd&pool=main&status=ready%2Cerror&tag=x&simplified=true"
    );
}

#[test]
fn units_that_cannot_be_fetched_are_an_error_in_their_cell() {
    let platform =
        Platform::start().on("GET /1.0/apps", 200, r#"[{"name":"blog","units":null,"error":"engine down"}]"#);

    let ran = platform.tsuru("list");

    assert!(ran.out.contains("| blog        | error fetching units: engine down |"), "{}", ran.out);
}

#[test]
fn no_apps_print_nothing() {
    Platform::start().on("GET /1.0/apps", 204, "").tsuru("app list").says("");
    Platform::start().on("GET /1.0/apps", 200, "[]").tsuru("app-list").says("");
    Platform::start().on("GET /1.0/apps", 200, "null").tsuru("list").says("");
}

#[test]
fn an_app_is_shown_in_the_contracts_layout() {
    let platform = Platform::start().on("GET /1.0/apps/blog", 200, &blog().to_string());
    let expected = "\
Application:  blog
Description:  my blog
Tags:         a, b
Platform:     python
Provisioner:  kubernetes
Teams:        core (owner), extra
Created by:   alice@example.com
Deploys:      1
Pool:         main
Quota:        1/unlimited
Addresses:    http://blog.example.com (cname)
              http://blog.apps.example.com

Units [process web] [version 1] [routable]: 1
+------------+----------+--------+----------+-----+
| Name       | Host     | Status | Restarts | Age |
+------------+----------+--------+----------+-----+
| blog-web-1 | 10.0.0.7 | ready  | 0        | 5m  |
+------------+----------+--------+----------+-----+

Service instances: 1
+---------+-----------------+
| Service | Instance (Plan) |
+---------+-----------------+
| mysql   | blogdb (small)  |
+---------+-----------------+

Plan:
+----------+-----+--------+
| Name     | CPU | Memory |
+----------+-----+--------+
| c0.1m0.2 | 10% | 256Mi  |
+----------+-----+--------+

Cluster external addresses:
+--------+-----------------------+--------+
| Router | Addresses             | Status |
+--------+-----------------------+--------+
| main   | blog.apps.example.com | ready  |
+--------+-----------------------+--------+

";

    for spelling in ["app info blog", "app-info -a blog", "app describe blog", "info -a blog"] {
        platform.tsuru(spelling).says(expected);
    }
}

#[test]
fn an_app_is_shown_in_short() {
    let mut app = blog();
    let mut second = app["units"][0].clone();
    second["ID"] = "blog-web-2".into();
    app["units"].as_array_mut().unwrap().push(second);
    app["teams"] = json!(["core"]);
    app["cname"] = json!([]);
    let platform = Platform::start().on("GET /1.0/apps/blog", 200, &app.to_string());

    platform.tsuru("app info -s blog").says(
        "\
Application:  blog
Created by:   alice@example.com
Platform:     python
Plan:         c0.1m0.2
Pool:         main (kubernetes)
Teams:        core (owner)

Cluster External Addresses:  http://blog.apps.example.com
Bound Services:              mysql/blogdb

Units: 2
+----------+-------+----------+---------------+------------+
| Process  | Ready | Restarts | Avg CPU (abs) | Avg Memory |
+----------+-------+----------+---------------+------------+
| web (v1) | 2/2   | 0        | 0%            | 0Mi        |
+----------+-------+----------+---------------+------------+

",
    );
}

#[test]
fn a_new_app_is_shown_without_empty_tables() {
    let app = json!({"name":"blog","platform":"python","teams":["core"],"teamowner":"core","plan":{},"owner":"a@b.cd",
        "pool":"main","deploys":0,"units":null,"routers":[],"quota":{"limit":3,"inuse":0},"ip":"blog.local"});
    let platform = Platform::start().on("GET /1.0/apps/blog", 200, &app.to_string());

    platform.tsuru("app info blog").says(
        "\
Application:  blog
Platform:     python
Teams:        core (owner)
Created by:   a@b.cd
Deploys:      0
Pool:         main
Quota:        0/3 units
Addresses:    http://blog.local

",
    );
}

#[test]
fn json_is_what_the_server_said() {
    let platform = Platform::start().on("GET /1.0/apps/blog", 200, &blog().to_string());

    let ran = platform.tsuru("app info blog --json");

    let shown: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((shown["name"].as_str(), shown["processes"][0]["name"].as_str()), (Some("blog"), Some("web")));
}

#[test] // SPEC C-2
fn removal_asks_first() {
    let stream = "{\"Message\":\"---- Removing application \\\"blog\\\"... ----\\n\"}\n";
    let platform = Platform::start().on("DELETE /1.0/apps/blog", 200, stream);
    let question = "Are you sure you want to remove app \"blog\"? (y/n) ";

    platform.tsuru_reading("app remove -a blog", "n\n").says(&format!("{question}Abort.\n"));
    platform.tsuru_reading("app remove -a blog", "").says(&format!("{question}Abort.\n"));
    assert_eq!(platform.asked(), [""; 0]);

    let removed = "---- Removing application \"blog\"... ----\n";
    platform.tsuru_reading("app remove -a blog", "y\n").says(&format!("{question}{removed}"));
    platform.tsuru("app-delete -a blog -y").says(removed);
    assert_eq!(platform.asked(), ["DELETE /1.0/apps/blog", "DELETE /1.0/apps/blog"]);
}

#[test]
fn start_stop_and_restart_name_process_and_version() {
    for verb in ["start", "stop", "restart"] {
        let platform = Platform::start().on(&format!("POST /1.0/apps/blog/{verb}"), 200, "");

        platform.tsuru(&format!("app-{verb} -a blog")).says("");
        assert_eq!(platform.last().form(), fields(&[("process", ""), ("version", "")]));
        platform.tsuru(&format!("{verb} blog -p web --version 2")).says("");
        assert_eq!(platform.last().form(), fields(&[("process", "web"), ("version", "2")]));
    }
}

#[test]
fn an_update_sends_what_changes_as_json() {
    let platform = Platform::start().on("PUT /1.0/apps/blog", 200, "");

    platform.tsuru("app update -a blog -d hi -g x --memory 512Mi --cpu 10%").says("App \"blog\" has been updated!\n");

    let expected =
        json!({"description":"hi","tags":["x"],"planoverride":{"memory":536870912,"cpumilli":100},"metadata":{}});
    assert_eq!(platform.last().json(), expected);
}

#[test]
fn teams_are_let_in_and_out() {
    let platform =
        Platform::start().on("PUT /1.0/apps/blog/teams/ops", 200, "").on("DELETE /1.0/apps/blog/teams/ops", 200, "");

    platform.tsuru("app grant ops -a blog").says("Team \"ops\" was added to the \"blog\" app\n");
    platform.tsuru("app-revoke ops -a blog").says("Team \"ops\" was removed from the \"blog\" app\n");
}

#[test]
fn log_lines_show_when_and_where_from() {
    let line = r#"[{"Date":"2026-01-02T03:04:05.6Z","Message":"listening on 8888","Source":"web","Name":"blog","Type":"app","Unit":"blog-web-1"}]"#;
    let platform = Platform::start().on("GET /1.0/apps/blog/log", 200, &format!("{line}\n\n{line}"));

    let shown = "2026-01-02 03:04:05 +0000 [web][blog-web-1]: listening on 8888\n";
    platform.tsuru("app log blog").says(&shown.repeat(2));
    platform
        .tsuru("app logs -a blog -l 5 -s web -u u1 -f --no-date")
        .says(&"[web][blog-web-1]: listening on 8888\n".repeat(2));
    platform.tsuru("log blog --no-date --no-source").says(&"listening on 8888\n".repeat(2));
    assert_eq!(platform.asked()[0], "GET /1.0/apps/blog/log?lines=10");
    assert_eq!(platform.asked()[1], "GET /1.0/apps/blog/log?lines=5&source=web&unit=u1&follow=1");
}

#[test]
fn an_empty_log_prints_nothing_and_rubbish_fails() {
    Platform::start().on("GET /1.0/apps/blog/log", 204, "").tsuru("app log blog").says("");
    Platform::start()
        .on("GET /1.0/apps/blog/log", 200, r#"{"Message":"no array"}"#)
        .tsuru("app log blog")
        .complains_of("Error: the server's log cannot be read");
}

#[test]
fn variables_are_set_in_the_forms_own_way() {
    let platform = Platform::start().on("POST /1.0/apps/blog/env", 200, "");

    platform.tsuru_args(&["env", "set", "-a", "blog", "A=1", "B=x=y&z é\n", "-p"]).says("");

    let body = String::from_utf8(platform.last().body.to_vec()).unwrap();
    assert_eq!(
        body,
        "Envs.0.Alias=&Envs.0.ManagedBy=&Envs.0.Name=A&Envs.0.Private=&Envs.0.Value=1&\
         Envs.1.Alias=&Envs.1.ManagedBy=&Envs.1.Name=B&Envs.1.Private=&Envs.1.Value=x%3Dy%26z+%C3%A9%0A&\
         ManagedBy=&NoRestart=&Private=true&PruneUnused="
    );
    platform.tsuru("env-set -a blog A").complains_of("environment variables must be in the form NAME=value");
}

#[test] // SPEC C-11
fn a_public_secret_is_warned_of_without_its_value() {
    let platform = Platform::start().on("POST /1.0/apps/blog/env", 200, "");

    let ran = platform.tsuru("env set -a blog DB_PASSWORD=s3cr3t --no-restart");

    assert_eq!(ran.code, 0);
    assert!(ran.err.starts_with("Warning: DB_PASSWORD looks like a secret") && !ran.err.contains("s3cr3t"));
    assert!(platform.last().form().contains(&("NoRestart".to_owned(), "true".to_owned())));
}

#[test]
fn variables_are_shown_sorted_and_masked() {
    let platform = Platform::start().on(
        "GET /1.0/apps/blog/env",
        200,
        r#"[{"name":"PASSWORD","value":"s3cr3t","alias":"","public":false,"managedBy":""},
            {"name":"DB","value":"1","alias":"","public":true,"managedBy":""},
            {"name":"TSURU_APPNAME","value":"blog","public":true,"managedBy":"tsuru"}]"#,
    );

    platform
        .tsuru("env get -a blog")
        .says("DB=1\nPASSWORD=*** (private variable)\nTSURU_APPNAME=blog (managed by tsuru)\n");
    platform.tsuru("env-get DB X -a blog");
    assert_eq!(platform.asked()[1], "GET /1.0/apps/blog/env?env=DB&env=X");
    Platform::start().on("GET /1.0/apps/blog/env", 200, "null").tsuru("env get -a blog").says("");
}

#[test]
fn variables_are_taken_away() {
    let platform = Platform::start().on("DELETE /1.0/apps/blog/env", 200, "{\"Message\":\"gone\\n\"}\n");

    platform.tsuru("env unset A B -a blog").says("gone\n");

    assert_eq!(platform.asked(), ["DELETE /1.0/apps/blog/env?env=A&env=B&noRestart=false"]);
}

#[test]
fn cnames_are_added_and_removed() {
    let platform =
        Platform::start().on("POST /1.0/apps/blog/cname", 200, "").on("DELETE /1.0/apps/blog/cname", 200, "");

    platform.tsuru("cname add a.example *.b.example -a blog").says("cname successfully defined.\n");
    assert_eq!(platform.last().form(), fields(&[("cname", "a.example"), ("cname", "*.b.example")]));
    platform.tsuru("cname-delete a.example b.example -a blog").says("cname successfully undefined.\n");
    assert_eq!(platform.asked()[1], "DELETE /1.0/apps/blog/cname?cname=a.example&cname=b.example");
}
