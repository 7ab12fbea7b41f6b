//! Who may ask, and in which version: O17 to O25.

use reqwest::RequestBuilder;
use serde_json::Value;

use super::{
    calls::{JSON, Platform, VERSION, asking, binding, instance},
    clean_up::Made,
};
use crate::conformance::{Case, Check, End, answer::Answer, context::fresh};

pub(super) const CASES: &[Case] = chapter! { "Authentication and version", through Platform;
    "O17" Must no_credentials "Without credentials every route answers 401",
    "O18" Must wrong_user "With another user name every route answers 401",
    "O19" Must wrong_password "With another password every route answers 401",
    "O20" Must refused_has_no_effect "What is answered 401 has no effect",
    "O21" Should no_version "Without a version every route answers 412, or 400",
    "O22" Must other_major "Another major version is answered 412 on every route",
    "O23" Must newer_minor "A newer minor version is understood",
    "O24" Should older_minor "An older minor version is understood, or answered 412",
    "O25" Must unversioned_has_no_effect "What is answered 412 has no effect",
};

/// A method, a path and a body.
type Route = (&'static str, String, Option<Value>);

/// Every route, about an instance and a binding that are not there, with all that a right request has.
fn routes(p: Platform<'_>) -> Result<Vec<Route>, End> {
    let (of, to) = (instance(&fresh()), binding(&fresh(), &fresh()));
    let plan = &p.offer()?.plan;
    let (ids, wishes, bind) = (p.ids(plan)?, p.wishes()?, p.binding_on(plan)?);
    Ok(vec![
        ("GET", "/v2/catalog".to_owned(), None),
        ("PUT", of.clone(), Some(wishes.clone())),
        ("GET", of.clone(), None),
        ("PATCH", of.clone(), Some(wishes)),
        ("DELETE", asking(&of, &ids), None),
        ("GET", format!("{of}/last_operation"), None),
        ("PUT", to.clone(), Some(bind)),
        ("GET", to.clone(), None),
        ("DELETE", asking(&to, &ids), None),
        ("GET", format!("{to}/last_operation"), None),
    ])
}

/// Asks on every route, and insists on something of each answer. `prepare` completes a bare request.
async fn everywhere(
    p: Platform<'_>,
    prepare: impl Fn(RequestBuilder) -> RequestBuilder,
    right: impl Fn(&Answer) -> Check,
) -> Check {
    for (method, path, body) in routes(p)? {
        let request = prepare(p.0.anonymous(method, &path));
        let request = match body {
            Some(body) => request.header("content-type", JSON).body(body.to_string()),
            None => request,
        };
        right(&p.send(request).await?)?;
    }
    Ok(())
}

async fn refused(p: Platform<'_>, credentials: impl Fn(RequestBuilder) -> RequestBuilder) -> Check {
    everywhere(p, |request| credentials(request.header(VERSION, "2.17")), |answer| answer.must_be(401)).await
}

fn known(p: Platform<'_>, request: RequestBuilder) -> RequestBuilder {
    request.basic_auth(&p.0.options.username, Some(p.0.options.password.expose()))
}

async fn no_credentials(p: Platform<'_>) -> Check {
    refused(p, |request| request).await
}

async fn wrong_user(p: Platform<'_>) -> Check {
    refused(p, |request| request.basic_auth("conf-nobody", Some(p.0.options.password.expose()))).await
}

async fn wrong_password(p: Platform<'_>) -> Check {
    refused(p, |request| request.basic_auth(&p.0.options.username, Some("conf-wrong"))).await
}

/// Insists that a refused provision leaves nothing that could be removed.
async fn has_no_effect(p: Platform<'_>, status: u16, request: impl Fn(RequestBuilder) -> RequestBuilder) -> Check {
    let id = fresh();
    p.will_remove(Made::Instance(id.clone()));
    let request = request(p.0.anonymous("PUT", &instance(&id)));
    let answer = p.send(request.header("content-type", JSON).body(p.wishes()?.to_string())).await?;
    answer.must_be(status)?;
    p.delete(&instance(&id), &p.offer()?.plan, "").await?.must_be(410)
}

async fn refused_has_no_effect(p: Platform<'_>) -> Check {
    has_no_effect(p, 401, |request| request.header(VERSION, "2.17")).await
}

async fn unversioned_has_no_effect(p: Platform<'_>) -> Check {
    has_no_effect(p, 412, |request| known(p, request).header(VERSION, "1.0")).await
}

async fn no_version(p: Platform<'_>) -> Check {
    let right = |answer: &Answer| answer.must(matches!(answer.status, 400 | 412), "412 or 400");
    everywhere(p, |request| known(p, request), right).await
}

async fn other_major(p: Platform<'_>) -> Check {
    for version in ["1.0", "3.0"] {
        everywhere(p, |request| known(p, request).header(VERSION, version), |answer| answer.must_be(412)).await?;
    }
    Ok(())
}

async fn in_version(p: Platform<'_>, version: &str) -> Result<Answer, End> {
    p.send(known(p, p.0.anonymous("GET", "/v2/catalog")).header(VERSION, version)).await
}

async fn newer_minor(p: Platform<'_>) -> Check {
    in_version(p, "2.99").await?.must_be(200)
}

async fn older_minor(p: Platform<'_>) -> Check {
    let answer = in_version(p, "2.13").await?;
    answer.must(matches!(answer.status, 200 | 412), "200 or 412")
}
