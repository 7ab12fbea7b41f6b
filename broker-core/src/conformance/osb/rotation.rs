//! Bindings that take the place of others: O174 to O179.

use serde_json::Value;

use super::calls::{ASYNC, Platform, binding, credentials, must_have_secrets, with};
use crate::conformance::{
    Case, Check, End,
    answer::Answer,
    context::{fresh, skip},
};

pub(super) const CASES: &[Case] = chapter! { "Rotation of bindings", through Platform;
    "O174" Optional successor "A binding can take the place of another one",
    "O175" Optional own_credentials "A successor has credentials of its own",
    "O176" Optional predecessor_lives "The predecessor's credentials stay until it is unbound",
    "O177" Optional unknown "A successor of an unknown binding is answered 4xx",
    "O178" Optional again "The same successor again is answered 200",
    "O179" Optional outlives "A successor outlives its predecessor",
};

/// A binding and its successor: the id and the answer of each.
struct Pair {
    old: (String, Answer),
    new: (String, Answer),
    body: Value,
}

fn claimed(p: Platform<'_>) -> Check {
    let claims = p.offer()?.plan["binding_rotatable"] == true;
    if claims { p.is_bindable() } else { Err(skip("the plan does not claim binding_rotatable")) }
}

async fn pair(p: Platform<'_>) -> Result<Pair, End> {
    claimed(p)?;
    let of = p.instance().await?;
    let (old, id) = (p.bound(of).await?, fresh());
    let body = with(&p.binding_on(&p.offer()?.plan)?, "predecessor_binding_id", old.0.clone());
    let answer = p.bind(of, &id, ASYNC, &body).await?;
    answer.must(matches!(answer.status, 201 | 202), "201 or 202")?;
    p.settled(&binding(of, &id), &answer).await?;
    let answer = if answer.status == 202 { p.get(&binding(of, &id)).await? } else { answer };
    Ok(Pair { old, new: (id, answer), body })
}

async fn successor(p: Platform<'_>) -> Check {
    let pair = pair(p).await?;
    pair.new.1.must(p.opens_if_known(&pair.new.1).await, "credentials that work")
}

async fn own_credentials(p: Platform<'_>) -> Check {
    let Pair { old, new, .. } = pair(p).await?;
    must_have_secrets(&old.1)?;
    new.1.must(credentials(&new.1) != credentials(&old.1), "credentials that the predecessor does not have")
}

async fn predecessor_lives(p: Platform<'_>) -> Check {
    let Pair { old, .. } = pair(p).await?;
    old.1.must(p.opens_if_known(&old.1).await, "credentials of the predecessor that work")?;
    let again = p.bind(p.instance().await?, &old.0, ASYNC, &p.binding_on(&p.offer()?.plan)?).await?;
    again.must(again.status == 200 && credentials(&again) == credentials(&old.1), "200 with the same credentials")
}

async fn unknown(p: Platform<'_>) -> Check {
    claimed(p)?;
    let body = with(&p.binding_on(&p.offer()?.plan)?, "predecessor_binding_id", "conf-unknown");
    p.bind(p.instance().await?, &fresh(), ASYNC, &body).await?.must_be_4xx()
}

async fn again(p: Platform<'_>) -> Check {
    let Pair { new, body, .. } = pair(p).await?;
    p.bind(p.instance().await?, &new.0, ASYNC, &body).await?.must_be(200)
}

async fn outlives(p: Platform<'_>) -> Check {
    let Pair { old, new, body } = pair(p).await?;
    let of = p.instance().await?;
    p.gone_at_last(&binding(of, &old.0)).await?;
    new.1.must(p.opens_if_known(&new.1).await, "credentials of the successor that work")?;
    let again = p.bind(of, &new.0, ASYNC, &body).await?;
    again.must(again.status == 200 && credentials(&again) == credentials(&new.1), "200 with the same credentials")
}
