//! How work on instances stands: O104 to O112.

use super::calls::{ASYNC, Platform, asking, instance, polling, state};
use crate::conformance::{Case, Check, answer::Answer, context::fresh};

pub(super) const CASES: &[Case] = chapter! { "Last operation of an instance", through Platform;
    "O104" Must states "A provision that goes on is in progress until it has succeeded",
    "O105" Should ready "The last operation of an instance that is ready has succeeded",
    "O106" Should stays "What has succeeded stays so",
    "O107" Should unknown "The last operation of an unknown instance is answered 404 or 410",
    "O108" Should unknown_operation "An operation that nobody began is answered 4xx",
    "O109" Must hints "A platform may name the service and the plan",
    "O110" Must retry_after "Retry-After, where it is sent, is a number of seconds or a date",
    "O111" Must removal "A removal that goes on ends with 410, or has succeeded",
    "O112" Should gone "The last operation of a removed instance is answered 410 or 404, or has succeeded",
};

/// Whether an answer tells how an operation stands, as platforms can read it.
pub(super) fn must_tell(answer: &Answer) -> Check {
    answer.must_be(200)?;
    let body = answer.object()?;
    let told = matches!(state(answer).as_str(), "in progress" | "succeeded" | "failed");
    let described = body.get("description").is_none_or(|text| text.is_string() || text.is_null());
    answer.must(told && described, "a state of in progress, succeeded or failed, and a description that is a text")
}

/// Whether a Retry-After header, where there is one, can be read.
pub(super) fn must_pace(answer: &Answer) -> Check {
    let Some(after) = answer.header("retry-after") else { return Ok(()) };
    let right = after.parse::<u32>().is_ok() || chrono::DateTime::parse_from_rfc2822(after).is_ok();
    answer.must(right, "Retry-After with a number of seconds or a date")
}

/// Whether what is asked about is no more.
pub(super) fn must_be_over(answer: &Answer) -> Check {
    let over = matches!(answer.status, 404 | 410) || state(answer) == "succeeded";
    answer.must(over, "410, 404, or the state succeeded")
}

async fn states(p: Platform<'_>) -> Check {
    let first = p.pending_provision().await?;
    let early = p.get(&polling(&instance(&first.id), &first.answer)).await?;
    must_tell(&early)?;
    early.must(state(&early) == "in progress", "the state \"in progress\"")?;
    let last = p.ended(&instance(&first.id), &first.answer).await?;
    must_tell(&last)?;
    last.must(state(&last) == "succeeded", "the state \"succeeded\"")
}

async fn ready(p: Platform<'_>) -> Check {
    let answer = p.get(&format!("{}/last_operation", instance(p.instance().await?))).await?;
    must_tell(&answer)?;
    answer.must(state(&answer) == "succeeded", "the state \"succeeded\"")
}

async fn stays(p: Platform<'_>) -> Check {
    let first = p.pending_provision().await?;
    p.settled(&instance(&first.id), &first.answer).await?;
    for _ in 0..2 {
        let answer = p.get(&polling(&instance(&first.id), &first.answer)).await?;
        answer.must(state(&answer) == "succeeded", "the state \"succeeded\" still")?;
    }
    Ok(())
}

async fn unknown(p: Platform<'_>) -> Check {
    let answer = p.get(&format!("{}/last_operation", instance(&fresh()))).await?;
    answer.must(matches!(answer.status, 404 | 410), "404 or 410")
}

async fn unknown_operation(p: Platform<'_>) -> Check {
    let path = instance(p.instance().await?);
    p.get(&format!("{path}/last_operation?operation=conf-unknown")).await?.must_be_4xx()
}

async fn hints(p: Platform<'_>) -> Check {
    let path = format!("{}/last_operation", instance(p.instance().await?));
    let bare = p.get(&path).await?;
    let hinted = p.get(&asking(&path, &p.ids(&p.offer()?.plan)?)).await?;
    hinted.must(hinted.status == bare.status, &format!("{}, as without them", bare.status))
}

async fn retry_after(p: Platform<'_>) -> Check {
    let first = p.pending_provision().await?;
    must_pace(&p.get(&polling(&instance(&first.id), &first.answer)).await?)
}

async fn removal(p: Platform<'_>) -> Check {
    let first = p.pending_removal().await?;
    let last = p.ended(&instance(&first.id), &first.answer).await?;
    last.must(last.status == 410 || state(&last) == "succeeded", "410, or the state succeeded")
}

async fn gone(p: Platform<'_>) -> Check {
    let id = p.ready().await?;
    let answer = p.delete(&instance(&id), &p.offer()?.plan, ASYNC).await?;
    p.settled(&instance(&id), &answer).await?;
    must_be_over(&p.get(&format!("{}/last_operation", instance(&id))).await?)
}
