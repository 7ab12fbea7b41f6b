//! Services, instances, bindings (contract 12; service-api 5).

use axum::http::StatusCode;
use platform_core::testing::brokers::BrokerCall;
use serde_json::json;

use crate::harness::{BOB, TestApi};

const INSTANCE: &str = "/1.0/services/redis/instances/cache";
const BIND: &str = "/1.13/services/redis/instances/cache/apps/blog";

#[tokio::test] // checklist 93
async fn a_service_is_created_once_updated_and_removed() {
    let api = TestApi::start().await;
    let form = "id=mysql&username=&password=s3cret&team=core&endpoint=http%3A%2F%2F127.0.0.1%3A1&multi-cluster=";

    let created = api.post("/1.0/services", form).await;
    assert_eq!(created.is(201).body, "success");
    api.post("/1.0/services", form).await.is(409).says("Service already exists.");
    let body = json!({"id": "pg", "password": "x", "team": "core", "endpoints": {"production": "http://127.0.0.1:1"}});
    api.json("POST", "/1.0/services", body).await.is(201);
    assert_eq!(api.put("/1.0/services/mysql", form).await.status, StatusCode::OK);
    api.put("/1.0/services/oracle", form).await.is(404).says("Service not found.");
    api.put("/1.0/services/mysql/doc", "doc=how+to").await.is(200);
    assert_eq!(api.get("/1.0/services/mysql/doc").await.is(200).body, "how to");
    api.delete("/1.0/services/mysql").await.is(200);
    api.delete("/1.0/services/mysql").await.is(404);
}

#[tokio::test] // service-api 8
async fn a_manifest_that_lacks_something_is_refused() {
    let api = TestApi::start().await;
    api.post("/1.0/teams", "name=web").await.is(201);

    api.post("/1.0/services", "password=x&endpoint=y&team=core").await.is(400).says("Service id is required");
    api.post("/1.0/services", "id=My&password=x&endpoint=y&team=core").await.is(400).has("Invalid service id");
    api.post("/1.0/services", "id=my&endpoint=y&team=core").await.is(400).says("Service password is required");
    api.post("/1.0/services", "id=my&password=x&team=core").await.is(400).says("At least one endpoint is required");
    let team = "You must provide a team responsible for this service in the manifest file.";
    api.post("/1.0/services", "id=my&password=x&endpoint=y&team=").await.is(400).says(team);
    api.post("/1.0/services", "id=my&password=x&endpoint=y&team=core&encoding=xml").await.is(400);
    api.post("/1.0/services", "id=my&password=x&endpoint=y&team=core&multi-cluster=true").await.is(400);
}

#[tokio::test] // checklist 94, 97
async fn services_are_listed_with_and_without_instances() {
    let api = TestApi::start().await;
    let listing = json!([{"service": "redis", "instances": [], "plans": null, "service_instances": null}]);
    assert_eq!(api.get("/1.0/services/instances").await.is(200).value(), listing);
    assert_eq!(api.get("/1.0/services/redis").await.is(200).value(), json!([]));
    assert_eq!(api.get("/1.0/services/redis/plans").await.is(200).value(), json!([]));
    api.create_instance().await;
    let (redis, cache) = ("redis".parse().unwrap(), "cache".parse().unwrap());
    api.brokers.set_info(&redis, &cache, "Address", "10.0.0.9:6379");
    api.brokers.offer(&redis, &[("small", "64 MB")]);

    let services = api.get("/1.0/services/instances").await.value();
    let instance = &services[0]["service_instances"][0];
    assert_eq!(
        (&instance["name"], &instance["plan_name"], &instance["team_owner"]),
        (&json!("cache"), &json!("small"), &json!("core"))
    );
    assert_eq!(api.get("/1.0/services/redis").await.value()[0]["Info"], json!({"Address": "10.0.0.9:6379"}));
    let plans = json!([{"Name": "small", "Description": "64 MB", "Schemas": null}]);
    assert_eq!(api.get("/1.0/services/redis/plans").await.value(), plans);
    let info = api.get(INSTANCE).await.value();
    assert_eq!((&info["PlanName"], &info["PlanDescription"]), (&json!("small"), &json!("64 MB")));
    assert_eq!(info["CustomInfo"], json!({"Address": "10.0.0.9:6379"}));
    assert_eq!(api.get("/1.0/services/instances?tag=x").await.value()[0]["instances"], json!([]));
    api.get("/1.0/services/oracle").await.is(404).says("Service not found.");
    api.get("/1.0/services/oracle/plans").await.is(404);
    api.get("/1.0/services/redis/instances/nope").await.is(404).says("service instance not found");
}

#[tokio::test]
async fn a_broker_that_is_away_leaves_its_part_of_the_answer_empty() {
    let api = TestApi::start().await;
    api.create_instance().await;
    api.brokers.refuse(BrokerCall::Info, "connection refused");
    api.brokers.refuse(BrokerCall::Plans, "connection refused");

    let info = api.get(INSTANCE).await.value();

    assert_eq!((&info["TeamOwner"], &info["CustomInfo"]), (&json!("core"), &json!({})));
}

#[tokio::test] // checklist 95, 96, 98
async fn instances_are_made_by_form_and_by_json() {
    let api = TestApi::start().await;
    let path = "/1.0/services/redis/instances";
    let form = "name=cache&plan=small&owner=core&description=&pool=&tag=a&tag=a&parameters.size=10";

    api.post(path, form).await.is(201);

    assert_eq!(api.brokers.calls().last().unwrap().parameters, *json!({"size": "10"}).as_object().unwrap());
    api.post(path, form).await.is(409).says("instance name already exists.");
    let body =
        json!({"name": "other", "plan_name": "small", "team_owner": "core", "tags": ["a"], "parameters": {"size": 10}});
    api.json("POST", path, body).await.is(201);
    assert_eq!(api.brokers.calls().last().unwrap().parameters, *json!({"size": 10}).as_object().unwrap());
    assert_eq!(api.get(INSTANCE).await.value()["Tags"], json!(["a"]));
    for bad in ["1db", "a+b", ""] {
        api.post(path, &format!("name={bad}&owner=core")).await.is(400).has("invalid service instance name");
    }
    api.post("/1.0/services/oracle/instances", "name=db").await.is(404).says("Service not found.");
    let status = api.get(&format!("{INSTANCE}/status")).await;
    assert_eq!(status.is(200).body, "Service instance \"cache\" is up");
}

#[tokio::test] // service-api B22, 5.4
async fn what_a_broker_refuses_is_500_and_changes_nothing() {
    let api = TestApi::start().await;
    api.brokers.refuse(BrokerCall::Create, "Failed to create the instance cache: no quota");

    let answer = api.post("/1.0/services/redis/instances", "name=cache&owner=core&parameters=").await;
    answer.is(500).says("Failed to create the instance cache: no quota");
    api.get(INSTANCE).await.is(404);

    api.create_instance().await;
    let same = json!({"plan": "small", "teamowner": "core", "description": "", "tags": [], "parameters": {}});
    api.json("PUT", INSTANCE, same).await.is(400);
    api.json("PUT", INSTANCE, json!({"plan": "large", "parameters": {"size": "9"}})).await.is(200);
    let info = api.get(INSTANCE).await.value();
    assert_eq!((&info["PlanName"], &info["Parameters"]), (&json!("large"), &json!({"size": "9"})));
    api.put(INSTANCE, "plan=large&parameters=&tag=t").await.is(200);
    assert_eq!(api.get(INSTANCE).await.value()["Parameters"], json!({}));
}

#[tokio::test] // checklist 99, 101, 105
async fn a_bind_tells_the_variables_names_and_an_unbind_takes_them_away() {
    let api = TestApi::start().await;
    api.running_app().await;
    api.create_instance().await;

    let told = api.put(BIND, "noRestart=false").await.is(200).told();
    assert!(
        told.starts_with("---- Setting 3 new environment variables ----\n---- Restarting the app \"blog\" ----\n"),
        "{told}"
    );
    assert!(told.contains("\nInstance \"cache\" is now bound to the app \"blog\".\n"), "{told}");
    assert!(told.contains("\n- REDIS_HOST\n") && told.contains("\n- TSURU_SERVICES\n"), "{told}");
    assert!(!told.contains("password of"), "{told}");
    let again = api.put(BIND, "noRestart=true").await;
    again.is(409).has("app is already bound to this service instance");

    let told = api.delete(&format!("{BIND}?noRestart=false&force=false")).await.is(200).told();
    assert!(told.ends_with("\nInstance \"cache\" is not bound to the app \"blog\" anymore.\n"), "{told}");
    api.delete(BIND).await.is(412).says("app is not bound to this service instance");
    let services = api.get("/1.0/apps/blog/env?env=TSURU_SERVICES&env=REDIS_HOST").await.value();
    assert_eq!((services.as_array().unwrap().len(), &services[0]["value"]), (1, &json!("{}")));
}

#[tokio::test] // checklist 100, 104
async fn older_clients_bind_without_apps_in_the_path() {
    let api = TestApi::start().await;
    api.running_app().await;
    api.create_instance().await;
    let older = "/1.0/services/redis/instances/cache/blog";

    let told = api.json("PUT", older, json!({"noRestart": true, "parameters": {"db": 1}})).await.is(200).told();

    assert!(!told.contains("Restarting"), "{told}");
    let call = api.brokers.calls().into_iter().find(|called| called.call == BrokerCall::Bind).unwrap();
    assert_eq!(call.parameters, *json!({"db": 1}).as_object().unwrap());
    api.get("/1.0/apps/blog/env").await.has("REDIS_HOST");
    api.delete(&format!("{older}?noRestart=true")).await.is(200);
    api.put("/1.13/services/redis/instances/cache/apps/missing", "").await.is(404).says("App missing not found.");
    api.put("/1.13/services/redis/instances/nope/apps/blog", "").await.is(404).says("service instance not found");
}

#[tokio::test] // checklist 102, 103
async fn a_failed_bind_is_500_with_the_instances_status_and_leaves_nothing() {
    let api = TestApi::start().await;
    api.running_app().await;
    api.create_instance().await;
    api.brokers.set_status(&"redis".parse().unwrap(), &"cache".parse().unwrap(), "pending");

    let answer = api.put(BIND, "noRestart=false").await;

    answer.is(500).says("instance is not ready yet (\"cache\" is pending)");
    assert_eq!(api.get(INSTANCE).await.value()["Apps"], json!([]));
    assert!(!api.get("/1.0/apps/blog/env").await.body.contains("REDIS_HOST"));
}

#[tokio::test] // checklist 106, 107, 109
async fn a_bound_instance_stays_unless_all_is_unbound() {
    let api = TestApi::start().await;
    api.running_app().await;
    api.create_instance().await;
    api.put(BIND, "noRestart=true").await.is(200);

    let bound = "Applications bound to the service \"cache\": \"blog\"\n: This service instance is bound to at least one app. Unbind them before removing it";
    api.delete(&format!("{INSTANCE}?unbindall=false&ignoreerrors=false")).await.is(400).says(bound);
    api.delete("/1.0/services/redis").await.is(403).has("This service cannot be removed because it has instances.\n");
    api.brokers.refuse(BrokerCall::Delete, "connection refused");
    api.delete(&format!("{INSTANCE}?unbindall=true")).await.is(200);
    api.brokers.refuse(BrokerCall::Delete, "connection refused");
    let answer = api.delete(&format!("{INSTANCE}?ignoreerrors=true")).await;
    assert!(answer.is(200).told().ends_with("service instance successfully removed\n"), "{}", answer.body);
    api.get(INSTANCE).await.is(404);
    api.delete("/1.0/services/redis").await.is(200);
}

#[tokio::test] // checklist 108
async fn a_team_is_granted_an_instance() {
    let mut api = TestApi::start().await;
    api.create_instance().await;
    api.post("/1.0/teams", "name=other").await.is(201);
    api.post("/1.0/roles/team-member/user", &format!("email={BOB}&context=other")).await.is(200);
    let path = "/1.0/services/redis/instances/permission/cache";
    let bob = api.as_bob().await;

    api.put(&format!("{path}/other"), "").await.is(200);
    api.put(&format!("{path}/other"), "").await.is(409);
    api.put(&format!("{path}/nobody"), "").await.is(404);
    api.delete(&format!("{path}/core")).await.is(403);

    let admin = std::mem::replace(&mut api.token, bob.clone());
    api.get(INSTANCE).await.is(200);
    api.token = admin;
    api.delete(&format!("{path}/other")).await.is(200);
    api.token = bob;
    api.get(INSTANCE).await.is(403);
}
