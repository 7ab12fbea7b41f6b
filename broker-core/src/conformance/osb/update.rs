//! Changes of instances: O72 to O90.

use serde_json::{Value, json};

use super::{
    calls::{ASYNC, Got, Platform, SYNC, asking, instance, with, without},
    provision::needs_parallel,
};
use crate::conformance::{
    Case, Check, End,
    context::{fresh, skip},
};

pub(super) const CASES: &[Case] = chapter! { "Update", through Platform;
    "O72" Must nothing "An update that changes nothing is answered 200 or 202",
    "O73" Must to_plan "An update to another plan brings the instance to that plan",
    "O74" Must keeps_plan "An update that names no plan leaves the plan",
    "O75" Should again "The same update again is answered 200 or 202",
    "O76" Must no_service "An update without service_id, or with an empty one, is answered 400",
    "O77" Must unknown_service "An update with an unknown service_id is answered 400",
    "O78" Must unknown_plan "An update with an unknown plan_id is answered 400",
    "O79" Should unknown_instance "An update of an unknown instance is answered 4xx",
    "O80" Must refused_changes_nothing "A refused update changes nothing",
    "O81" Must context "An update of the context alone is answered 200 or 202, if the catalog says so",
    "O82" Must unknown_fields "previous_values are read, and fields that the broker does not know are ignored",
    "O83" Should schema "Parameters that break the plan's schema are answered 400",
    "O84" Must other_maintenance "Another maintenance version than the catalog's is answered 422 MaintenanceInfoConflict",
    "O85" Must malformed "An update whose body is cut off, empty or no object is answered 400",
    "O86" Must synchronous "Without accepts_incomplete an update is answered 200, or 422 AsyncRequired",
    "O87" Must in_progress "The same update again while it goes on is answered 202 with the same operation, or 422 ConcurrencyError",
    "O88" Must other_in_progress "Another change while an update goes on is answered 200, 202, or 422 ConcurrencyError",
    "O89" Must ends "An update that goes on ends, and the instance is on the new plan",
    "O90" Must at_once "Updates at once are each answered 200, 202, or 422 ConcurrencyError",
};

/// A body that names the service only.
fn bare(p: Platform<'_>) -> Result<Value, End> {
    Ok(json!({ "service_id": p.offer()?.service["id"] }))
}

async fn shared(p: Platform<'_>, body: &Value) -> Got {
    p.update(p.instance().await?, ASYNC, body).await
}

/// Updates an instance, and waits until that is done.
async fn updated(p: Platform<'_>, id: &str, body: &Value) -> Check {
    let answer = p.update(id, ASYNC, body).await?;
    answer.must(matches!(answer.status, 200 | 202), "200 or 202")?;
    if answer.status == 200 {
        answer.object()?;
    }
    p.settled(&instance(id), &answer).await
}

async fn must_be_on(p: Platform<'_>, id: &str, plan: &Value) -> Check {
    let fetched = p.get(&instance(id)).await?;
    fetched.must_be(200)?;
    let body = fetched.object()?;
    fetched.must(body["plan_id"] == plan["id"], "the plan_id that the instance has to be on")
}

fn other_plan(p: Platform<'_>) -> Result<&Value, End> {
    p.can_leave(&p.offer()?.plan)?;
    p.offer()?.other_plan.as_ref().ok_or_else(|| skip("the service has one plan only"))
}

async fn nothing(p: Platform<'_>) -> Check {
    updated(p, p.instance().await?, &bare(p)?).await
}

async fn to_plan(p: Platform<'_>) -> Check {
    let (other, id) = (other_plan(p)?, p.ready().await?);
    let answer = p.update(&id, ASYNC, &with(&bare(p)?, "plan_id", other["id"].clone())).await?;
    if answer.status == 422 {
        return Err(skip("the broker refuses this change of plans"));
    }
    p.settled(&instance(&id), &answer).await?;
    if p.claims("instances_retrievable").is_ok() { must_be_on(p, &id, other).await } else { Ok(()) }
}

async fn keeps_plan(p: Platform<'_>) -> Check {
    p.claims("instances_retrievable")?;
    let id = p.ready().await?;
    updated(p, &id, &bare(p)?).await?;
    must_be_on(p, &id, &p.offer()?.plan).await
}

async fn again(p: Platform<'_>) -> Check {
    let (id, body) = (p.ready().await?, with(&bare(p)?, "plan_id", p.offer()?.plan["id"].clone()));
    updated(p, &id, &body).await?;
    updated(p, &id, &body).await
}

async fn no_service(p: Platform<'_>) -> Check {
    let body = with(&bare(p)?, "plan_id", p.offer()?.plan["id"].clone());
    shared(p, &without(&body, "service_id")).await?.must_be(400)?;
    shared(p, &with(&body, "service_id", "")).await?.must_be(400)
}

async fn unknown_service(p: Platform<'_>) -> Check {
    shared(p, &with(&bare(p)?, "service_id", "conf-unknown")).await?.must_be(400)
}

async fn unknown_plan(p: Platform<'_>) -> Check {
    shared(p, &with(&bare(p)?, "plan_id", "conf-unknown")).await?.must_be(400)
}

async fn unknown_instance(p: Platform<'_>) -> Check {
    p.update(&fresh(), ASYNC, &bare(p)?).await?.must_be_4xx()
}

async fn refused_changes_nothing(p: Platform<'_>) -> Check {
    p.claims("instances_retrievable")?;
    let id = p.ready().await?;
    let wrong = with(&with(&bare(p)?, "plan_id", "conf-unknown"), "parameters", json!({ "conf-other": "yes" }));
    let before = p.get(&instance(&id)).await?;
    p.update(&id, ASYNC, &wrong).await?.must_be_4xx()?;
    let after = p.get(&instance(&id)).await?;
    after.must(after.json() == before.json(), "what was fetched before the update")
}

async fn context(p: Platform<'_>) -> Check {
    p.claims("allow_context_updates")?;
    let named = json!({
        "platform": "cloudfoundry", "organization_guid": "conf-organization", "space_guid": "conf-space",
        "instance_name": "conf-renamed",
    });
    updated(p, &p.ready().await?, &with(&bare(p)?, "context", named)).await
}

async fn unknown_fields(p: Platform<'_>) -> Check {
    let previous = json!({
        "plan_id": p.offer()?.plan["id"], "service_id": p.offer()?.service["id"],
        "organization_id": "conf-organization", "space_id": "conf-space",
    });
    let body = with(&with(&bare(p)?, "previous_values", previous), "conf-unknown", json!([1]));
    updated(p, p.instance().await?, &body).await
}

async fn schema(p: Platform<'_>) -> Check {
    let breaking = p.offer()?.breaking("service_instance", "update");
    let (plan, wrong) =
        breaking.ok_or_else(|| skip("no plan has a schema for updates that says something to break"))?;
    let id = p.ready_on(plan).await?;
    p.update(&id, ASYNC, &with(&bare(p)?, "parameters", wrong)).await?.must_be(400)
}

async fn other_maintenance(p: Platform<'_>) -> Check {
    let body = with(&bare(p)?, "maintenance_info", json!({ "version": "0.0.1-conf" }));
    shared(p, &body).await?.must_be_coded("MaintenanceInfoConflict")
}

async fn malformed(p: Platform<'_>) -> Check {
    let (path, whole) = (asking(&instance(p.instance().await?), ASYNC), bare(p)?.to_string());
    for body in [&whole[..whole.len() - 1], "", "[]"] {
        p.text("PATCH", &path, body).await?.must_be(400)?;
    }
    Ok(())
}

async fn synchronous(p: Platform<'_>) -> Check {
    let (next, id) = (p.next_plan()?, p.ready_on(p.slow_plan()?).await?);
    let answer = p.update(&id, SYNC, &with(&bare(p)?, "plan_id", next["id"].clone())).await?;
    if answer.status == 200 { Ok(()) } else { answer.must_be_coded("AsyncRequired") }
}

async fn in_progress(p: Platform<'_>) -> Check {
    let first = p.pending_update().await?;
    let again = p.update(&first.id, ASYNC, &first.body).await?;
    p.must_join_or_wait(&instance(&first.id), &first.answer, &again).await
}

async fn other_in_progress(p: Platform<'_>) -> Check {
    let first = p.pending_update().await?;
    let other = with(&bare(p)?, "parameters", json!({}));
    p.update(&first.id, ASYNC, &other).await?.must_be_any_or_busy(&[200, 202])
}

async fn ends(p: Platform<'_>) -> Check {
    let first = p.pending_update().await?;
    p.settled(&instance(&first.id), &first.answer).await?;
    if p.claims("instances_retrievable").is_ok() { must_be_on(p, &first.id, p.next_plan()?).await } else { Ok(()) }
}

async fn at_once(p: Platform<'_>) -> Check {
    needs_parallel(p, 3)?;
    let (id, body) = (p.ready().await?, bare(p)?);
    let patch = || p.update(&id, ASYNC, &body);
    let (one, two, three) = tokio::join!(patch(), patch(), patch());
    [one?, two?, three?].iter().try_for_each(|answer| answer.must_be_any_or_busy(&[200, 202]))
}
