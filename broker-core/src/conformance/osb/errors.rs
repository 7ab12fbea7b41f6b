//! How a broker says no: O180 to O186.

use serde_json::Value;

use super::calls::{ASYNC, Platform, SYNC, binding, instance, with};
use crate::conformance::{
    Case, Check, End,
    answer::Answer,
    context::{fresh, lock, no_answer},
};

pub(super) const CASES: &[Case] = chapter! { "Errors", through Platform;
    "O180" Should described "A refusal is a JSON object with a description",
    "O181" Must coded "A refusal's error, where there is one, is a single word",
    "O182" Must silent "No refusal tells a password or anything that a bind gave",
    "O183" Must no_crash "No request that is refused is answered 5xx",
    "O184" Should typed "A refusal is sent as application/json",
    "O185" Should unknown_path "A path that is none is answered 404",
    "O186" Should unknown_method "A method that is none of a path's is answered 404 or 405",
};

/// Refusals of many kinds: what this chapter asks for, and all that the cases before were answered.
async fn refusals(p: Platform<'_>) -> Result<Vec<Answer>, End> {
    let (of, wishes) = (p.instance().await?, p.wishes()?);
    let password = p.0.options.password.expose();
    p.provision(&fresh(), ASYNC, &with(&wishes, "service_id", "")).await?;
    p.provision(&fresh(), ASYNC, &with(&wishes, "plan_id", "conf-unknown")).await?;
    p.provision(of, ASYNC, &with(&wishes, "space_guid", "conf-another")).await?;
    p.provision(of, ASYNC, &with(&wishes, "service_id", password)).await?;
    p.text("PUT", &instance(&fresh()), "{").await?;
    p.get(&instance(&fresh())).await?;
    p.delete(&instance(&fresh()), &p.offer()?.plan, SYNC).await?;
    if p.is_bindable().is_ok() {
        let (id, _) = p.bound(of).await?;
        let body = with(&p.binding_on(&p.offer()?.plan)?, "parameters", serde_json::json!({ "conf-other": "yes" }));
        p.bind(of, &id, ASYNC, &body).await?;
        p.delete(&binding(of, &fresh()), &p.offer()?.plan, SYNC).await?;
        p.gone_at_last(&binding(of, &id)).await?;
    }
    let all = p.0.refusals().into_iter();
    Ok(all.filter(|answer| answer.request.contains("/v2/")).collect())
}

/// Those that a broker has written itself: what is not let in, and what has no path, may be answered before it.
async fn own_refusals(p: Platform<'_>) -> Result<Vec<Answer>, End> {
    let own = |answer: &Answer| !matches!(answer.status, 401 | 405) && !answer.request.contains("conf-no-path");
    Ok(refusals(p).await?.into_iter().filter(own).collect())
}

async fn described(p: Platform<'_>) -> Check {
    own_refusals(p).await?.iter().try_for_each(|answer| {
        let body = answer.object()?;
        answer.must(body["description"].as_str().is_some_and(|text| !text.is_empty()), "a description that says why")
    })
}

async fn coded(p: Platform<'_>) -> Check {
    let word = |error: &Value| {
        let letters = |text: &str| !text.is_empty() && text.chars().all(|letter| letter.is_ascii_alphanumeric());
        error.as_str().is_some_and(letters)
    };
    own_refusals(p).await?.iter().try_for_each(|answer| {
        let error = answer.json().and_then(|body| body.get("error").cloned());
        answer.must(error.is_none_or(|error| word(&error)), "an error of one word")
    })
}

async fn silent(p: Platform<'_>) -> Check {
    let refusals = refusals(p).await?;
    let mut secrets = lock(&p.0.secrets).clone();
    secrets.insert(p.0.options.password.expose().to_owned());
    // A short one may be part of a name by chance.
    secrets.retain(|secret| secret.len() >= 6);
    refusals.iter().try_for_each(|answer| {
        let tells = secrets.iter().any(|secret| answer.body.contains(secret));
        // What is told is not shown again.
        let seen = format!("{} answered {} with a secret in its body", answer.request, answer.status);
        if tells { Err(no_answer("no secret in the body", seen)) } else { Ok(()) }
    })
}

async fn no_crash(p: Platform<'_>) -> Check {
    refusals(p).await?.iter().try_for_each(|answer| answer.must_not_be_5xx())
}

async fn typed(p: Platform<'_>) -> Check {
    own_refusals(p).await?.iter().try_for_each(|answer| {
        let kind = answer.header("content-type").unwrap_or_default().to_lowercase();
        answer.must(kind.starts_with("application/json"), "the content type application/json")
    })
}

async fn unknown_path(p: Platform<'_>) -> Check {
    p.get("/v2/conf-no-path").await?.must_be(404)
}

async fn unknown_method(p: Platform<'_>) -> Check {
    let answer = p.send(p.request("POST", "/v2/catalog")).await?;
    answer.must(matches!(answer.status, 404 | 405), "404 or 405")
}
