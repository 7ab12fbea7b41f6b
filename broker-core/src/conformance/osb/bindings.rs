//! What a binding is, and how work on it stands: O157 to O169.

use serde_json::Value;

use super::{
    calls::{ASYNC, Got, Platform, asking, binding, credentials, polling, state},
    operations::{must_be_over, must_tell},
};
use crate::conformance::{Case, Check, context::fresh};

pub(super) const CASES: &[Case] = chapter! { "Fetch and last operation of a binding", through Platform;
    "O157" Must fetched "A binding can be fetched, if the catalog says so, with the credentials that the bind gave",
    "O158" Must unknown "A fetch of an unknown binding is answered 404",
    "O159" Must gone "A fetch of a removed binding is answered 404",
    "O160" Must too_early "A fetch of a binding that is being made is answered 404",
    "O161" Must finished "The credentials of a bind that went on can be fetched, and work",
    "O162" Must types "What a fetch tells has the type that it should have",
    "O163" Must states "A bind that goes on is in progress until it has succeeded",
    "O164" Should bound "The last operation of a binding that is there has succeeded",
    "O165" Should unknown_last "The last operation of an unknown binding is answered 404 or 410",
    "O166" Should unknown_operation "An operation that nobody began is answered 4xx",
    "O167" Must hints "A platform may name the service and the plan",
    "O168" Must unbind "An unbind that goes on ends with 410, or has succeeded",
    "O169" Should gone_last "The last operation of a removed binding is answered 410 or 404, or has succeeded",
};

async fn fetch(p: Platform<'_>, of: &str, id: &str) -> Got {
    p.claims("bindings_retrievable")?;
    p.get(&binding(of, id)).await
}

async fn fetched(p: Platform<'_>) -> Check {
    let of = p.instance().await?;
    let (id, made) = p.bound(of).await?;
    let answer = fetch(p, of, &id).await?;
    answer.must_be(200)?;
    // A broker may show credentials once only.
    let given = answer.object()?["credentials"].clone();
    answer.must(given.is_null() || credentials(&answer) == credentials(&made), "the credentials that the bind gave")
}

async fn unknown(p: Platform<'_>) -> Check {
    fetch(p, p.instance().await?, &fresh()).await?.must_be(404)
}

async fn gone(p: Platform<'_>) -> Check {
    let of = p.instance().await?;
    let (id, _) = p.bound(of).await?;
    p.gone_at_last(&binding(of, &id)).await?;
    fetch(p, of, &id).await?.must_be(404)
}

async fn too_early(p: Platform<'_>) -> Check {
    p.claims("bindings_retrievable")?;
    let first = p.pending_bind().await?;
    fetch(p, p.slow_instance().await?, &first.id).await?.must_be(404)
}

async fn finished(p: Platform<'_>) -> Check {
    let first = p.pending_bind().await?;
    let of = p.slow_instance().await?;
    p.settled(&binding(of, &first.id), &first.answer).await?;
    let answer = fetch(p, of, &first.id).await?;
    answer.must_be(200)?;
    answer.must(answer.object()?["credentials"].is_object(), "credentials")?;
    answer.must(p.opens_if_known(&answer).await, "credentials that work")
}

async fn types(p: Platform<'_>) -> Check {
    let of = p.instance().await?;
    let (id, _) = p.bound(of).await?;
    let answer = fetch(p, of, &id).await?;
    answer.must_be(200)?;
    let body = answer.object()?;
    let absent_or_object = |field: &&str| body[field].is_null() || body[field].is_object();
    let right = ["parameters", "credentials", "metadata"].iter().all(absent_or_object);
    answer.must(right && body["endpoints"].as_array().is_none_or(|list| list.iter().all(Value::is_object)), "objects")
}

fn last_operation(of: &str, id: &str) -> String {
    format!("{}/last_operation", binding(of, id))
}

async fn states(p: Platform<'_>) -> Check {
    let first = p.pending_bind().await?;
    let path = binding(p.slow_instance().await?, &first.id);
    let early = p.get(&polling(&path, &first.answer)).await?;
    must_tell(&early)?;
    early.must(state(&early) == "in progress", "the state \"in progress\"")?;
    let last = p.ended(&path, &first.answer).await?;
    must_tell(&last)?;
    last.must(state(&last) == "succeeded", "the state \"succeeded\"")
}

async fn bound(p: Platform<'_>) -> Check {
    let of = p.instance().await?;
    let (id, _) = p.bound(of).await?;
    let answer = p.get(&last_operation(of, &id)).await?;
    must_tell(&answer)?;
    answer.must(state(&answer) == "succeeded", "the state \"succeeded\"")
}

async fn unknown_last(p: Platform<'_>) -> Check {
    let answer = p.get(&last_operation(p.instance().await?, &fresh())).await?;
    answer.must(matches!(answer.status, 404 | 410), "404 or 410")
}

async fn unknown_operation(p: Platform<'_>) -> Check {
    let of = p.instance().await?;
    let (id, _) = p.bound(of).await?;
    p.get(&asking(&last_operation(of, &id), "operation=conf-unknown")).await?.must_be_4xx()
}

async fn hints(p: Platform<'_>) -> Check {
    let of = p.instance().await?;
    let (id, _) = p.bound(of).await?;
    let path = last_operation(of, &id);
    let bare = p.get(&path).await?;
    let hinted = p.get(&asking(&path, &p.ids(&p.offer()?.plan)?)).await?;
    hinted.must(hinted.status == bare.status, &format!("{}, as without them", bare.status))
}

async fn unbind(p: Platform<'_>) -> Check {
    let first = p.pending_unbind().await?;
    let last = p.ended(&binding(p.slow_instance().await?, &first.id), &first.answer).await?;
    last.must(last.status == 410 || state(&last) == "succeeded", "410, or the state succeeded")
}

async fn gone_last(p: Platform<'_>) -> Check {
    let of = p.instance().await?;
    let (id, _) = p.bound(of).await?;
    let answer = p.delete(&binding(of, &id), &p.offer()?.plan, ASYNC).await?;
    p.settled(&binding(of, &id), &answer).await?;
    must_be_over(&p.get(&last_operation(of, &id)).await?)
}
