//! Whole requests, one after the other, at a broker that does everything right.

use std::{cell::OnceCell, collections::BTreeMap, sync::Arc};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Path, Query},
    http::{HeaderName, HeaderValue, Request, StatusCode},
    routing::{get, post},
};
use tokio::runtime::{Builder, Runtime};
use tower::ServiceExt as _;

use crate::{
    Broker as _, Caller, PublicUrl, Routes, Tenant,
    http::fuzzing::router,
    lifecycle::{Engine, Schemas, Timing},
    store::{MemoryStore, Store},
    testing::{FakeBroker, PASSWORD, USERNAME},
};

/// What stands between two requests.
const BETWEEN: &[u8] = b"\n---\n";
/// More than anybody is answered here.
const LONGEST_ANSWER: usize = 1 << 20;

/// Requests, divided by a line `---`: `METHOD /path`, headers a line each, an empty line, the body. All come with
/// credentials and a version. None is answered by a failure, and one that is refused leaves every record as it was.
pub fn requests(input: &[u8]) {
    thread_local!(static RUNTIME: OnceCell<Runtime> = const { OnceCell::new() });
    let made = || Builder::new_current_thread().enable_all().build().expect("a runtime");
    RUNTIME.with(|runtime| drop(runtime.get_or_init(made).block_on(ask_all(input))));
}

async fn ask_all(input: &[u8]) -> Vec<StatusCode> {
    let mut answered = Vec::new();
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let fake = FakeBroker::new();
    let catalog = fake.catalog();
    let schemas = Schemas::of(&catalog).expect("schemas");
    let url: Option<PublicUrl> = "https://fake.test".parse().ok();
    let engine = Engine::new(Arc::new(fake.clone()), catalog, schemas, store.clone(), Timing::default(), url);
    let router = router(engine, authors_own(), USERNAME, PASSWORD);
    for request in divided(input).into_iter().take(8).filter_map(request) {
        let before = records(&*store).await;
        let what = format!("{} {}", request.method(), request.uri());
        let status = ask(&router, request).await;
        assert!(!status.is_server_error(), "{what} was answered {status}");
        if status.is_client_error() {
            assert_eq!(records(&*store).await, before, "{what} was answered {status} and changed something");
        }
        answered.push(status);
    }
    answered
}

/// What an author may have at paths of its own: parts of paths, queries, bodies.
fn authors_own() -> Routes {
    type Asked = Query<BTreeMap<String, String>>;
    let words = async |tenant: Tenant, Query(asked): Asked| format!("{} {asked:?}", tenant.instance.name);
    let learn = async |_: Tenant, caller: Caller, Path(word): Path<String>, Query(asked): Asked, book: String| {
        format!("{word} {:?} {asked:?} {}", caller.user(), book.len())
    };
    let languages = async |Query(asked): Asked, caller: Caller| format!("{asked:?} {:?}", caller.event());
    Routes::new()
        .instance("/words", get(words))
        .instance("/words/{word}", post(learn))
        .service("/authenticated-resources/languages", get(languages).put(languages))
}

async fn ask(router: &Router, request: Request<Body>) -> StatusCode {
    let Ok(answer) = router.clone().oneshot(request).await;
    let status = answer.status();
    let body = to_bytes(answer.into_body(), LONGEST_ANSWER).await.expect("an answer of a size that is sent");
    assert!(!status.is_client_error() || body.len() < 4096, "a refusal is as long as what it refuses");
    status
}

fn divided(input: &[u8]) -> Vec<&[u8]> {
    let (mut parts, mut rest) = (Vec::new(), input);
    while let Some(at) = rest.windows(BETWEEN.len()).position(|window| window == BETWEEN) {
        parts.push(&rest[..at]);
        rest = &rest[at + BETWEEN.len()..];
    }
    parts.push(rest);
    parts
}

/// The request that a text tells of, if HTTP could carry it.
fn request(text: &[u8]) -> Option<Request<Body>> {
    let end = text.windows(2).position(|window| window == b"\n\n");
    let (head, body) = end.map_or((text, &b""[..]), |end| (&text[..end], &text[end + 2..]));
    let mut lines = head.split(|byte| *byte == b'\n');
    let (method, path) = std::str::from_utf8(lines.next()?).ok()?.split_once(' ')?;
    let request = Request::builder().method(method).uri(path.strip_prefix('/').map(|_| path)?);
    let mut request = request.body(Body::from(body.to_vec())).ok()?;
    let headers = request.headers_mut();
    for line in lines.filter(|line| !line.is_empty()) {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let (name, value) =
            (HeaderName::from_bytes(&line[..colon]), HeaderValue::from_bytes(line[colon + 1..].trim_ascii()));
        headers.append(name.ok()?, value.ok()?);
    }
    Some(request)
}

/// All that is written down, as text.
async fn records(store: &dyn Store) -> Vec<String> {
    let instances = store.instances(None, 1000).await.expect("records");
    let mut told = Vec::new();
    for record in instances {
        let bindings = store.bindings(&record.instance.id).await.expect("records");
        told.push(serde_json::to_string(&record).expect("JSON"));
        told.extend(bindings.iter().map(|binding| serde_json::to_string(binding).expect("JSON")));
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn statuses(input: &[u8]) -> Vec<u16> {
        ask_all(input).await.into_iter().map(|status| status.as_u16()).collect()
    }

    #[tokio::test]
    async fn the_first_inputs_get_as_far_as_they_are_meant_to() {
        let life = include_bytes!("../../fuzz/corpus/requests/life");
        assert_eq!(statuses(life).await, [201, 201, 200, 200, 200, 200]);
        let osb = include_bytes!("../../fuzz/corpus/requests/osb");
        assert_eq!(statuses(osb).await, [201, 201, 400, 200, 200]);
        let paths = include_bytes!("../../fuzz/corpus/requests/paths");
        assert_eq!(statuses(paths).await, [404, 404, 404, 400, 404, 404]);
        let own = include_bytes!("../../fuzz/corpus/requests/own");
        assert_eq!(statuses(own).await, [201, 200, 200, 200, 404, 200, 404, 404]);
    }
}
