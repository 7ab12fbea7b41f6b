//! Binding apps: O113 to O131.

use serde_json::{Value, json};

use super::{
    calls::{ASYNC, Platform, SYNC, asking, binding, credentials, must_have_secrets, with, without},
    offer::items,
    pending::other_wishes,
    provision::{must_be_one, needs_parallel},
};
use crate::conformance::{
    Case, Check, End,
    answer::Answer,
    context::{fresh, skip},
};

pub(super) const CASES: &[Case] = chapter! { "Bind", through Platform;
    "O113" Must bound "A bind is answered 201, or 202 when the platform accepts unfinished work",
    "O114" Must answered "What a bind gives has the type that it should have, and the catalog requires it",
    "O115" Must works "A bind's credentials work",
    "O116" Should again "The same bind again is answered 200 with the same credentials",
    "O117" Must other_parameters "A bind of the same id with other parameters is answered 409, or 400",
    "O118" Must other_plan "A bind of the same id with another plan is answered 409 or 400",
    "O119" Must unknown_instance "A bind of an unknown instance is answered 4xx",
    "O120" Should own_credentials "Two bindings have credentials of their own",
    "O121" Must no_app "A bind that names no app is done, or answered 422 RequiresApp",
    "O122" Must app "A bind may name its app by bind_resource alone, and by app_guid alone",
    "O123" Must in_progress "The same bind again while it goes on is answered 202 with the same operation",
    "O124" Must other_in_progress "Another bind of an id while one goes on is answered 409",
    "O125" Must no_credentials_yet "An answer that a bind goes on has no credentials",
    "O126" Must synchronous "Without accepts_incomplete a bind is answered 201, or 422 AsyncRequired",
    "O127" Should too_early "A bind of an instance that is being made is answered 4xx, not 5xx",
    "O128" Must at_once "Of three same binds at once one makes the binding, and the others hear of it",
    "O129" Must three "Three bindings of an instance can be made at once, or are answered 422 ConcurrencyError",
    "O130" Should encoded "A binding's id is the same whether or not it is percent-encoded",
    "O131" Must expires "expires_at and renew_before, where they are sent, are points in time",
};

fn body(p: Platform<'_>) -> Result<Value, End> {
    p.is_bindable()?;
    p.binding_on(&p.offer()?.plan)
}

async fn bound(p: Platform<'_>) -> Check {
    let (of, body) = (p.instance().await?, body(p)?);
    let answer = p.bind(of, &fresh(), ASYNC, &body).await?;
    answer.must(matches!(answer.status, 201 | 202), "201 or 202")
}

async fn answered(p: Platform<'_>) -> Check {
    let (_, answer) = p.bound(p.instance().await?).await?;
    let (given, service) = (answer.object()?, &p.offer()?.service);
    let absent_or = |field: &str, right: &dyn Fn(&Value) -> bool| given[field].is_null() || right(&given[field]);
    let required = |needs: &str| items(&service["requires"]).any(|one| one == needs);
    let url = |needs: &'static str| move |value: &Value| value.is_string() && required(needs);
    let right = absent_or("credentials", &Value::is_object)
        && absent_or("syslog_drain_url", &url("syslog_drain"))
        && absent_or("route_service_url", &url("route_forwarding"))
        && absent_or("volume_mounts", &|mounts| mounts.is_array() && required("volume_mount"))
        && absent_or("endpoints", &|list| list.is_array() && items(list).all(is_endpoint));
    let expected = "credentials as an object, endpoints with host and ports, and nothing that requires does not name";
    answer.must(right, expected)
}

fn is_endpoint(endpoint: &Value) -> bool {
    let ports = endpoint["ports"].as_array();
    endpoint["host"].is_string() && ports.is_some_and(|ports| !ports.is_empty() && ports.iter().all(Value::is_string))
}

async fn works(p: Platform<'_>) -> Check {
    let (_, answer) = p.bound(p.instance().await?).await?;
    answer.must(p.0.opens(&credentials(&answer)).await?, "credentials that work")
}

async fn again(p: Platform<'_>) -> Check {
    let of = p.instance().await?;
    let (id, first) = p.bound(of).await?;
    let again = p.bind(of, &id, ASYNC, &body(p)?).await?;
    let same = again.status == 200 && credentials(&again) == credentials(&first);
    again.must(same, "200 with the credentials of the first answer")
}

/// Insists that a bind of an id that is taken is refused with another body.
async fn conflicts(p: Platform<'_>, change: impl Fn(&Value) -> Value) -> Check {
    let of = p.instance().await?;
    let (id, _) = p.bound(of).await?;
    let answer = p.bind(of, &id, ASYNC, &change(&body(p)?)).await?;
    answer.must(matches!(answer.status, 409 | 400), "409 or 400")
}

async fn other_parameters(p: Platform<'_>) -> Check {
    conflicts(p, other_wishes).await
}

async fn other_plan(p: Platform<'_>) -> Check {
    let other = p.offer()?.other_plan.as_ref().ok_or_else(|| skip("the service has one plan only"))?;
    conflicts(p, |body| with(body, "plan_id", other["id"].clone())).await
}

async fn unknown_instance(p: Platform<'_>) -> Check {
    let path = asking(&binding(&fresh(), &fresh()), ASYNC);
    p.text("PUT", &path, &body(p)?.to_string()).await?.must_be_4xx()
}

async fn own_credentials(p: Platform<'_>) -> Check {
    let of = p.instance().await?;
    let ((_, one), (_, other)) = (p.bound(of).await?, p.bound(of).await?);
    must_have_secrets(&one)?;
    other.must(credentials(&one) != credentials(&other), "credentials that another binding does not have")
}

async fn no_app(p: Platform<'_>) -> Check {
    let bare = without(&without(&body(p)?, "app_guid"), "bind_resource");
    let answer = p.bind(p.instance().await?, &fresh(), ASYNC, &bare).await?;
    if matches!(answer.status, 201 | 202) { Ok(()) } else { answer.must_be_coded("RequiresApp") }
}

async fn app(p: Platform<'_>) -> Check {
    for left_out in ["app_guid", "bind_resource"] {
        let answer = p.bind(p.instance().await?, &fresh(), ASYNC, &without(&body(p)?, left_out)).await?;
        answer.must(matches!(answer.status, 201 | 202), "201 or 202")?;
    }
    Ok(())
}

async fn in_progress(p: Platform<'_>) -> Check {
    let first = p.pending_bind().await?;
    let of = p.slow_instance().await?;
    let again = p.bind(of, &first.id, ASYNC, &first.body).await?;
    p.must_join(&binding(of, &first.id), &first.answer, &again).await
}

async fn other_in_progress(p: Platform<'_>) -> Check {
    let first = p.pending_bind().await?;
    p.bind(p.slow_instance().await?, &first.id, ASYNC, &other_wishes(&first.body)).await?.must_be(409)
}

async fn no_credentials_yet(p: Platform<'_>) -> Check {
    let first = p.pending_bind().await?;
    first.answer.must(first.answer.object()?["credentials"].is_null(), "no credentials")
}

async fn synchronous(p: Platform<'_>) -> Check {
    p.is_bindable()?;
    let plan = p.slow_plan()?;
    let of = p.ready_on(plan).await?;
    let answer = p.bind(&of, &fresh(), SYNC, &p.binding_on(plan)?).await?;
    if answer.status == 201 { Ok(()) } else { answer.must_be_coded("AsyncRequired") }
}

async fn too_early(p: Platform<'_>) -> Check {
    p.is_bindable()?;
    let first = p.pending_provision().await?;
    p.bind(&first.id, &fresh(), ASYNC, &p.binding_on(p.slow_plan()?)?).await?.must_be_4xx()
}

async fn at_once(p: Platform<'_>) -> Check {
    needs_parallel(p, 3)?;
    let (of, id, body) = (p.instance().await?, fresh(), body(p)?);
    let put = || p.bind(of, &id, ASYNC, &body);
    let (one, two, three) = tokio::join!(put(), put(), put());
    let answers = [one?, two?, three?];
    must_be_one(&answers, &[200, 201, 202])?;
    let given: Vec<_> = answers.iter().filter(|answer| answer.status < 202).map(credentials).collect();
    answers[0].must(given.windows(2).all(|pair| pair[0] == pair[1]), "the same credentials in each answer")
}

async fn three(p: Platform<'_>) -> Check {
    needs_parallel(p, 3)?;
    let (of, body) = (p.instance().await?, body(p)?);
    let put = async || p.bind(of, &fresh(), ASYNC, &body).await;
    let (one, two, three) = tokio::join!(put(), put(), put());
    let right = |answer: &Answer| answer.must_be_any_or_busy(&[201, 202]);
    [one?, two?, three?].iter().try_for_each(right)
}

async fn encoded(p: Platform<'_>) -> Check {
    let (of, id, body) = (p.instance().await?, format!("{}~a", fresh()), body(p)?);
    let answer = p.bind(of, &id, ASYNC, &body).await?;
    p.settled(&binding(of, &id), &answer).await?;
    let path = binding(of, &id).replace('~', "%7E");
    p.text("PUT", &asking(&path, ASYNC), &body.to_string()).await?.must_be(200)
}

async fn expires(p: Platform<'_>) -> Check {
    let (_, answer) = p.bound(p.instance().await?).await?;
    let metadata = answer.object()?["metadata"].clone();
    if metadata.is_null() {
        return Err(skip("a bind's answer has no metadata"));
    }
    let time = |value: &Value| value.as_str().is_some_and(|text| chrono::DateTime::parse_from_rfc3339(text).is_ok());
    let right = ["expires_at", "renew_before"].iter().all(|field| metadata.get(field).is_none_or(time));
    answer.must(right && metadata != json!([]), "times like 2026-01-31T12:00:00Z")
}
