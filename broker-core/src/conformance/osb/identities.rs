//! Who is behind a request, and which request it is: O26 to O30.

use super::calls::{ASYNC, Got, JSON, Platform, asking, instance};
use crate::conformance::{Case, Check, answer::Answer, context::fresh, osb::Made};

pub(super) const CASES: &[Case] = chapter! { "Identities", through Platform;
    "O26" Must originator "A request that says on whose behalf it is sent is served as any other",
    "O27" Must unknown_platform "The originating identity may be one of a platform that the broker does not know",
    "O28" Should malformed "A malformed originating identity is ignored, or answered 400",
    "O29" Should echoed "A request's identity is given back with its answer",
    "O30" Should echoed_with_refusal "A request's identity is given back with a refusal",
};

const ORIGIN: &str = "x-broker-api-originating-identity";
const REQUEST: &str = "x-broker-api-request-identity";
/// `{"user_id":"conf"}`
const SOMEBODY: &str = "eyJ1c2VyX2lkIjoiY29uZiJ9";

/// A provision with a header more.
async fn provision_with(p: Platform<'_>, header: &str, value: &str) -> Got {
    let id = fresh();
    p.will_remove(Made::Instance(id.clone()));
    let request = p.request("PUT", &asking(&instance(&id), ASYNC)).header(header, value);
    p.send(request.header("content-type", JSON).body(p.wishes()?.to_string())).await
}

async fn originator(p: Platform<'_>) -> Check {
    provision_with(p, ORIGIN, &format!("cloudfoundry {SOMEBODY}")).await?.must_be_2xx()
}

async fn unknown_platform(p: Platform<'_>) -> Check {
    provision_with(p, ORIGIN, &format!("conf-platform {SOMEBODY}")).await?.must_be_2xx()
}

async fn malformed(p: Platform<'_>) -> Check {
    for value in ["cloudfoundry", "cloudfoundry %%%", "cloudfoundry bm8ganNvbg=="] {
        let answer = provision_with(p, ORIGIN, value).await?;
        answer.must(answer.is_2xx() || answer.status == 400, "a status of 200 to 299, or 400")?;
    }
    Ok(())
}

fn must_echo(answer: &Answer, identity: &str) -> Check {
    answer.must(answer.header(REQUEST) == Some(identity), &format!("the header {REQUEST}: {identity}"))
}

async fn echoed(p: Platform<'_>) -> Check {
    let answer = provision_with(p, REQUEST, "conf-request-1").await?;
    answer.must_be_2xx()?;
    must_echo(&answer, "conf-request-1")
}

async fn echoed_with_refusal(p: Platform<'_>) -> Check {
    let request = p.request("PUT", &instance(&fresh())).header(REQUEST, "conf-request-2");
    let answer = p.send(request.header("content-type", JSON).body("{}")).await?;
    answer.must_be_4xx()?;
    must_echo(&answer, "conf-request-2")
}
