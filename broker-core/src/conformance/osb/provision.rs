//! Making instances: O31 to O46.

use serde_json::Value;

use super::calls::{ASYNC, Platform, SYNC, asking, error, instance, operation, with};
use super::clean_up::Made;
use super::pending::other_wishes;
use crate::conformance::{
    Case, Check, End,
    answer::Answer,
    context::{fresh, skip},
};

pub(super) const CASES: &[Case] = chapter! { "Provision", through Platform;
    "O31" Must made "A provision is answered 201, or 202 when the platform accepts unfinished work",
    "O32" Must answered "The answer is a JSON object; its dashboard_url and operation are texts or null",
    "O33" Must synchronous "Without accepts_incomplete a provision is answered 201, or 422 AsyncRequired",
    "O34" Should unclear "accepts_incomplete=false means no, and a value that means nothing means no or is answered 400",
    "O35" Should again "The same provision again is answered 200",
    "O36" Must other_plan "A provision of the same id on another plan is answered 409",
    "O37" Must other_owner "A provision of the same id for another organization or space is answered 409",
    "O38" Must other_parameters "A provision of the same id with other parameters is answered 409, or 400",
    "O39" Must in_progress "The same provision again while it goes on is answered 202 with the same operation",
    "O40" Must other_in_progress "Another provision of an id while one goes on is answered 409",
    "O41" Must at_once "Of three same provisions at once one makes the instance, and the others hear of it",
    "O42" Must rivals "Of two different provisions of an id at once at most one is accepted",
    "O43" Must guid "An id may be a GUID",
    "O44" Should encoded "An id is the same whether or not it is percent-encoded",
    "O45" Should reserved "An id with reserved characters is accepted, or answered 400",
    "O46" Should long "An id of 300 characters is accepted, or answered 4xx",
};

async fn made(p: Platform<'_>) -> Check {
    let answer = p.provision(&fresh(), ASYNC, &p.wishes()?).await?;
    answer.must(matches!(answer.status, 201 | 202), "201 or 202")
}

async fn answered(p: Platform<'_>) -> Check {
    let answer = p.provision(&fresh(), ASYNC, &p.wishes()?).await?;
    answer.must_be_2xx()?;
    let body = answer.object()?;
    let text = |value: &Value| value.is_null() || value.as_str().is_some_and(|text| text.len() <= 10_000);
    answer.must(text(&body["dashboard_url"]) && text(&body["operation"]), "texts of at most 10000 characters, or null")
}

async fn synchronous(p: Platform<'_>) -> Check {
    let answer = p.provision(&fresh(), SYNC, &p.wishes_on(p.slow_plan()?)?).await?;
    if answer.status == 201 { Ok(()) } else { answer.must_be_coded("AsyncRequired") }
}

async fn unclear(p: Platform<'_>) -> Check {
    for (query, expected) in [
        ("accepts_incomplete=false", "201, or 422 AsyncRequired"),
        ("accepts_incomplete=maybe", "201, 422 AsyncRequired or 400"),
    ] {
        let answer = p.provision(&fresh(), query, &p.wishes_on(p.slow_plan()?)?).await?;
        let refused = answer.status == 422 && error(&answer) == "AsyncRequired";
        let unclear = answer.status == 400 && query.ends_with("maybe");
        answer.must(refused || unclear || answer.status == 201, expected)?;
    }
    Ok(())
}

/// A provision that is done, and what it asked for.
async fn done(p: Platform<'_>) -> Result<(String, Value), End> {
    let (id, body) = (fresh(), p.wishes()?);
    let answer = p.provision(&id, ASYNC, &body).await?;
    p.settled(&instance(&id), &answer).await?;
    Ok((id, body))
}

async fn again(p: Platform<'_>) -> Check {
    let (id, body) = done(p).await?;
    p.provision(&id, ASYNC, &body).await?.must_be(200)
}

async fn other_plan(p: Platform<'_>) -> Check {
    let other = p.offer()?.other_plan.as_ref().ok_or_else(|| skip("the service has one plan only"))?;
    let (id, body) = done(p).await?;
    p.provision(&id, ASYNC, &with(&body, "plan_id", other["id"].clone())).await?.must_be(409)
}

async fn other_owner(p: Platform<'_>) -> Check {
    let (id, body) = done(p).await?;
    for field in ["organization_guid", "space_guid"] {
        p.provision(&id, ASYNC, &with(&body, field, "conf-another")).await?.must_be(409)?;
    }
    Ok(())
}

async fn other_parameters(p: Platform<'_>) -> Check {
    let (id, body) = done(p).await?;
    let answer = p.provision(&id, ASYNC, &other_wishes(&body)).await?;
    answer.must(matches!(answer.status, 409 | 400), "409 or 400")
}

async fn in_progress(p: Platform<'_>) -> Check {
    let first = p.pending_provision().await?;
    let again = p.provision(&first.id, ASYNC, &first.body).await?;
    p.must_join(&instance(&first.id), &first.answer, &again).await
}

async fn other_in_progress(p: Platform<'_>) -> Check {
    let first = p.pending_provision().await?;
    p.provision(&first.id, ASYNC, &with(&first.body, "space_guid", "conf-another")).await?.must_be(409)
}

/// Skips a case that needs several requests at once.
pub(super) fn needs_parallel(p: Platform<'_>, wanted: usize) -> Check {
    let reason = || skip(&format!("needs {wanted} requests at once: --parallel {wanted}"));
    if p.0.options.parallel < wanted { Err(reason()) } else { Ok(()) }
}

/// Insists that of several same requests at once one does it: at most one 201, at most one operation.
pub(super) fn must_be_one(answers: &[Answer], allowed: &[u16]) -> Check {
    for answer in answers {
        answer.must_be_any_or_busy(allowed)?;
    }
    let made = answers.iter().filter(|answer| answer.status == 201).count();
    let mut operations: Vec<_> = answers.iter().filter(|answer| answer.status == 202).map(operation).collect();
    operations.dedup();
    let one = made <= 1 && operations.len() <= 1 && answers.iter().any(Answer::is_2xx);
    answers[0].must(one, "at most one 201, and one operation, among the answers")
}

async fn at_once(p: Platform<'_>) -> Check {
    needs_parallel(p, 3)?;
    let (id, body) = (fresh(), p.wishes()?);
    let put = || p.provision(&id, ASYNC, &body);
    let (one, two, three) = tokio::join!(put(), put(), put());
    must_be_one(&[one?, two?, three?], &[200, 201, 202])?;
    p.gone_at_last(&instance(&id)).await?;
    p.delete(&instance(&id), &p.offer()?.plan, ASYNC).await?.must_be(410)
}

async fn rivals(p: Platform<'_>) -> Check {
    needs_parallel(p, 2)?;
    let (id, body) = (fresh(), p.wishes()?);
    let other = with(&body, "space_guid", "conf-another");
    let (one, two) = tokio::join!(p.provision(&id, ASYNC, &body), p.provision(&id, ASYNC, &other));
    let answers = [one?, two?];
    answers.iter().try_for_each(|answer| answer.must_be_any_or_busy(&[201, 202, 409]))?;
    let refused = answers.iter().any(|answer| !answer.is_2xx());
    answers[1].must(refused, "409, or 422 ConcurrencyError, for one of two different provisions")
}

async fn guid(p: Platform<'_>) -> Check {
    let random = hex::encode(rand::random::<[u8; 6]>());
    let answer = p.provision(&format!("1b5c0bd4-52dc-4b5a-a372-{random}"), ASYNC, &p.wishes()?).await?;
    answer.must(matches!(answer.status, 201 | 202), "201 or 202")
}

async fn encoded(p: Platform<'_>) -> Check {
    let (plain, body) = (format!("{}~a", fresh()), p.wishes()?);
    let answer = p.provision(&plain, ASYNC, &body).await?;
    p.settled(&instance(&plain), &answer).await?;
    let path = instance(&plain).replace('~', "%7E");
    p.text("PUT", &asking(&path, ASYNC), &body.to_string()).await?.must_be(200)
}

/// A provision of an id that a broker may refuse; what it refuses is not there to be removed.
async fn odd(p: Platform<'_>, id: &str) -> Result<Answer, End> {
    let answer = p.provision(id, ASYNC, &p.wishes()?).await?;
    if answer.is_4xx() {
        p.need_not_remove(&Made::Instance(id.to_owned()));
    }
    Ok(answer)
}

async fn reserved(p: Platform<'_>) -> Check {
    let answer = odd(p, &format!("{} a:b/c?d", fresh())).await?;
    answer.must(answer.is_2xx() || answer.status == 400, "a status of 200 to 299, or 400")
}

async fn long(p: Platform<'_>) -> Check {
    odd(p, &format!("{}{}", fresh(), "x".repeat(283))).await?.must_not_be_5xx()
}
