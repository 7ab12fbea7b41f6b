//! What a sysadmin prepares: plans, platforms, pools (contract 6).

use axum::{body::Body, http::Request};
use serde_json::json;

use crate::harness::TestApi;

#[tokio::test] // checklist 23, 24, 25
async fn plans_are_made_once_and_shown_with_numbers() {
    let api = TestApi::start().await;

    api.post("/1.0/plans", "name=big&cpumilli=500&memory=536870912&default=").await.is(201);
    api.post("/1.0/plans", "name=big&cpumilli=500&memory=536870912").await.is(409);
    api.post("/1.0/plans", "name=tiny&memory=1024").await.is(400).says("The minimum allowed memory is 4MB.");
    api.post("/1.0/plans", "cpumilli=100").await.is(400);

    let plan = &api.get("/1.0/plans").await.value()[0];
    assert_eq!((&plan["name"], &plan["memory"], &plan["cpumilli"]), (&json!("big"), &json!(536_870_912), &json!(500)));
    assert_eq!(plan["default"], false);
    api.delete("/1.0/plans/big").await.is(200);
    api.delete("/1.0/plans/big").await.is(404).says("plan not found");
}

#[tokio::test] // checklist 26
async fn a_platform_is_added_from_a_dockerfile_and_the_stream_says_so() {
    let api = TestApi::start().await;
    let parts = [("name", None, "go"), ("dockerfile_content", Some("Dockerfile"), "FROM golang")];

    let answer = api.send(api.multipart("POST", "/1.0/platforms", &parts)).await;

    assert!(answer.is(200).told().ends_with("Platform successfully added!\n"));
    assert!(answer.messages()[0]["Timestamp"].as_str().unwrap().parse::<chrono::DateTime<chrono::Utc>>().is_ok());
    let platforms = api.get("/1.0/platforms").await.value();
    assert_eq!(platforms[0], json!({"Name": "go", "Disabled": false}));
    let info = api.get("/1.6/platforms/go").await.value();
    assert_eq!(info["images"], json!(["tsuru/go:v1"]));
    api.send(api.multipart("POST", "/1.0/platforms", &parts)).await.is(409);
    api.send(api.multipart("POST", "/1.0/platforms", &parts[..1])).await.is(400);
}

#[tokio::test] // checklist 27
async fn a_disabled_platform_cannot_be_chosen() {
    let api = TestApi::start().await;

    let answer = api.send(api.multipart("PUT", "/1.0/platforms/python", &[("disabled", None, "true")])).await;

    answer.is(200);
    assert_eq!(api.get("/1.0/platforms").await.value()[0]["Disabled"], true);
    api.post("/1.0/apps", "name=blog&platform=python").await.is(400).has("Invalid platform");
    let empty = api.send(api.multipart("PUT", "/1.0/platforms/python", &[("disabled", None, "")])).await;
    empty.is(200);
    assert_eq!(api.get("/1.0/platforms").await.value()[0]["Disabled"], true, "empty is absent");
}

#[tokio::test]
async fn a_platform_whose_build_fails_is_not_there() {
    let api = TestApi::start().await;
    api.engine.fail_build(Some("the Dockerfile is wrong"));
    let parts = [("name", None, "go"), ("dockerfile_content", Some("Dockerfile"), "FRM golang")];

    api.send(api.multipart("POST", "/1.0/platforms", &parts)).await.is(500).says("the Dockerfile is wrong");

    api.get("/1.6/platforms/go").await.is(404).says("Platform doesn't exist.");
}

#[tokio::test]
async fn a_platform_with_apps_stays() {
    let api = TestApi::start().await;
    api.create_app().await;

    api.delete("/1.0/platforms/python").await.is(409);
    api.delete("/1.0/platforms/cobol").await.is(404);

    api.delete("/1.0/apps/blog").await.is(200);
    api.delete("/1.0/platforms/python").await.is(200);
    api.get("/1.0/platforms").await.is(204);
}

#[tokio::test] // checklist 28, 29
async fn pools_are_shown_with_and_without_a_version() {
    let api = TestApi::start().await;

    let pool = api.get("/pools/main").await.value();

    assert_eq!((&pool["public"], &pool["default"], &pool["provisioner"]), (&json!(true), &json!(true), &json!("")));
    assert_eq!(pool["allowed"]["router"], json!(["main"]));
    assert_eq!(api.get("/1.0/pools").await.value()[0]["name"], "main");
    api.get("/pools/mine").await.is(404);
}

#[tokio::test] // contract 6.3
async fn a_second_default_pool_needs_force() {
    let api = TestApi::start().await;

    api.json("POST", "/1.0/pools", json!({"name": "big", "default": true})).await.is(412);
    api.json("POST", "/1.0/pools", json!({"name": "big", "default": true, "force": true})).await.is(201);
    api.json("POST", "/1.0/pools", json!({"name": "big"})).await.is(409);

    let defaults: Vec<_> =
        api.get("/1.0/pools").await.value().as_array().unwrap().iter().map(|pool| pool["default"].clone()).collect();
    assert_eq!(defaults, [json!(true), json!(false)]);
    api.json("PUT", "/1.0/pools/main", json!({"public": false})).await.is(200);
    assert_eq!(api.get("/pools/main").await.value()["public"], false);
    api.json("PUT", "/1.0/pools/mine", json!({"public": false})).await.is(404);
    api.delete("/1.0/pools/main").await.is(200);
}

#[tokio::test] // checklist 30, 31: lists, never 204
async fn constraints_and_routers_are_lists() {
    let api = TestApi::start().await;
    assert_eq!(api.get("/1.3/constraints").await.is(200).body, "[]");

    let routers = api.get("/1.3/routers").await.value();
    assert_eq!(
        (&routers[0]["name"], &routers[0]["type"], &routers[0]["default"]),
        (&json!("main"), &json!("tsuru"), &json!(true))
    );

    let constraint = json!({"PoolExpr": "main", "Field": "team", "Values": ["core"]});
    api.json("PUT", "/1.3/constraints", constraint).await.is(200);
    assert_eq!(api.get("/1.3/constraints").await.value()[0]["Values"], json!(["core"]));
    api.put("/1.3/constraints", "PoolExpr=main&Field=router&Values=main").await.is(501);
    api.put("/1.3/constraints?append=true", "PoolExpr=main&Field=team&Values.0=web").await.is(200);
    assert_eq!(api.get("/pools/main").await.value()["teams"], json!(["core", "web"]));
}

#[tokio::test]
async fn preparing_is_for_administrators() {
    let mut api = TestApi::start().await;
    api.token = api.as_bob().await;

    api.post("/1.0/plans", "name=big").await.is(403);
    api.json("POST", "/1.0/pools", json!({"name": "big"})).await.is(403);
    api.json("PUT", "/1.0/pools/main", json!({"public": false})).await.is(403);
    let parts = [("name", None, "go"), ("dockerfile_content", None, "FROM golang")];
    api.send(api.multipart("POST", "/1.0/platforms", &parts)).await.is(403);
    let anonymous = Request::builder().method("POST").uri("/1.0/plans").body(Body::empty()).unwrap();
    api.send(anonymous).await.is(401);
}
