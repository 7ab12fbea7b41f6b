//! What a provision has to say, and may say: O47 to O64.

use serde_json::{Value, json};

use super::calls::{ASYNC, Got, Platform, asking, instance, with, without};
use crate::conformance::{
    Case, Check,
    context::{fresh, skip},
    osb::Made,
};

pub(super) const CASES: &[Case] = chapter! { "What a provision says", through Platform;
    "O47" Must no_service "A provision without service_id, or with an empty one, is answered 400",
    "O48" Must unknown_service "A provision with an unknown service_id is answered 400",
    "O49" Must no_plan "A provision without plan_id, or with an empty one, is answered 400",
    "O50" Must unknown_plan "A provision with an unknown plan_id is answered 400",
    "O51" Must foreign_plan "A provision with a plan of another service is answered 400",
    "O52" Should no_organization "A provision without organization_guid, or with an empty one, is answered 400",
    "O53" Should no_space "A provision without space_guid, or with an empty one, is answered 400",
    "O54" Must malformed "A provision whose body is cut off is answered 400",
    "O55" Must no_object "A provision whose body is empty, or no object, is answered 400",
    "O56" Must wrong_types "A provision whose fields have wrong types is answered 400",
    "O57" Should content_type "A provision of another content type is accepted, or answered 400 or 415",
    "O58" Must unknown_fields "Fields that the broker does not know are ignored",
    "O59" Should empty_fields "context and parameters may be null or empty",
    "O60" Must context "The context may be one of any platform",
    "O61" Should schema "Parameters that break the plan's schema are answered 400",
    "O62" Must other_maintenance "Another maintenance version than the catalog's is answered 422 MaintenanceInfoConflict",
    "O63" Must same_maintenance "The catalog's maintenance version is accepted",
    "O64" Must nothing_left "A refused provision leaves nothing that could be removed",
};

async fn put(p: Platform<'_>, body: &Value) -> Got {
    p.provision(&fresh(), ASYNC, body).await
}

/// Insists that a provision is refused without a field, and with an empty one.
async fn required(p: Platform<'_>, field: &str) -> Check {
    let body = p.wishes()?;
    put(p, &without(&body, field)).await?.must_be(400)?;
    put(p, &with(&body, field, "")).await?.must_be(400)
}

async fn no_service(p: Platform<'_>) -> Check {
    required(p, "service_id").await
}

async fn unknown_service(p: Platform<'_>) -> Check {
    put(p, &with(&p.wishes()?, "service_id", "conf-unknown")).await?.must_be(400)
}

async fn no_plan(p: Platform<'_>) -> Check {
    required(p, "plan_id").await
}

async fn unknown_plan(p: Platform<'_>) -> Check {
    put(p, &with(&p.wishes()?, "plan_id", "conf-unknown")).await?.must_be(400)
}

async fn foreign_plan(p: Platform<'_>) -> Check {
    let foreign = p.offer()?.foreign_plan.as_ref().ok_or_else(|| skip("the catalog has one service only"))?;
    put(p, &with(&p.wishes()?, "plan_id", foreign["id"].clone())).await?.must_be(400)
}

async fn no_organization(p: Platform<'_>) -> Check {
    required(p, "organization_guid").await
}

async fn no_space(p: Platform<'_>) -> Check {
    required(p, "space_guid").await
}

async fn raw(p: Platform<'_>, body: &str) -> Got {
    let id = fresh();
    p.will_remove(Made::Instance(id.clone()));
    p.text("PUT", &asking(&instance(&id), ASYNC), body).await
}

async fn malformed(p: Platform<'_>) -> Check {
    let whole = p.wishes()?.to_string();
    raw(p, &whole[..whole.len() - 1]).await?.must_be(400)
}

async fn no_object(p: Platform<'_>) -> Check {
    for body in ["", "null", "[]", "\"text\""] {
        raw(p, body).await?.must_be(400)?;
    }
    Ok(())
}

async fn wrong_types(p: Platform<'_>) -> Check {
    let body = p.wishes()?;
    for (field, wrong) in [("service_id", json!(1)), ("plan_id", json!({})), ("parameters", json!("text"))] {
        put(p, &with(&body, field, wrong)).await?.must_be(400)?;
    }
    Ok(())
}

async fn content_type(p: Platform<'_>) -> Check {
    let id = fresh();
    p.will_remove(Made::Instance(id.clone()));
    let request = p.request("PUT", &asking(&instance(&id), ASYNC)).header("content-type", "text/plain");
    let answer = p.send(request.body(p.wishes()?.to_string())).await?;
    answer.must(answer.is_2xx() || matches!(answer.status, 400 | 415), "a status of 200 to 299, 400 or 415")
}

async fn accepted(p: Platform<'_>, body: &Value) -> Check {
    let answer = put(p, body).await?;
    answer.must(matches!(answer.status, 201 | 202), "201 or 202")
}

async fn unknown_fields(p: Platform<'_>) -> Check {
    let body = with(&p.wishes()?, "conf-unknown", json!({ "deep": [1, null] }));
    accepted(p, &body).await
}

async fn empty_fields(p: Platform<'_>) -> Check {
    let body = p.wishes()?;
    accepted(p, &with(&with(&body, "context", json!({})), "maintenance_info", Value::Null)).await?;
    accepted(p, &with(&body, "context", Value::Null)).await?;
    if body.get("parameters").is_some() {
        return Ok(());
    }
    accepted(p, &with(&body, "parameters", json!({}))).await?;
    accepted(p, &with(&body, "parameters", Value::Null)).await
}

async fn context(p: Platform<'_>) -> Check {
    let body = p.wishes()?;
    let clouds =
        json!({ "platform": "cloudfoundry", "organization_guid": "conf-organization", "space_guid": "conf-space" });
    let cluster = json!({ "platform": "kubernetes", "namespace": "conf", "clusterid": "conf" });
    for context in [clouds, cluster, json!({ "platform": "conf-platform", "more": { "deep": 1 } })] {
        accepted(p, &with(&body, "context", context)).await?;
    }
    Ok(())
}

async fn schema(p: Platform<'_>) -> Check {
    let breaking = p.offer()?.breaking("service_instance", "create");
    let (plan, wrong) =
        breaking.ok_or_else(|| skip("no plan has a schema for creates that says something to break"))?;
    put(p, &with(&p.wishes_on(plan)?, "parameters", wrong)).await?.must_be(400)
}

async fn other_maintenance(p: Platform<'_>) -> Check {
    let body = with(&p.wishes()?, "maintenance_info", json!({ "version": "0.0.1-conf" }));
    put(p, &body).await?.must_be_coded("MaintenanceInfoConflict")
}

async fn same_maintenance(p: Platform<'_>) -> Check {
    let version = p.offer()?.plan["maintenance_info"]["version"].clone();
    if version.is_null() {
        return Err(skip("the plan has no maintenance version"));
    }
    accepted(p, &with(&p.wishes()?, "maintenance_info", json!({ "version": version }))).await
}

async fn nothing_left(p: Platform<'_>) -> Check {
    let id = fresh();
    let refused = p.provision(&id, ASYNC, &with(&p.wishes()?, "plan_id", "conf-unknown")).await?;
    refused.must_be_4xx()?;
    p.delete(&instance(&id), &p.offer()?.plan, ASYNC).await?.must_be(410)
}
