//! Binds of jobs, and the end of an instance: A94 to A108.

use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, sleep};

use super::calls::{EVENT, USER, variables};
use crate::conformance::{
    Case, Check, End,
    answer::Answer,
    context::{Context, fresh, skip},
};

pub(super) const CASES: &[Case] = chapter! { "Jobs and removal":
    "A94" Optional a94 "A job can be bound",
    "A95" Should a95 "A service without job binds answers them 404 or 405",
    "A96" Optional a96 "The same job bind again is answered with the same names",
    "A97" Optional a97 "An app keeps its credentials when a job of its name is unbound",
    "A98" Optional a98 "A job can be unbound, and again",
    "A99" Optional a99 "A job bind of an unknown instance is answered 404, of a pending one 412",
    "A100" Optional a100 "A job bind may be JSON, or is answered 415",
    "A101" Must a101 "An instance can be removed",
    "A102" Should a102 "Removing it again is answered 404",
    "A103" Must a103 "There is no info about a removed instance",
    "A104" Should a104 "A removed instance's name is free",
    "A105" Should a105 "Removing a bound instance is answered 2xx or 4xx",
    "A106" Should a106 "A remove may be JSON, or is answered 415",
    "A107" Should a107 "A pending instance can be removed, and never becomes ready",
    "A108" Should a108 "A remove needs no body",
};

/// A bound job, the instance it is bound to, and the answer. Skips the case when jobs can't be bound.
async fn job<'c>(c: &'c Context<'_>) -> Result<(&'c str, String, Answer), End> {
    let (name, job) = (c.instance().await?, c.app());
    let answer = c.bind_job(name, &job).await?;
    if matches!(answer.status, 404 | 405) { Err(skip("the service binds no jobs")) } else { Ok((name, job, answer)) }
}

async fn a94(c: &Context<'_>) -> Check {
    variables(&job(c).await?.2).map(drop)
}

async fn a95(c: &Context<'_>) -> Check {
    let answer = c.bind_job(c.instance().await?, &c.app()).await?;
    if answer.is_2xx() {
        return Err(skip("the service binds jobs"));
    }
    answer.must(matches!(answer.status, 404 | 405), "404 or 405")
}

async fn a96(c: &Context<'_>) -> Check {
    let (name, job, first) = job(c).await?;
    let again = c.bind_job(name, &job).await?;
    again.must(variables(&again)?.keys().eq(variables(&first)?.keys()), "the names of the first answer")
}

async fn a97(c: &Context<'_>) -> Check {
    let (name, job, _) = job(c).await?;
    let env = c.bound(name, &job).await?;
    let unbound = c.unbind_job(name, &job).await?;
    unbound.must_be_2xx()?;
    unbound.must(c.opens(&env).await?, "credentials of the app that work")
}

async fn a98(c: &Context<'_>) -> Check {
    let (name, job, _) = job(c).await?;
    c.unbind_job(name, &job).await?.must_be_2xx()?;
    let again = c.unbind_job(name, &job).await?;
    again.must(again.is_2xx() || again.status == 404, "404, or a status of 200 to 299")
}

async fn a99(c: &Context<'_>) -> Check {
    job(c).await?;
    c.bind_job(&fresh(), "nightly").await?.must_be(404)?;
    let name = c.pending().await?;
    c.bind_job(&name, "nightly").await?.must_be(412)
}

async fn a100(c: &Context<'_>) -> Check {
    let (name, _, _) = job(c).await?;
    let job = c.app();
    let body = json!({"jobName": job, "user": USER, "eventID": EVENT, "jobPoolName": "pool1", "jobClusterName": "c1"});
    let answer = c.json("PUT", &format!("/resources/{name}/binds/jobs/{job}"), &body).await?;
    if answer.status == 415 { Ok(()) } else { variables(&answer).map(drop) }
}

async fn a101(c: &Context<'_>) -> Check {
    c.remove(&c.ready().await?).await?.must_be_2xx()
}

/// The name of an instance that is gone.
async fn gone(c: &Context<'_>) -> Result<String, End> {
    let name = c.ready().await?;
    c.remove(&name).await?.must_be_2xx()?;
    let info = c.until_gone(&name).await?;
    info.must(info.status != 200, "no info about a removed instance")?;
    Ok(name)
}

async fn a102(c: &Context<'_>) -> Check {
    c.remove(&gone(c).await?).await?.must_be(404)
}

async fn a103(c: &Context<'_>) -> Check {
    gone(c).await.map(drop)
}

async fn a104(c: &Context<'_>) -> Check {
    c.create(&gone(c).await?, "").await?.must_be_2xx()
}

async fn a105(c: &Context<'_>) -> Check {
    let name = c.ready().await?;
    c.bound(&name, &c.app()).await?;
    c.bind_job(&name, &c.app()).await?;
    c.remove(&name).await?.must_not_be_5xx()
}

async fn a106(c: &Context<'_>) -> Check {
    let name = c.ready().await?;
    let answer = c.json("DELETE", &format!("/resources/{name}"), &json!({"eventID": EVENT, "user": USER})).await?;
    answer.must(answer.is_2xx() || answer.status == 415, "a status of 200 to 299, or 415")
}

async fn a107(c: &Context<'_>) -> Check {
    let name = c.pending().await?;
    c.remove(&name).await?.must_be_2xx()?;
    let watched = Instant::now() + c.options.ready_within.min(Duration::from_secs(5));
    while Instant::now() < watched {
        let status = c.status(&name).await?;
        status.must(!matches!(status.status, 200 | 204), "an instance that does not become ready")?;
        sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

async fn a108(c: &Context<'_>) -> Check {
    let name = c.ready().await?;
    c.ask("DELETE", &format!("/resources/{name}")).await?.must_be_2xx()
}
