//! What a platform is not sure of, and takes back: O170 to O173.

use std::time::Duration;

use reqwest::RequestBuilder;

use super::{
    calls::{ASYNC, JSON, Platform, asking, binding, instance},
    clean_up::Made,
};
use crate::conformance::{Case, Check, context::fresh};

pub(super) const CASES: &[Case] = chapter! { "Orphan mitigation", through Platform;
    "O170" Must unfinished "An instance that is being made can be removed, at once or when it is made",
    "O171" Must unfinished_binding "A binding that is being made can be removed, at once or when it is made",
    "O172" Must lost "An instance whose provision got no answer can be removed, and is gone then",
    "O173" Must lost_binding "A binding whose bind got no answer can be removed, and is gone then",
};

/// How long a platform waits that is not answered.
const IMPATIENT: Duration = Duration::from_millis(2);

/// How often a platform that got no answer removes before it is sure.
const ROUNDS: usize = 5;

/// Insists that something is gone at last. What got no answer may still be on its way when it is removed first.
async fn must_go(p: Platform<'_>, path: &str) -> Check {
    let mut last = Ok(());
    for _ in 0..ROUNDS {
        p.gone_at_last(path).await?;
        last = p.delete(path, &p.offer()?.plan, ASYNC).await?.must_be(410);
        if last.is_ok() {
            break;
        }
    }
    last
}

async fn unfinished(p: Platform<'_>) -> Check {
    let first = p.pending_provision().await?;
    p.gone_at_last(&instance(&first.id)).await?;
    p.delete(&instance(&first.id), p.slow_plan()?, ASYNC).await?.must_be(410)
}

async fn unfinished_binding(p: Platform<'_>) -> Check {
    let first = p.pending_bind().await?;
    let path = binding(p.slow_instance().await?, &first.id);
    p.gone_at_last(&path).await?;
    p.delete(&path, p.slow_plan()?, ASYNC).await?.must_be(410)
}

/// Sends a request and hangs up before it is answered, if the broker gives it the time.
async fn hang_up(p: Platform<'_>, request: RequestBuilder) {
    // That no answer came is what this is for; one that came does no harm.
    drop(p.send(request.timeout(IMPATIENT)).await);
}

async fn lost(p: Platform<'_>) -> Check {
    let id = fresh();
    p.will_remove(Made::Instance(id.clone()));
    let request = p.request("PUT", &asking(&instance(&id), ASYNC)).header("content-type", JSON);
    hang_up(p, request.body(p.wishes()?.to_string())).await;
    must_go(p, &instance(&id)).await
}

async fn lost_binding(p: Platform<'_>) -> Check {
    p.is_bindable()?;
    let (of, id, body) = (p.instance().await?, fresh(), p.binding_on(&p.offer()?.plan)?);
    p.will_remove(Made::Binding(of.to_owned(), id.clone()));
    let request = p.request("PUT", &asking(&binding(of, &id), ASYNC)).header("content-type", JSON);
    hang_up(p, request.body(body.to_string())).await;
    must_go(p, &binding(of, &id)).await
}
