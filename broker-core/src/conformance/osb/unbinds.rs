//! Unbinding apps: O143 to O156.

use super::{
    calls::{ASYNC, Got, Platform, SYNC, binding, credentials},
    provision::needs_parallel,
    removal::{parts, with_query},
};
use crate::conformance::{
    Case, Check, End,
    answer::Answer,
    context::{fresh, skip},
};

pub(super) const CASES: &[Case] = chapter! { "Unbind", through Platform;
    "O143" Must unbound "An unbind is answered 200 or 202 with a JSON object",
    "O144" Must no_service "An unbind without service_id is answered 400",
    "O145" Must no_plan "An unbind without plan_id is answered 400",
    "O146" Should unknown_ids "An unbind with an unknown service_id or plan_id is answered 400",
    "O147" Must refused_leaves "A refused unbind leaves the binding",
    "O148" Must unknown "An unbind of an unknown binding is answered 410",
    "O149" Must again "An unbind again is answered 410",
    "O150" Should unknown_instance "An unbind from an unknown instance is answered 410 or 404",
    "O151" Must synchronous "Without accepts_incomplete an unbind is answered 200, or 422 AsyncRequired",
    "O152" Must in_progress "An unbind again while it goes on is answered 202 with the same operation, or 422 ConcurrencyError",
    "O153" Must ends "Credentials end with their binding",
    "O154" Must others_live "Credentials outlive another binding's end",
    "O155" Should free "The id of a removed binding can be bound again",
    "O156" Must at_once "Unbinds at once are each answered 200, 202, 410, or 422 ConcurrencyError",
};

async fn unbind(p: Platform<'_>, of: &str, id: &str) -> Got {
    p.delete(&binding(of, id), &p.offer()?.plan, ASYNC).await
}

async fn unbound(p: Platform<'_>) -> Check {
    let of = p.instance().await?;
    let (id, _) = p.bound(of).await?;
    let answer = unbind(p, of, &id).await?;
    answer.must(matches!(answer.status, 200 | 202), "200 or 202")?;
    answer.object()?;
    p.settled(&binding(of, &id), &answer).await
}

/// The path of a new binding.
async fn path(p: Platform<'_>) -> Result<String, End> {
    let of = p.instance().await?;
    let (id, _) = p.bound(of).await?;
    Ok(binding(of, &id))
}

async fn no_service(p: Platform<'_>) -> Check {
    let (path, (_, plan)) = (path(p).await?, parts(p)?);
    with_query(p, &path, &plan).await?.must_be(400)?;
    with_query(p, &path, &format!("service_id=&{plan}")).await?.must_be(400)
}

async fn no_plan(p: Platform<'_>) -> Check {
    let (path, (service, _)) = (path(p).await?, parts(p)?);
    with_query(p, &path, &service).await?.must_be(400)?;
    with_query(p, &path, &format!("{service}&plan_id=")).await?.must_be(400)
}

async fn unknown_ids(p: Platform<'_>) -> Check {
    let (path, (service, plan)) = (path(p).await?, parts(p)?);
    with_query(p, &path, &format!("service_id=conf-unknown&{plan}")).await?.must_be(400)?;
    with_query(p, &path, &format!("{service}&plan_id=conf-unknown")).await?.must_be(400)
}

async fn refused_leaves(p: Platform<'_>) -> Check {
    let of = p.instance().await?;
    let (id, _) = p.bound(of).await?;
    with_query(p, &binding(of, &id), "").await?.must_be_4xx()?;
    p.bind(of, &id, ASYNC, &p.binding_on(&p.offer()?.plan)?).await?.must_be(200)
}

async fn unknown(p: Platform<'_>) -> Check {
    p.is_bindable()?;
    unbind(p, p.instance().await?, &fresh()).await?.must_be(410)
}

async fn again(p: Platform<'_>) -> Check {
    let of = p.instance().await?;
    let (id, _) = p.bound(of).await?;
    p.gone_at_last(&binding(of, &id)).await?;
    unbind(p, of, &id).await?.must_be(410)
}

async fn unknown_instance(p: Platform<'_>) -> Check {
    p.is_bindable()?;
    let answer = unbind(p, &fresh(), &fresh()).await?;
    answer.must(matches!(answer.status, 404 | 410), "410 or 404")
}

async fn synchronous(p: Platform<'_>) -> Check {
    p.is_bindable()?;
    let (plan, id) = (p.slow_plan()?, fresh());
    let of = p.ready_on(plan).await?;
    let made = p.bind(&of, &id, ASYNC, &p.binding_on(plan)?).await?;
    p.settled(&binding(&of, &id), &made).await?;
    let answer = p.delete(&binding(&of, &id), plan, SYNC).await?;
    if answer.status == 200 { Ok(()) } else { answer.must_be_coded("AsyncRequired") }
}

async fn in_progress(p: Platform<'_>) -> Check {
    let first = p.pending_unbind().await?;
    let path = binding(p.slow_instance().await?, &first.id);
    let again = p.delete(&path, p.slow_plan()?, ASYNC).await?;
    p.must_join_or_wait(&path, &first.answer, &again).await
}

/// A binding whose credentials can be tried.
async fn tried(p: Platform<'_>, of: &str) -> Result<(String, Answer), End> {
    let (id, answer) = p.bound(of).await?;
    if credentials(&answer).is_empty() {
        return Err(skip("a bind gives no credentials"));
    }
    answer.must(p.0.opens(&credentials(&answer)).await?, "credentials that work")?;
    Ok((id, answer))
}

async fn ends(p: Platform<'_>) -> Check {
    let of = p.instance().await?;
    let (id, answer) = tried(p, of).await?;
    p.gone_at_last(&binding(of, &id)).await?;
    answer.must(!p.0.opens(&credentials(&answer)).await?, "credentials that no longer work")
}

async fn others_live(p: Platform<'_>) -> Check {
    let of = p.instance().await?;
    let ((one, _), (_, kept)) = (p.bound(of).await?, tried(p, of).await?);
    p.gone_at_last(&binding(of, &one)).await?;
    kept.must(p.0.opens(&credentials(&kept)).await?, "credentials that still work")
}

async fn free(p: Platform<'_>) -> Check {
    let of = p.instance().await?;
    let (id, _) = p.bound(of).await?;
    p.gone_at_last(&binding(of, &id)).await?;
    let answer = p.bind(of, &id, ASYNC, &p.binding_on(&p.offer()?.plan)?).await?;
    answer.must(matches!(answer.status, 201 | 202), "201 or 202")
}

async fn at_once(p: Platform<'_>) -> Check {
    needs_parallel(p, 3)?;
    let of = p.instance().await?;
    let (id, _) = p.bound(of).await?;
    let (one, two, three) = tokio::join!(unbind(p, of, &id), unbind(p, of, &id), unbind(p, of, &id));
    [one?, two?, three?].iter().try_for_each(|answer| answer.must_be_any_or_busy(&[200, 202, 410]))?;
    p.gone_at_last(&binding(of, &id)).await
}
