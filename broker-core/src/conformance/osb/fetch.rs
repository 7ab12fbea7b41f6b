//! What an instance is: O65 to O71.

use serde_json::Value;

use super::calls::{Platform, instance, is_busy};
use crate::conformance::{Case, Check, End, answer::Answer, context::fresh};

pub(super) const CASES: &[Case] = chapter! { "Fetch of an instance", through Platform;
    "O65" Must fetched "An instance that is ready can be fetched, if the catalog says so",
    "O66" Must ids "A fetch tells the service and the plan that the instance was made with",
    "O67" Must unknown "A fetch of an unknown instance is answered 404",
    "O68" Must too_early "A fetch of an instance that is being made is answered 404",
    "O69" Must gone "A fetch of a removed instance is answered 404",
    "O70" Must types "What a fetch tells has the type that it should have",
    "O71" Must in_update "A fetch during an update is answered 200, or 422 ConcurrencyError",
};

async fn fetch(p: Platform<'_>, id: &str) -> Result<Answer, End> {
    p.claims("instances_retrievable")?;
    p.get(&instance(id)).await
}

async fn body(p: Platform<'_>) -> Result<(Answer, Value), End> {
    let answer = fetch(p, p.instance().await?).await?;
    answer.must_be(200)?;
    let body = answer.object()?;
    Ok((answer, body))
}

async fn fetched(p: Platform<'_>) -> Check {
    body(p).await.map(drop)
}

async fn ids(p: Platform<'_>) -> Check {
    let ((answer, body), offer) = (body(p).await?, p.offer()?);
    let right = |field: &str, item: &Value| body[field].is_null() || body[field] == item["id"];
    answer.must(right("service_id", &offer.service) && right("plan_id", &offer.plan), "the ids that were provisioned")
}

async fn unknown(p: Platform<'_>) -> Check {
    fetch(p, &fresh()).await?.must_be(404)
}

async fn too_early(p: Platform<'_>) -> Check {
    p.claims("instances_retrievable")?;
    let pending = p.pending_provision().await?;
    fetch(p, &pending.id).await?.must_be(404)
}

async fn gone(p: Platform<'_>) -> Check {
    let id = p.ready().await?;
    fetch(p, &id).await?.must_be(200)?;
    p.gone_at_last(&instance(&id)).await?;
    fetch(p, &id).await?.must_be(404)
}

async fn types(p: Platform<'_>) -> Check {
    let (answer, body) = body(p).await?;
    let absent_or = |field: &str, right: fn(&Value) -> bool| body[field].is_null() || right(&body[field]);
    let right = absent_or("parameters", Value::is_object)
        && absent_or("metadata", Value::is_object)
        && ["dashboard_url", "service_id", "plan_id"].iter().all(|field| absent_or(field, Value::is_string));
    answer.must(right, "ids and dashboard_url as texts, parameters and metadata as objects")
}

async fn in_update(p: Platform<'_>) -> Check {
    p.claims("instances_retrievable")?;
    let pending = p.pending_update().await?;
    let answer = fetch(p, &pending.id).await?;
    answer.must(answer.status == 200 || is_busy(&answer), "200, or 422 ConcurrencyError")
}
