//! What a bind has to say, and may say: O132 to O142.

use serde_json::{Value, json};

use super::{
    calls::{ASYNC, Got, Platform, asking, binding, with, without},
    clean_up::Made,
};
use crate::conformance::{
    Case, Check, End,
    context::{fresh, skip},
};

pub(super) const CASES: &[Case] = chapter! { "What a bind says", through Platform;
    "O132" Must no_service "A bind without service_id, or with an empty one, is answered 400",
    "O133" Must unknown_service "A bind with an unknown service_id is answered 400",
    "O134" Must no_plan "A bind without plan_id, or with an empty one, is answered 400",
    "O135" Must unknown_plan "A bind with an unknown plan_id is answered 400",
    "O136" Must malformed "A bind whose body is cut off is answered 400",
    "O137" Must no_object "A bind whose body is empty, or no object, is answered 400",
    "O138" Must wrong_types "A bind whose fields have wrong types is answered 400",
    "O139" Must unknown_fields "Fields that the broker does not know are ignored",
    "O140" Should empty_fields "context and parameters may be null or empty",
    "O141" Should schema "Parameters that break the plan's schema are answered 400",
    "O142" Must nothing_left "A refused bind leaves nothing that could be removed",
};

fn body(p: Platform<'_>) -> Result<Value, End> {
    p.is_bindable()?;
    p.binding_on(&p.offer()?.plan)
}

async fn put(p: Platform<'_>, body: &Value) -> Got {
    p.bind(p.instance().await?, &fresh(), ASYNC, body).await
}

async fn required(p: Platform<'_>, field: &str) -> Check {
    let body = body(p)?;
    put(p, &without(&body, field)).await?.must_be(400)?;
    put(p, &with(&body, field, "")).await?.must_be(400)
}

async fn no_service(p: Platform<'_>) -> Check {
    required(p, "service_id").await
}

async fn unknown_service(p: Platform<'_>) -> Check {
    put(p, &with(&body(p)?, "service_id", "conf-unknown")).await?.must_be(400)
}

async fn no_plan(p: Platform<'_>) -> Check {
    required(p, "plan_id").await
}

async fn unknown_plan(p: Platform<'_>) -> Check {
    put(p, &with(&body(p)?, "plan_id", "conf-unknown")).await?.must_be(400)
}

async fn raw(p: Platform<'_>, body: &str) -> Got {
    let (of, id) = (p.instance().await?, fresh());
    p.will_remove(Made::Binding(of.to_owned(), id.clone()));
    p.text("PUT", &asking(&binding(of, &id), ASYNC), body).await
}

async fn malformed(p: Platform<'_>) -> Check {
    let whole = body(p)?.to_string();
    raw(p, &whole[..whole.len() - 1]).await?.must_be(400)
}

async fn no_object(p: Platform<'_>) -> Check {
    body(p)?;
    for body in ["", "null", "[]", "\"text\""] {
        raw(p, body).await?.must_be(400)?;
    }
    Ok(())
}

async fn wrong_types(p: Platform<'_>) -> Check {
    let body = body(p)?;
    for (field, wrong) in [("service_id", json!(1)), ("plan_id", json!({})), ("parameters", json!("text"))] {
        put(p, &with(&body, field, wrong)).await?.must_be(400)?;
    }
    Ok(())
}

async fn accepted(p: Platform<'_>, body: &Value) -> Check {
    let answer = put(p, body).await?;
    answer.must(matches!(answer.status, 201 | 202), "201 or 202")
}

async fn unknown_fields(p: Platform<'_>) -> Check {
    accepted(p, &with(&body(p)?, "conf-unknown", json!({ "deep": [1, null] }))).await
}

async fn empty_fields(p: Platform<'_>) -> Check {
    let body = body(p)?;
    for field in ["context", "parameters"] {
        accepted(p, &with(&body, field, json!({}))).await?;
        accepted(p, &with(&body, field, Value::Null)).await?;
    }
    Ok(())
}

async fn schema(p: Platform<'_>) -> Check {
    let breaking = p.offer()?.breaking("service_binding", "create");
    let (plan, wrong) = breaking.ok_or_else(|| skip("no plan has a schema for binds that says something to break"))?;
    let of = p.ready_on(plan).await?;
    p.bind(&of, &fresh(), ASYNC, &with(&p.binding_on(plan)?, "parameters", wrong)).await?.must_be(400)
}

async fn nothing_left(p: Platform<'_>) -> Check {
    let (of, id) = (p.instance().await?, fresh());
    p.bind(of, &id, ASYNC, &with(&body(p)?, "plan_id", "conf-unknown")).await?.must_be_4xx()?;
    p.delete(&binding(of, &id), &p.offer()?.plan, ASYNC).await?.must_be(410)
}
