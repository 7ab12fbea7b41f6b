//! What holds for every request (contract 1).

use axum::{body::Body, http::Request};

use crate::harness::{Answer, TestApi};

#[tokio::test] // checklist 1, SPEC W-2
async fn without_a_good_token_the_answer_is_401_with_a_challenge() {
    let api = TestApi::start().await;

    for header in [None, Some("bearer wrong"), Some("Basic abc"), Some("bearer")] {
        let mut request = Request::builder().uri("/1.0/apps");
        if let Some(header) = header {
            request = request.header("Authorization", header);
        }
        let answer = api.send(request.body(Body::empty()).unwrap()).await;

        answer.is(401).says("You must provide a valid Authorization header");
        assert_eq!(answer.header("www-authenticate"), r#"Bearer realm="tsuru" scope="tsuru""#);
    }
}

#[tokio::test] // checklist 2
async fn the_schemes_case_does_not_matter_and_it_may_be_missing() {
    let api = TestApi::start().await;

    for header in [format!("bearer {}", api.token), format!("Bearer {}", api.token), api.token.clone()] {
        let request = Request::builder().uri("/1.0/users/info").header("Authorization", header);
        api.send(request.body(Body::empty()).unwrap()).await.is(200);
    }
}

#[tokio::test] // checklist 3: 401 would send clients into a login for ever.
async fn what_is_not_permitted_is_403_and_not_401() {
    let api = TestApi::start().await;
    api.create_app().await;
    let bob = api.as_bob().await;

    for (method, path) in [("DELETE", "/1.0/apps/blog"), ("GET", "/1.0/apps/blog"), ("DELETE", "/1.0/plans/small")] {
        let request = Request::builder().method(method).uri(path).header("Authorization", format!("bearer {bob}"));
        let answer = api.send(request.body(Body::empty()).unwrap()).await;
        answer.is(403).says("You don't have permission to do this action");
        assert_eq!(answer.header("www-authenticate"), "");
    }
}

#[tokio::test] // checklist 4, SPEC W-3
async fn every_answer_has_the_supported_version_and_the_requests_identifier() {
    let api = TestApi::start().await;

    for path in ["/1.0/apps", "/healthcheck", "/nothing", "/1.0/users/info"] {
        let request = Request::builder().uri(path).header("X-Request-Id", "abc-1");
        let answer = api.send(request.body(Body::empty()).unwrap()).await;
        assert_eq!(answer.header("supported-tsuru"), "1.0.1", "{path}");
        assert_eq!(answer.header("x-request-id"), "abc-1", "{path}");
    }
    assert_eq!(api.get("/info").await.header("x-request-id").len(), 36);
}

#[tokio::test] // checklist 5, SPEC W-1
async fn any_version_or_none_leads_to_the_same_endpoint() {
    let api = TestApi::start().await;
    api.create_app().await;

    let plain = api.get("/apps?name=blog").await;

    for version in ["1.0", "1.13", "1.99"] {
        let answer = api.get(&format!("/{version}/apps?name=blog")).await;
        assert_eq!((answer.status, &answer.body), (plain.status, &plain.body));
    }
}

#[tokio::test] // checklist 6
async fn an_unknown_path_is_404_in_plain_text() {
    let api = TestApi::start().await;

    for path in ["/1.0/nothing", "/nothing", "/", "/1.0", "/1.0/apps/", "/v1/apps"] {
        api.get(path).await.is(404).says("404 page not found");
    }
    api.send(api.form("PATCH", "/1.0/apps", "")).await.is(405).says("405 method not allowed");
}

#[tokio::test] // checklist 7
async fn health_needs_no_token() {
    let api = TestApi::start().await;
    let ask = |path: &str| Request::builder().uri(path.to_owned()).body(Body::empty()).unwrap();

    let answer = api.send(ask("/healthcheck")).await;
    assert_eq!(answer.is(200).body, "WORKING");
    api.send(ask("/healthcheck/")).await.is(200);
    api.send(ask("/healthcheck?check=all")).await.is(200).has("store: WORKING (").has("engine: WORKING").has("router:");

    api.engine.down(Some("Docker does not answer"));
    api.send(ask("/healthcheck?check=all")).await.is(500).has("engine: fail - Docker does not answer");
    api.send(ask("/healthcheck?check=store")).await.is(200);
}

#[tokio::test]
async fn what_the_platform_does_not_have_is_refused_with_a_sentence() {
    let api = TestApi::start().await;

    for (method, path) in [
        ("POST", "/1.13/jobs"),
        ("POST", "/1.6/tokens"),
        ("PUT", "/1.2/apps/blog/certificate"),
        ("GET", "/1.24/apps/blog/certificate"),
        ("POST", "/1.0/services/redis/proxy/cache?callback=/x"),
        ("GET", "/1.20/services/redis/resources/cache/backup"),
        ("PUT", "/1.13/services/redis/instances/cache/jobs/nightly"),
        ("POST", "/1.5/apps/blog/routers"),
        ("POST", "/1.9/apps/blog/units/autoscale"),
    ] {
        let answer = api.send(api.form(method, path, "")).await;
        answer.is(501).has(" ").has("\n");
    }
    for path in ["/1.13/jobs", "/1.6/tokens", "/1.3/provisioner/clusters"] {
        api.get(path).await.is(204);
    }
    api.post("/1.0/swap", "").await.is(412);
    api.post("/1.0/apps/blog/diff", "").await.is(410);
}

#[tokio::test] // contract 1.9
async fn bodies_that_cannot_be_read_are_400_and_say_why() {
    let api = TestApi::start().await;
    let with_type = |kind: &str, body: &str| {
        let request = api.request("POST", "/1.0/plans").header("Content-Type", kind);
        request.body(Body::from(body.to_owned())).unwrap()
    };

    let answer: Answer = api.send(with_type("application/json", "{\"name\":")).await;
    answer.is(400).has("unable to parse the request's JSON: ");
    api.send(with_type("application/json", "[]")).await.is(400);
    api.send(with_type("application/x-www-form-urlencoded", "name=%FF"))
        .await
        .is(400)
        .says("the form is not UTF-8 text");
    api.send(with_type("multipart/form-data", "x")).await.is(400);
    api.send(with_type("multipart/form-data; boundary=b", "--b\r\nrubbish")).await.is(400);
    api.post("/1.0/plans", "name=big&memory=lots").await.is(400).has("memory");
    let large = "a".repeat(11 << 20);
    api.post("/1.0/plans", &large).await.is(413);
    api.get("/1.0/apps/%FF").await.is(400);
}

#[tokio::test] // SPEC W-1
async fn a_router_with_routes_of_its_own_can_be_merged_and_is_tried_first() {
    let mut api = TestApi::start().await;
    let git = axum::Router::new().route("/git/{app}/info/refs", axum::routing::get(|| async { "refs" }));

    api.router = git.merge(api.router);

    assert_eq!(api.get("/git/blog/info/refs").await.body, "refs");
    api.get("/1.0/users/info").await.is(200);
    api.get("/git/blog").await.is(404).says("404 page not found");
}
