//! Create, update, info, status: A26 to A63.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::calls::{ACTING, EVENT, USER, items};
use crate::conformance::{
    Case, Check, End,
    answer::Answer,
    context::{Context, encoded, fresh, skip},
};

pub(super) const CASES: &[Case] = chapter! { "Instances":
    "A26" Must a26 "An instance can be created",
    "A27" Should a27 "A create is answered 201",
    "A28" Should a28 "The same create again is answered 409",
    "A29" Should a29 "A refused repeat leaves the instance as it was",
    "A30" Should a30 "A create without a name is answered 4xx",
    "A31" Should a31 "A create with an empty name is answered 4xx",
    "A32" Should a32 "An unknown plan is answered 4xx with a reason, and nothing is created",
    "A33" Should a33 "A create without a plan is answered 2xx or 4xx",
    "A34" Must a34 "Several tags and a description of any characters are accepted",
    "A35" Should a35 "An unknown field is ignored",
    "A36" Should a36 "Empty parameters are like none",
    "A37" Should a37 "An unknown parameter is answered 2xx or 4xx",
    "A38" Optional a38 "A whole number in exponent form is read or answered 4xx",
    "A39" Optional a39 "A parameter with a dot in its name is recognised",
    "A40" Optional a40 "A list parameter is read from its indexes",
    "A41" Should a41 "A create may be JSON, or is answered 415",
    "A42" Optional a42 "Nested JSON parameters do what their form spelling does",
    "A43" Should a43 "A name with upper case and _ works everywhere, or is answered 4xx",
    "A44" Should a44 "A name of 200 characters is answered 2xx or 4xx",
    "A45" Should a45 "Of two creates at once, one is answered 2xx and the other 409",
    "A46" Should a46 "After a refused create, the name is free",
    "A47" Should a47 "An update that changes nothing is answered 2xx or 404",
    "A48" Should a48 "An update of an unknown instance is answered 404",
    "A49" Should a49 "An update with empty description and plan leaves the instance usable",
    "A50" Should a50 "An update to an unknown plan is answered 4xx with a reason, and the plan stays",
    "A51" Should a51 "An update may be repeated",
    "A52" Should a52 "An update may be JSON",
    "A53" Should a53 "An update may have empty and double tags",
    "A54" Must a54 "Info is a JSON array of objects of strings",
    "A55" Must a55 "Info items have a label and a value",
    "A56" Should a56 "Labels are neither empty nor double",
    "A57" Must a57 "There is no info about an unknown instance",
    "A58" Should a58 "Info about an unknown instance is answered 404",
    "A59" Must a59 "Status is answered 200, 202, 204, 404 or 500",
    "A60" Should a60 "A status text is one line",
    "A61" Should a61 "Status of an unknown instance is answered 404",
    "A62" Should a62 "A created instance becomes ready in time",
    "A63" Should a63 "Asking for the status changes nothing",
};

async fn a26(c: &Context<'_>) -> Check {
    c.create(&c.fresh(), "").await?.must_be_2xx()
}

async fn a27(c: &Context<'_>) -> Check {
    c.create(&c.fresh(), "").await?.must_be(201)
}

async fn a28(c: &Context<'_>) -> Check {
    let name = c.instance().await?;
    c.create(name, "").await?.must_be(409)
}

async fn a29(c: &Context<'_>) -> Check {
    let name = c.ready().await?;
    let (status, info) = (c.status(&name).await?, c.info(&name).await?);
    c.create(&name, "").await?;
    let (now, shown) = (c.status(&name).await?, c.info(&name).await?);
    now.must((now.status, &now.body) == (status.status, &status.body), "the same status as before")?;
    // Values may move: figures of what is used.
    shown.must(items(&shown).keys().eq(items(&info).keys()), "the same info as before")
}

async fn a30(c: &Context<'_>) -> Check {
    let plan = encoded(c.options.plan.as_deref().unwrap_or_default());
    c.form("POST", "/resources", &format!("plan={plan}&team=data&{ACTING}")).await?.must_be_4xx()
}

async fn a31(c: &Context<'_>) -> Check {
    let body = c.new_instance("", c.options.plan.as_deref(), "");
    c.form("POST", "/resources", &body).await?.must_be_4xx()
}

async fn a32(c: &Context<'_>) -> Check {
    let name = c.fresh();
    let answer = c.create_on(Some("no-such-plan"), &name, "").await?;
    answer.must(answer.is_4xx() && !answer.body.is_empty(), "a status of 400 to 499 with a body")?;
    // A service may have no info, and answer that like what is not there.
    let (info, status, unknown) = (c.info(&name).await?, c.status(&name).await?, fresh());
    let (no_info, no_status) = (c.info(&unknown).await?, c.status(&unknown).await?);
    info.must(info.status == no_info.status, "no instance: the info of an unknown one")?;
    status.must(status.status == no_status.status, "no instance: the status of an unknown one")
}

async fn a33(c: &Context<'_>) -> Check {
    c.create_on(None, &c.fresh(), "").await?.must_not_be_5xx()
}

async fn a34(c: &Context<'_>) -> Check {
    c.create(&c.fresh(), "&tags=a&tags=b&description=a+b%26%2B%C3%A9").await?.must_be_2xx()
}

async fn a35(c: &Context<'_>) -> Check {
    let name = c.fresh();
    let created = c.create(&name, "&no-such-field=1").await?;
    c.must_be_as_any_other(&name, &created).await
}

async fn a36(c: &Context<'_>) -> Check {
    let name = c.fresh();
    let created = c.create(&name, "&parameters.=").await?;
    c.must_be_as_any_other(&name, &created).await
}

async fn a37(c: &Context<'_>) -> Check {
    c.create(&c.fresh(), "&parameters.unknown.deep.0=x").await?.must_not_be_5xx()
}

/// The value that the info about an instance shows for a parameter, if it does.
async fn shown(c: &Context<'_>, name: &str, parameter: &str) -> Result<(Answer, Option<String>), End> {
    c.until_ready(name).await?;
    let info = c.info(name).await?;
    let value = items(&info).remove(parameter);
    Ok((info, value))
}

/// Skips a case of a parameter whose value nobody can see.
fn not_shown(parameter: &str) -> End {
    skip(&format!("the info does not show the parameter {parameter}"))
}

/// A parameter's form spelling does the same as its JSON. Skips the case where info shows neither.
async fn same_as_json(c: &Context<'_>, parameter: &str, form: &str, json: Value) -> Check {
    let (one, other) = (c.fresh(), c.fresh());
    c.create(&one, form).await?.must_be_2xx()?;
    let parameters = Value::Object([(parameter.to_owned(), json)].into_iter().collect());
    let answer = c.json("POST", "/resources", &c.new_json(&other, Some(parameters))).await?;
    if answer.status == 415 {
        return Err(skip("the service takes no JSON that the form could be compared with"));
    }
    answer.must_be_2xx()?;
    let (_, first) = shown(c, &one, parameter).await?;
    let (info, second) = shown(c, &other, parameter).await?;
    if first.is_none() && second.is_none() {
        return Err(not_shown(parameter));
    }
    info.must(first == second, &format!("the info of its form spelling, {}", first.unwrap_or_default()))
}

async fn a38(c: &Context<'_>) -> Check {
    let name = c.options.integer_parameter.as_deref();
    let name = name.ok_or_else(|| skip("needs a whole-number parameter: --integer-parameter NAME"))?;
    let instance = c.fresh();
    let answer = c.create(&instance, &format!("&parameters.{}=1e%2B06", encoded(name))).await?;
    if answer.is_4xx() {
        return Ok(());
    }
    answer.must_be_2xx()?;
    let (info, value) = shown(c, &instance, name).await?;
    let value = value.ok_or_else(|| not_shown(name))?;
    info.must(value == "1000000", "1000000 in the info")
}

async fn a39(c: &Context<'_>) -> Check {
    let dotted = c.options.dotted_parameter.as_ref();
    let needs = "needs a parameter with a dot in its name: --dotted-parameter NAME=VALUE";
    let (name, value) = dotted.ok_or_else(|| skip(needs))?;
    let key = encoded(&name.replace('\\', "\\\\").replace('.', "\\."));
    same_as_json(c, name, &format!("&parameters.{key}={}", encoded(value)), value.clone().into()).await
}

fn list_parameter<'c>(c: &'c Context<'_>) -> Result<&'c str, End> {
    let name = c.options.list_parameter.as_deref();
    name.ok_or_else(|| skip("needs a list parameter: --list-parameter NAME"))
}

async fn a40(c: &Context<'_>) -> Check {
    let name = list_parameter(c)?;
    let key = encoded(name);
    same_as_json(c, name, &format!("&parameters.{key}.0=a&parameters.{key}.1=b"), json!(["a", "b"])).await
}

async fn a41(c: &Context<'_>) -> Check {
    let answer = c.json("POST", "/resources", &c.new_json(&c.fresh(), None)).await?;
    answer.must(answer.is_2xx() || answer.status == 415, "a status of 200 to 299, or 415")
}

async fn a42(c: &Context<'_>) -> Check {
    let name = list_parameter(c)?;
    same_as_json(c, name, &format!("&parameters.{}.0=c", encoded(name)), json!(["c"])).await
}

async fn a43(c: &Context<'_>) -> Check {
    let name = format!("Conf_{}", fresh());
    let created = c.create(&name, "").await?;
    created.must_not_be_5xx()?;
    if created.is_4xx() {
        return Ok(());
    }
    c.until_ready(&name).await?;
    let (other, app) = (c.instance().await?, c.app());
    let as_other = |one: Answer, other: Answer| one.must(one.status == other.status, "what another instance answers");
    as_other(c.info(&name).await?, c.info(other).await?)?;
    let unchanged = async |name: &str| c.form("PUT", &format!("/resources/{name}"), &update(c, plan(c), "")).await;
    as_other(unchanged(&name).await?, unchanged(other).await?)?;
    c.bind(&name, &app, "").await?.must_be_2xx()?;
    c.unbind(&name, &app).await?.must_be_2xx()?;
    let job = c.bind_job(&name, &app).await?;
    if !matches!(job.status, 404 | 405) {
        job.must_be_2xx()?;
        c.unbind_job(&name, &app).await?.must_be_2xx()?;
    }
    c.remove(&name).await?.must_be_2xx()
}

async fn a44(c: &Context<'_>) -> Check {
    let name = format!("{}-{}", fresh(), "x".repeat(182));
    c.create(&name, "").await?.must_not_be_5xx()
}

async fn a45(c: &Context<'_>) -> Check {
    if c.options.parallel < 2 {
        return Err(skip("needs two requests at once: --parallel 2"));
    }
    let name = c.fresh();
    let (one, other) = tokio::join!(c.create(&name, ""), c.create(&name, ""));
    let (one, other) = (one?, other?);
    let (first, second) = if one.is_2xx() { (one, other) } else { (other, one) };
    first.must_be_2xx()?;
    second.must_be(409)
}

async fn a46(c: &Context<'_>) -> Check {
    let name = c.fresh();
    let refused = c.create_on(Some("no-such-plan"), &name, "").await?;
    if !refused.is_4xx() {
        return Err(skip("no create was answered 4xx (A32)"));
    }
    c.create(&name, "").await?.must_be_2xx()
}

fn update(c: &Context<'_>, plan: &str, more: &str) -> String {
    let given = c.options.parameters.iter();
    let given: String =
        given.map(|(name, value)| format!("&parameters.{}={}", encoded(name), encoded(value))).collect();
    format!("description=&plan={}&team=data&{ACTING}{given}{more}", encoded(plan))
}

fn plan<'c>(c: &'c Context<'_>) -> &'c str {
    c.options.plan.as_deref().unwrap_or_default()
}

async fn a47(c: &Context<'_>) -> Check {
    let name = c.instance().await?;
    let answer = c.form("PUT", &format!("/resources/{name}"), &update(c, plan(c), "")).await?;
    answer.must(answer.is_2xx() || answer.status == 404, "a status of 200 to 299, or 404")
}

async fn a48(c: &Context<'_>) -> Check {
    c.form("PUT", &format!("/resources/{}", fresh()), &update(c, plan(c), "")).await?.must_be(404)
}

async fn a49(c: &Context<'_>) -> Check {
    let name = c.ready().await?;
    c.form("PUT", &format!("/resources/{name}"), &update(c, "", "")).await?.must_not_be_5xx()?;
    c.until_ready(&name).await?;
    c.bind(&name, &c.app(), "").await?.must_be_2xx()
}

async fn a50(c: &Context<'_>) -> Check {
    let name = c.ready().await?;
    let before = c.info(&name).await?;
    let answer = c.form("PUT", &format!("/resources/{name}"), &update(c, "no-such-plan", "")).await?;
    if answer.status == 405 {
        return Err(skip("the service has no update (A47)"));
    }
    answer.must(answer.is_4xx() && !answer.body.is_empty(), "a status of 400 to 499 with a body")?;
    let after = c.info(&name).await?;
    let plan = |info: &Answer| items(info).into_iter().find(|(label, _)| label.eq_ignore_ascii_case("plan"));
    after.must(plan(&before) == plan(&after), "the plan as before")?;
    c.bind(&name, &c.app(), "").await?.must_be_2xx()
}

async fn a51(c: &Context<'_>) -> Check {
    let path = format!("/resources/{}", c.instance().await?);
    if !c.form("PUT", &path, &update(c, plan(c), "")).await?.is_2xx() {
        return Err(skip("the service has no update (A47)"));
    }
    c.form("PUT", &path, &update(c, plan(c), "")).await?.must_be_2xx()
}

async fn a52(c: &Context<'_>) -> Check {
    let name = c.ready().await?;
    let body = json!({"team": "data", "eventID": EVENT, "user": USER});
    let answer = c.json("PUT", &format!("/resources/{name}"), &body).await?;
    let form = c.form("PUT", &format!("/resources/{name}"), &update(c, "", "")).await?;
    let same = answer.is_2xx() == form.is_2xx() || answer.is_2xx();
    answer
        .must(same && !matches!(answer.status, 500..), "what a form gets, or 404 or 415")
        .or_else(|end| if matches!(answer.status, 404 | 415) { Ok(()) } else { Err(end) })
}

async fn a53(c: &Context<'_>) -> Check {
    let name = c.instance().await?;
    let body = update(c, plan(c), "&tags=&tags=a&tags=a");
    c.form("PUT", &format!("/resources/{name}"), &body).await?.must_not_be_5xx()
}

async fn info(c: &Context<'_>) -> Result<(Answer, Vec<BTreeMap<String, Option<String>>>), End> {
    let answer = c.info(c.instance().await?).await?;
    if answer.status != 200 {
        return Err(skip("the service has no info"));
    }
    let read: Option<Option<Vec<_>>> = serde_json::from_str(&answer.body).ok();
    answer.must(read.is_some(), "a JSON array of objects whose values are strings")?;
    Ok((answer, read.flatten().unwrap_or_default()))
}

async fn a54(c: &Context<'_>) -> Check {
    info(c).await.map(drop)
}

async fn a55(c: &Context<'_>) -> Check {
    let (answer, items) = info(c).await?;
    let whole = items.iter().all(|item| item.contains_key("label") && item.contains_key("value"));
    answer.must(whole, "label and value in each object")
}

async fn a56(c: &Context<'_>) -> Check {
    let (answer, items) = info(c).await?;
    let labels: BTreeSet<_> = items.iter().filter_map(|item| item.get("label")?.as_deref()).collect();
    answer.must(labels.len() == items.len() && !labels.contains(""), "labels that are there and differ")
}

async fn a57(c: &Context<'_>) -> Check {
    let answer = c.info(&fresh()).await?;
    answer.must(answer.status != 200, "not 200")
}

async fn a58(c: &Context<'_>) -> Check {
    c.info(&fresh()).await?.must_be(404)
}

async fn a59(c: &Context<'_>) -> Check {
    let name = c.fresh();
    c.create(&name, "").await?.must_be_2xx()?;
    let answer = c.status(&name).await?;
    answer.must(matches!(answer.status, 200 | 202 | 204 | 404 | 500), "200, 202, 204, 404 or 500")
}

async fn a60(c: &Context<'_>) -> Check {
    let answer = c.status(c.instance().await?).await?;
    if answer.status != 200 {
        return Err(skip("the status has no text: it is not 200"));
    }
    answer.must(answer.body.lines().count() == 1 && !answer.body.ends_with('\n'), "one line without its end")
}

async fn a61(c: &Context<'_>) -> Check {
    c.status(&fresh()).await?.must_be(404)
}

async fn a62(c: &Context<'_>) -> Check {
    c.ready().await.map(drop)
}

async fn a63(c: &Context<'_>) -> Check {
    let name = c.instance().await?;
    let (first, info) = (c.status(name).await?, c.info(name).await?);
    for _ in 0..10 {
        let again = c.status(name).await?;
        again.must((again.status, &again.body) == (first.status, &first.body), "the same status ten times")?;
    }
    let after = c.info(name).await?;
    after.must(items(&after).keys().eq(items(&info).keys()), "the same info as before")
}
