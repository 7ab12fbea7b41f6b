//! Removing instances: O91 to O103.

use super::{
    calls::{ASYNC, Got, Platform, SYNC, asking, binding, instance},
    provision::needs_parallel,
};
use crate::conformance::{Case, Check, context::fresh};

pub(super) const CASES: &[Case] = chapter! { "Deprovision", through Platform;
    "O91" Must removed "A deprovision is answered 200 or 202 with a JSON object",
    "O92" Must no_service "A deprovision without service_id is answered 400",
    "O93" Must no_plan "A deprovision without plan_id is answered 400",
    "O94" Should unknown_ids "A deprovision with an unknown service_id or plan_id is answered 400",
    "O95" Must refused_leaves "A refused deprovision leaves the instance",
    "O96" Must unknown "A deprovision of an unknown instance is answered 410",
    "O97" Must again "A deprovision again is answered 410",
    "O98" Must synchronous "Without accepts_incomplete a deprovision is answered 200, or 422 AsyncRequired",
    "O99" Must in_progress "A deprovision again while it goes on is answered 202 with the same operation, or 422 ConcurrencyError",
    "O100" Should bound "An instance that has a binding is removed, or that is answered 4xx",
    "O101" Should free "The id of a removed instance can be provisioned again",
    "O102" Must at_once "Deprovisions at once are each answered 200, 202, 410, or 422 ConcurrencyError",
    "O103" Must no_bind "A bind of a removed instance is answered 4xx",
};

/// Asks for the removal of what a path names, with a query of one's own.
pub(super) async fn with_query(p: Platform<'_>, path: &str, query: &str) -> Got {
    p.send(p.request("DELETE", &asking(path, query))).await
}

/// The part of a query that names the service, and the one that names the plan.
pub(super) fn parts(p: Platform<'_>) -> Result<(String, String), crate::conformance::End> {
    let ids = p.ids(&p.offer()?.plan)?;
    let (service, plan) = ids.split_once('&').unwrap_or_default();
    Ok((service.to_owned(), plan.to_owned()))
}

async fn remove(p: Platform<'_>, id: &str, query: &str) -> Got {
    p.delete(&instance(id), &p.offer()?.plan, query).await
}

async fn removed(p: Platform<'_>) -> Check {
    let id = p.ready().await?;
    let answer = remove(p, &id, ASYNC).await?;
    answer.must(matches!(answer.status, 200 | 202), "200 or 202")?;
    answer.object()?;
    p.settled(&instance(&id), &answer).await
}

async fn no_service(p: Platform<'_>) -> Check {
    let (path, (_, plan)) = (instance(p.instance().await?), parts(p)?);
    with_query(p, &path, &plan).await?.must_be(400)?;
    with_query(p, &path, &format!("service_id=&{plan}")).await?.must_be(400)
}

async fn no_plan(p: Platform<'_>) -> Check {
    let (path, (service, _)) = (instance(p.instance().await?), parts(p)?);
    with_query(p, &path, &service).await?.must_be(400)?;
    with_query(p, &path, &format!("{service}&plan_id=")).await?.must_be(400)
}

async fn unknown_ids(p: Platform<'_>) -> Check {
    let (path, (service, plan)) = (instance(p.instance().await?), parts(p)?);
    with_query(p, &path, &format!("service_id=conf-unknown&{plan}")).await?.must_be(400)?;
    with_query(p, &path, &format!("{service}&plan_id=conf-unknown")).await?.must_be(400)
}

async fn refused_leaves(p: Platform<'_>) -> Check {
    let id = p.ready().await?;
    with_query(p, &instance(&id), "").await?.must_be_4xx()?;
    p.provision(&id, ASYNC, &p.wishes()?).await?.must_be(200)
}

async fn unknown(p: Platform<'_>) -> Check {
    remove(p, &fresh(), ASYNC).await?.must_be(410)
}

async fn again(p: Platform<'_>) -> Check {
    let id = p.ready().await?;
    p.gone_at_last(&instance(&id)).await?;
    remove(p, &id, ASYNC).await?.must_be(410)
}

async fn synchronous(p: Platform<'_>) -> Check {
    let plan = p.slow_plan()?;
    let answer = p.delete(&instance(&p.ready_on(plan).await?), plan, SYNC).await?;
    if answer.status == 200 { Ok(()) } else { answer.must_be_coded("AsyncRequired") }
}

async fn in_progress(p: Platform<'_>) -> Check {
    let first = p.pending_removal().await?;
    let again = p.delete(&instance(&first.id), p.slow_plan()?, ASYNC).await?;
    p.must_join_or_wait(&instance(&first.id), &first.answer, &again).await
}

async fn bound(p: Platform<'_>) -> Check {
    let id = p.ready().await?;
    p.bound(&id).await?;
    remove(p, &id, ASYNC).await?.must_not_be_5xx()
}

async fn free(p: Platform<'_>) -> Check {
    let id = p.ready().await?;
    p.gone_at_last(&instance(&id)).await?;
    let answer = p.provision(&id, ASYNC, &p.wishes()?).await?;
    answer.must(matches!(answer.status, 201 | 202), "201 or 202")
}

async fn at_once(p: Platform<'_>) -> Check {
    needs_parallel(p, 3)?;
    let id = p.ready().await?;
    let delete = || remove(p, &id, ASYNC);
    let (one, two, three) = tokio::join!(delete(), delete(), delete());
    [one?, two?, three?].iter().try_for_each(|answer| answer.must_be_any_or_busy(&[200, 202, 410]))?;
    p.gone_at_last(&instance(&id)).await
}

async fn no_bind(p: Platform<'_>) -> Check {
    p.is_bindable()?;
    let (id, bind) = (p.ready().await?, fresh());
    p.gone_at_last(&instance(&id)).await?;
    let body = p.binding_on(&p.offer()?.plan)?.to_string();
    p.text("PUT", &asking(&binding(&id, &bind), ASYNC), &body).await?.must_be_4xx()
}
