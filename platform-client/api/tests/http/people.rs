//! Sessions, users, teams, roles (contract 4, 5).

use axum::{body::Body, http::Request};
use serde_json::json;

use crate::harness::{ADMIN, BOB, TestApi};

fn unauthenticated(method: &str, path: &str, form: &str) -> Request<Body> {
    let request = Request::builder().method(method).uri(path);
    request.header("Content-Type", "application/x-www-form-urlencoded").body(Body::from(form.to_owned())).unwrap()
}

#[tokio::test] // checklist 8
async fn one_scheme_is_the_default() {
    let api = TestApi::start().await;

    let answer = api.send(unauthenticated("GET", "/1.18/auth/schemes", "")).await;

    assert_eq!(answer.is(200).value(), json!([{"name": "native", "default": true, "data": {}}]));
    let older = api.send(unauthenticated("GET", "/1.0/auth/scheme", "")).await;
    assert_eq!(older.value()["name"], "native");
}

#[tokio::test] // checklist 9, 10
async fn a_login_is_200_with_a_token_and_fails_with_a_sentence() {
    let api = TestApi::start().await;
    let path = format!("/1.0/users/{ADMIN}/tokens");

    let answer = api.send(unauthenticated("POST", &path, "password=secret-1")).await;
    assert!(!answer.is(200).value()["token"].as_str().unwrap().is_empty());
    let by_form = format!("email={ADMIN}&password=secret-1");
    api.send(unauthenticated("POST", "/1.0/auth/login", &by_form)).await.is(200);

    let wrong = api.send(unauthenticated("POST", &path, "password=wrong")).await;
    wrong.is(401).says("Authentication failed, wrong password.");
    for unknown in ["eve@example.com", "eve+x@example.com", "eve"] {
        let path = format!("/1.0/users/{unknown}/tokens");
        api.send(unauthenticated("POST", &path, "password=secret-1")).await.is(404).says("user not found");
    }
    api.send(unauthenticated("POST", &path, "")).await.is(400);
    api.send(unauthenticated("POST", "/1.0/auth/login", "password=x")).await.is(400);
}

#[tokio::test] // checklist 11
async fn a_logout_ends_this_session_only() {
    let api = TestApi::start().await;
    let other = api.platform.login(&ADMIN.parse().unwrap(), "secret-1".into()).await.unwrap();

    api.delete("/1.0/users/tokens").await.is(200);

    api.get("/1.0/users/info").await.is(401);
    let request = Request::builder().uri("/1.0/users/info").header("Authorization", other.expose());
    api.send(request.body(Body::empty()).unwrap()).await.is(200);
}

#[tokio::test] // checklist 21
async fn a_user_sees_their_roles_and_permissions() {
    let api = TestApi::start().await;
    let info = api.get("/1.0/users/info").await.value();
    assert_eq!(info["Email"], ADMIN);
    assert_eq!(info["Permissions"], json!([{"Name": "", "ContextType": "global", "ContextValue": "", "Group": ""}]));

    api.post("/1.0/roles/team-member/user", &format!("email={BOB}&context=core")).await.is(200);
    let users = api.get(&format!("/1.0/users?userEmail={BOB}")).await.value();
    let names: Vec<_> = users[0]["Permissions"].as_array().unwrap().iter().map(|held| &held["Name"]).collect();
    assert_eq!(names, ["app", "service", "service-instance"]);
    assert_eq!(users[0]["Permissions"][0]["ContextValue"], "core");

    api.delete(&format!("/1.0/roles/team-member/user/{BOB}?context=core")).await.is(200);
    assert_eq!(api.get(&format!("/1.0/users?userEmail={BOB}&role=team-member")).await.is(200).value(), json!([]));
}

#[tokio::test]
async fn membership_is_given_by_members_to_teams_and_users_that_exist() {
    let mut api = TestApi::start().await;
    let to_bob = format!("email={BOB}&context=core");
    api.post("/1.0/roles/team-member/user", &format!("email={BOB}&context=nobody")).await.is(404);
    api.post("/1.0/roles/team-member/user", "email=eve@example.com&context=core").await.is(404).says("user not found");
    api.post("/1.0/roles/team-member/user", &format!("email={BOB}")).await.is(400);
    api.post("/1.0/roles/AllowAll/user", &to_bob).await.is(403);
    api.post("/1.0/roles/captain/user", &to_bob).await.is(404).says("role not found");

    api.token = api.as_bob().await;
    let refusal = "only members of team \"core\" can change who is in it";
    api.post("/1.0/roles/team-member/user", &to_bob).await.is(403).says(refusal);
}

#[tokio::test]
async fn users_are_made_by_administrators_and_nobody_is_asked_to_log_in_for_it() {
    let mut api = TestApi::start().await;
    api.post("/1.0/users", "email=eve@example.com&password=secret-3").await.is(201);
    api.post("/1.0/users", "email=eve@example.com&password=secret-3").await.is(409);
    api.post("/1.0/users", "email=root@localhost&password=secret-3").await.is(400).says("Invalid email");
    api.post("/1.0/users", "email=mallory@example.com&password=short").await.is(400);

    let registration = unauthenticated("POST", "/1.0/users", "email=m@example.com&password=secret-3");
    api.send(registration).await.is(403).says("User registration is disabled for non-admin users.");
    api.token = api.as_bob().await;
    api.post("/1.0/users", "email=m@example.com&password=secret-3").await.is(403);
    api.delete("/1.0/users?user=eve@example.com").await.is(403);
    api.delete("/1.0/users").await.is(200);
    api.get("/1.0/users/info").await.is(401);
}

#[tokio::test]
async fn a_password_is_changed_with_the_old_one_and_a_confirmation() {
    let api = TestApi::start().await;
    let path = "/1.0/users/password";

    api.put(path, "old=secret-1&new=secret-9&confirm=secret-8").await.is(400);
    api.put(path, "old=&new=secret-9&confirm=secret-9").await.is(400);
    api.put(path, "old=wrong&new=secret-9&confirm=secret-9").await.is(403);
    api.put(path, "old=secret-1&new=secret-9&confirm=secret-9").await.is(200);

    api.platform.login(&ADMIN.parse().unwrap(), "secret-9".into()).await.unwrap();
}

#[tokio::test] // checklist 19, 20
async fn teams_are_made_once_shown_and_removed() {
    let api = TestApi::start().await;
    let made = api.json("POST", "/1.0/teams", json!({"name": "web", "tags": ["a"]})).await;
    made.is(201);
    api.post("/1.0/teams", "name=web").await.is(409).says("team already exists");
    api.post("/1.0/teams", "name=Web").await.is(400);

    let teams = api.get("/1.0/teams").await.value();
    assert_eq!(teams[0]["name"], "core");
    assert_eq!(teams[1]["tags"], json!(["a"]));
    assert!(teams[0]["permissions"].as_array().unwrap().contains(&json!("app")));

    api.create_app().await;
    let info = api.get("/1.4/teams/core").await.value();
    assert_eq!(info["apps"][0]["name"], "blog");
    assert_eq!(info["users"][0]["Email"], ADMIN);
    api.get("/1.4/teams/nobody").await.is(404).says("Team \"nobody\" not found.");
    api.delete("/1.0/teams/core").await.is(403);
    api.delete("/1.0/teams/web").await.is(200);
    api.delete("/1.0/teams/web").await.is(404);
}

#[tokio::test] // checklist 32
async fn the_first_permission_is_the_root() {
    let api = TestApi::start().await;

    let permissions = api.get("/1.0/permissions").await.value();

    assert_eq!(permissions[0], json!({"Name": "", "Contexts": ["global"]}));
    assert_eq!(api.get("/1.0/roles").await.value()[0]["name"], "AllowAll");
    assert_eq!(api.get("/1.0/roles/team-member").await.value()["context"], "team");
    api.get("/1.0/roles/captain").await.is(404);
}
