//! Apps, their environment and names (contract 7, 10, 11).

use serde_json::{Value, json};

use crate::harness::{BOB, TestApi};

#[tokio::test] // checklist 35, 37
async fn a_new_app_is_201_and_all_values_of_the_answer_are_strings() {
    let api = TestApi::start().await;
    let form = "name=blog&platform=python&plan=&teamOwner=&pool=&description=&router=&routeropts=&tag=";

    let created = api.post("/1.0/apps", form).await.is(201).value();

    assert!(created.as_object().unwrap().values().all(Value::is_string));
    assert_eq!(created, json!({"status": "success", "ip": "blog.apps.example.com"}));
    let taken = "tsuru failed to create the app \"blog\": there is already an app with this name";
    api.post("/1.0/apps", form).await.is(409).says(taken);
}

#[tokio::test] // checklist 36
async fn app_names_keep_the_rule() {
    let api = TestApi::start().await;

    for bad in ["Blog", "1blog", "a_b", "", &"a".repeat(41)] {
        let answer = api.post("/1.0/apps", &format!("name={bad}")).await;
        answer.is(400).has("Invalid app name, your app should have at most 40 characters");
    }
    api.post("/1.0/apps", &format!("name={}", "a".repeat(40))).await.is(201);
}

#[tokio::test] // checklist 18, 38
async fn the_team_is_inferred_only_when_there_is_one() {
    let api = TestApi::start().await;
    api.post("/1.0/teams", "name=web").await.is(201);

    api.post("/1.0/apps", "name=blog").await.is(400).says("You must provide a team to execute this action.");
    api.post("/1.0/apps", "NAME=blog&TEAMOWNER=web").await.is(201);

    assert_eq!(api.get("/1.0/apps/blog").await.value()["teamowner"], "web");
}

#[tokio::test]
async fn what_an_app_cannot_have_is_refused() {
    let api = TestApi::start().await;

    api.post("/1.0/apps", "name=blog&platform=cobol").await.is(400).has("Invalid platform");
    api.post("/1.0/apps", "name=blog&platform=python:v3").await.is(400).has("Invalid platform");
    api.post("/1.0/apps", "name=blog&plan=huge").await.is(400).has("plan \"huge\" does not exist");
    api.post("/1.0/apps", "name=blog&pool=moon").await.is(400).has("pool \"moon\"");
    api.post("/1.0/apps", "name=blog&router=other").await.is(400).has("router \"other\" not found");
    api.post("/1.0/apps", "name=blog&routeropts.ttl=30").await.is(400);
    api.get("/1.0/apps").await.is(204);
    api.post("/1.0/apps", "name=blog&platform=python:latest&router=main").await.is(201);
}

#[tokio::test] // checklist 39, 40, 41
async fn apps_are_listed_by_filter_and_204_when_there_are_none() {
    let api = TestApi::start().await;
    api.get("/1.0/apps").await.is(204);
    api.running_app().await;
    api.post("/1.0/apps", "name=shop&tag=a&tag=b&description=buy").await.is(201);
    let names = async |query: &str| -> Vec<String> {
        let answer = api.get(&format!("/1.0/apps?{query}")).await;
        if answer.status == 204 {
            return Vec::new();
        }
        answer.value().as_array().unwrap().iter().map(|app| app["name"].as_str().unwrap().to_owned()).collect()
    };

    assert_eq!(names("").await, ["blog", "shop"]);
    assert_eq!(names("name=%5Ebl&simplified=true").await, ["blog"]);
    assert_eq!(names("tag=a&tag=b").await, ["shop"]);
    assert_eq!(names("tag=a&tag=c").await, [""; 0]);
    assert_eq!(names("platform=python&teamOwner=core&owner=admin@example.com&pool=main").await, ["blog"]);
    assert_eq!(names("status=started,error").await, ["blog"]);
    assert_eq!(names("status=stopped").await, [""; 0]);
    api.get("/1.0/apps?name=%28").await.is(400).has("not a regular expression");
    let app = &api.get("/1.0/apps?extended=true").await.value()[0];
    assert_eq!((&app["platform"], &app["units"][0]["Ready"]), (&json!("python"), &json!(true)));
}

#[tokio::test] // checklist 42, 44
async fn an_app_is_shown_with_units_routers_binds_and_a_quota() {
    let api = TestApi::start().await;
    api.running_app().await;
    api.create_instance().await;
    api.put("/1.13/services/redis/instances/cache/apps/blog", "noRestart=true").await.is(200);
    api.post("/1.0/apps/blog/cname", "cname=www.example.com").await.is(200);

    let app = api.get("/1.0/apps/blog").await.value();

    let unit = &app["units"][0];
    assert!(unit["Address"]["Host"].as_str().unwrap().ends_with(":8888"), "{unit}");
    assert_eq!((&unit["Version"], &unit["Status"], &unit["Ready"]), (&json!(1), &json!("started"), &json!(true)));
    assert_eq!((&unit["Routable"], &unit["ProcessName"], &unit["Restarts"]), (&json!(true), &json!("web"), &json!(0)));
    assert_eq!(app["quota"], json!({"limit": -1, "inuse": 1}));
    assert_eq!(app["serviceInstanceBinds"], json!([{"service": "redis", "instance": "cache", "plan": "small"}]));
    assert_eq!(app["cname"], json!(["www.example.com"]));
    assert_eq!(app["plan"]["memory"], 268_435_456);
    assert_eq!((&app["deploys"], &app["processes"]), (&json!(1), &json!([{"name": "web"}])));
    let router = &app["routers"][0];
    assert_eq!((&router["name"], &router["type"]), (&json!("main"), &json!("tsuru")));
    assert_eq!(router["addresses"], json!(["blog.apps.example.com"]));
    assert_eq!(api.get("/1.5/apps/blog/routers").await.value()[0], *router);
    assert_eq!(api.get("/1.0/apps/blog/quota").await.value(), json!({"limit": -1, "inuse": 1}));
    api.get("/1.0/apps/missing").await.is(404).says("App missing not found.");
    api.get("/1.0/apps/No%20Name").await.is(404).says("App No Name not found.");
}

#[tokio::test]
async fn a_worker_is_ready_though_no_requests_go_to_it() {
    let api = TestApi::start().await;
    api.builds_give("web: ./serve\nworker: ./work");
    api.running_app().await;

    let units = api.get("/1.0/apps/blog").await.value()["units"].clone();

    let seen: Vec<_> = units
        .as_array()
        .unwrap()
        .iter()
        .map(|unit| (&unit["ProcessName"], &unit["Routable"], &unit["Ready"]))
        .collect();
    let (yes, no) = (json!(true), json!(false));
    assert_eq!(seen, [(&json!("web"), &yes, &yes), (&json!("worker"), &no, &yes)]);
}

#[tokio::test]
async fn an_engine_or_a_router_that_is_away_is_named_in_the_answer() {
    let api = TestApi::start().await;
    api.running_app().await;

    api.engine.down(Some("Docker does not answer"));
    let app = api.get("/1.0/apps/blog").await.value();
    assert_eq!((&app["error"], &app["units"]), (&json!("Docker does not answer"), &json!([])));
    assert_eq!(api.get("/1.0/apps").await.value()[0]["error"], "Docker does not answer");

    api.engine.down(None);
    api.routes.set_down(Some("the router does not answer"));
    let app = api.get("/1.0/apps/blog").await.value();
    assert_eq!(app["units"][0]["Ready"], false);
    assert!(app["error"].as_str().unwrap().contains("the router does not answer"), "{app}");
}

#[tokio::test] // checklist 45, 46
async fn an_update_changes_what_it_names_and_refuses_to_change_nothing() {
    let api = TestApi::start().await;
    api.create_app().await;
    let nothing =
        "Neither the description, tags, plan, pool, team owner or platform were set. You must define at least one.";

    let empty = json!({"planoverride": {}, "metadata": {}});
    api.json("PUT", "/1.0/apps/blog", json!({})).await.is(400).says(nothing);
    api.json("PUT", "/1.0/apps/blog", empty).await.is(400).says(nothing);
    api.json("PUT", "/1.0/apps/blog", json!({"description": "hi", "tags": ["x"]})).await.is(200);
    let app = api.get("/1.0/apps/blog").await.value();
    assert_eq!((&app["description"], &app["tags"]), (&json!("hi"), &json!(["x"])));
    api.put("/1.0/apps/blog", "description=&tag=y&tag=z&noRestart=").await.is(200);
    let app = api.get("/1.0/apps/blog").await.value();
    assert_eq!((&app["description"], &app["tags"]), (&json!("hi"), &json!(["y", "z"])));

    for refused in [
        json!({"pool": "other"}),
        json!({"plan": "huge"}),
        json!({"platform": "cobol"}),
        json!({"teamOwner": "nobody"}),
        json!({"planoverride": {"memory": 0}}),
        json!({"metadata": {"labels": [{"name": "a", "value": "b"}]}}),
        json!({"processes": [{"name": "web", "plan": "small"}]}),
    ] {
        api.json("PUT", "/1.0/apps/blog", refused).await.is(400);
    }
    api.json("PUT", "/1.0/apps/missing", json!({})).await.is(404);
}

#[tokio::test] // checklist 47
async fn a_team_gets_access_and_loses_it() {
    let mut api = TestApi::start().await;
    api.create_app().await;
    api.post("/1.0/teams", "name=other").await.is(201);
    api.post("/1.0/roles/team-member/user", &format!("email={BOB}&context=other")).await.is(200);
    let (admin, bob) = (api.token.clone(), api.as_bob().await);

    api.put("/1.0/apps/blog/teams/other", "").await.is(200);
    api.put("/1.0/apps/blog/teams/other", "").await.is(409);
    api.token = bob.clone();
    api.get("/1.0/apps/blog").await.is(200);
    api.token = admin;
    api.delete("/1.0/apps/blog/teams/other").await.is(200);
    api.delete("/1.0/apps/blog/teams/core").await.is(403);
    api.delete("/1.0/apps/blog/teams/nobody").await.is(404);
    api.token = bob;
    api.get("/1.0/apps/blog").await.is(403);
    api.get("/1.0/apps").await.is(204);
}

#[tokio::test] // checklist 48, 110
async fn a_removed_app_is_unbound_and_unknown() {
    let api = TestApi::start().await;
    api.running_app().await;
    api.create_instance().await;
    api.put("/1.13/services/redis/instances/cache/apps/blog", "noRestart=true").await.is(200);

    let told = api.delete("/1.0/apps/blog").await.is(200).told();

    assert!(told.contains("---- Removing application \"blog\"... ----\n"), "{told}");
    assert!(told.ends_with("---- Done removing application. ----\n"), "{told}");
    api.get("/1.0/apps/blog").await.is(404);
    api.delete("/1.0/apps/blog").await.is(404);
    assert_eq!(api.get("/1.0/services/redis/instances/cache").await.value()["Apps"], json!([]));
    assert_eq!(api.units(), 0);
}

#[tokio::test] // checklist 16, 17, 82, 83, 84, 87
async fn variables_are_set_alike_by_form_and_by_json() {
    let api = TestApi::start().await;
    api.running_app().await;
    let form = "Envs.0.Alias=&Envs.0.ManagedBy=&Envs.0.Name=A&Envs.0.Private=&Envs.0.Value=x%3Dy%26z%0A%22%C3%A9%22&\
        Envs.1.Alias=&Envs.1.ManagedBy=&Envs.1.Name=B&Envs.1.Private=true&Envs.1.Value=2&\
        ManagedBy=&NoRestart=&Private=&PruneUnused=";
    let of = async |api: &TestApi| api.get("/1.0/apps/blog/env?env=A&env=B").await.value();

    let told = api.post("/1.0/apps/blog/env", form).await.is(200).told();
    assert!(told.starts_with("---- Setting 2 new environment variables ----\n"), "{told}");
    assert!(told.contains("---- Restarting the app \"blog\" ----\n"), "{told}");
    let by_form = of(&api).await;
    api.delete("/1.0/apps/blog/env?env=A&env=B&noRestart=true").await.is(200);
    let body = json!({"envs": [
        {"name": "A", "value": "x=y&z\n\"é\"", "alias": "", "private": false},
        {"name": "B", "value": "2", "private": true},
    ], "norestart": true, "private": false, "managedBy": "", "pruneUnused": false});
    let told = api.json("POST", "/1.0/apps/blog/env", body).await.is(200).told();
    assert!(!told.contains("Restarting"), "{told}");

    assert_eq!(of(&api).await, by_form);
    let a = json!({"name": "A", "value": "x=y&z\n\"é\"", "alias": "", "public": true, "managedBy": ""});
    let b = json!({"name": "B", "value": "2", "alias": "", "public": false, "managedBy": ""});
    assert_eq!(by_form, json!([a, b]));
    let all = api.get("/1.0/apps/blog/env").await;
    all.has(r#"{"name":"TSURU_APPNAME","value":"blog","alias":"","public":true,"managedBy":"tsuru"}"#);
    all.has(r#""name":"TSURU_SERVICES","value":"{}","alias":"","public":false"#).has("TSURU_APPDIR");
}

#[tokio::test] // contract 10.2
async fn a_private_request_makes_all_its_variables_private() {
    let api = TestApi::start().await;
    api.create_app().await;

    api.post("/1.0/apps/blog/env", "Envs.0.Name=A&Envs.0.Private=&Envs.0.Value=1&Private=true").await.is(200);

    assert_eq!(api.get("/1.0/apps/blog/env?env=A").await.value()[0]["public"], false);
    assert_eq!(api.get("/1.0/apps/blog/env?env=NOPE").await.value(), json!([]));
}

#[tokio::test] // checklist 85, 86
async fn names_that_are_wrong_or_reserved_cannot_be_set_and_unknown_ones_can_be_unset() {
    let api = TestApi::start().await;
    api.create_app().await;

    for bad in ["1A", "A-B", "TSURU_APPNAME", "TSURU_SERVICES", ""] {
        let answer = api.post("/1.0/apps/blog/env", &format!("Envs.0.Name={bad}&Envs.0.Value=1")).await;
        answer.is(400);
    }
    api.post("/1.0/apps/blog/env", "NoRestart=")
        .await
        .is(400)
        .says("You must provide the list of environment variables");
    api.post("/1.0/apps/blog/env", "Envs.0.Name=A&Envs.0.Value=1&ManagedBy=terraform").await.is(400);
    api.post("/1.0/apps/missing/env", "Envs.0.Name=A").await.is(404);
    let told = api.delete("/1.0/apps/blog/env?env=A&env=NOPE&noRestart=false").await.is(200).told();
    assert!(told.starts_with("---- Unsetting 2 environment variables ----\n"), "{told}");
    api.delete("/1.0/apps/blog/env").await.is(400);
}

#[tokio::test] // checklist 88, 89, 90
async fn cnames_are_added_all_or_none_and_belong_to_one_app() {
    let api = TestApi::start().await;
    api.create_app().await;
    api.post("/1.0/apps", "name=shop").await.is(201);

    api.post("/1.0/apps/blog/cname", "cname=www.example.com&cname=example.com").await.is(200);
    api.post("/1.0/apps/shop/cname", "cname=new.example.com&cname=www.example.com").await.is(409).has("already exists");
    api.post("/1.0/apps/shop/cname", "cname=new.example.com&cname=a%20b").await.is(400).says("Invalid cname");
    api.post("/1.0/apps/shop/cname", "").await.is(400).says("You must provide the cname.");
    assert_eq!(api.get("/1.0/apps/shop").await.value()["cname"], json!([]));

    api.delete("/1.0/apps/blog/cname?cname=www.example.com").await.is(200);
    api.delete("/1.0/apps/blog/cname?cname=www.example.com").await.is(400);
    assert_eq!(api.get("/1.0/apps/blog").await.value()["cname"], json!(["example.com"]));
}
