//! Authentication, transport, plans: A1 to A25; and errors: A109 to A114.

use std::{collections::BTreeSet, time::Duration};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use super::calls::{ACTING, FORM, JSON, PLANS};
use crate::conformance::{
    Case, Check, End,
    answer::Answer,
    context::{Context, built, fresh, no_answer, skip},
};

pub(super) const CASES: &[Case] = chapter! { "Transport and plans":
    "A1" Must a1 "Valid credentials are let in",
    "A2" Should a2 "A request without credentials is answered 401",
    "A3" Should a3 "A wrong password is answered 401",
    "A4" Should a4 "A wrong user name is answered 401",
    "A5" Should a5 "A bearer token is answered 401",
    "A6" Should a6 "A 401 names the scheme Basic",
    "A7" Should a7 "The scheme may be written in lower case",
    "A8" Should a8 "Every path asks for credentials",
    "A9" Should a9 "A create without credentials creates nothing",
    "A10" Must a10 "No path redirects",
    "A11" Must a11 "Connection: close gets a whole answer, then the connection ends",
    "A12" Should a12 "An answer is compressed only when it says so",
    "A13" Should a13 "A create needs no user, event or request id header",
    "A14" Should a14 "The user header may be empty",
    "A15" Should a15 "The service works below a path prefix",
    "A16" Should a16 "An unknown path below an instance is answered 404",
    "A17" Should a17 "An unsupported method is answered 405 or 404",
    "A18" Must a18 "Plans are a JSON array of objects, or null",
    "A19" Must a19 "Every plan has a name",
    "A20" Should a20 "Plans have descriptions and names of their own",
    "A21" Should a21 "Plans asked twice are the same",
    "A22" Optional a22 "A plan's schema for create is a JSON Schema",
    "A23" Optional a23 "Plans of a multi-cluster service without a pool: 200, or 400 that asks for the cluster",
    "A24" Optional a24 "Plans of a multi-cluster service with a pool: 200",
    "A25" Should a25 "No instance is named plans",
    "A109" Should a109 "A refusal has a body",
    "A110" Should a110 "A refusal has neither the password nor a stack trace",
    "A111" Should a111 "A malformed form is answered 4xx",
    "A112" Should a112 "Malformed JSON is answered 4xx",
    "A113" Should a113 "A form may name its charset",
    "A114" Should a114 "An unsupported content type is answered 4xx",
};

async fn a1(c: &Context<'_>) -> Check {
    let answer = c.ask("GET", PLANS).await?;
    answer.must(!matches!(answer.status, 401 | 403), "not 401 or 403")
}

async fn a2(c: &Context<'_>) -> Check {
    c.send(c.anonymous("GET", PLANS)).await?.must_be(401)
}

async fn a3(c: &Context<'_>) -> Check {
    let request = c.anonymous("GET", PLANS).basic_auth(&c.options.username, Some("wrong"));
    c.send(request).await?.must_be(401)
}

async fn a4(c: &Context<'_>) -> Check {
    let request = c.anonymous("GET", PLANS).basic_auth("wrong", Some(c.options.password.expose()));
    c.send(request).await?.must_be(401)
}

async fn a5(c: &Context<'_>) -> Check {
    c.send(c.anonymous("GET", PLANS).bearer_auth("abc")).await?.must_be(401)
}

async fn a6(c: &Context<'_>) -> Check {
    let answer = unauthenticated(c).await?;
    let challenged = answer.header("www-authenticate").is_some_and(|value| value.starts_with("Basic"));
    answer.must(challenged, "a WWW-Authenticate header that starts with Basic")
}

/// The 401 of a broker that asks for credentials.
async fn unauthenticated(c: &Context<'_>) -> Result<Answer, End> {
    let answer = c.send(c.anonymous("GET", PLANS)).await?;
    if answer.status == 401 { Ok(answer) } else { Err(skip("the broker asks for no credentials (A2)")) }
}

async fn a7(c: &Context<'_>) -> Check {
    let built = built(c.request("GET", PLANS))?;
    let header = built.headers().get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let request = c.anonymous("GET", PLANS).header("authorization", header.replacen("Basic", "basic", 1));
    let answer = c.send(request).await?;
    answer.must(answer.status != 401, "not 401")
}

/// Every path of the contract.
fn paths(name: &str) -> [(&'static str, String); 11] {
    let at = |path: &str| format!("/resources/{name}{path}");
    [
        ("GET", PLANS.to_owned()),
        ("POST", "/resources".to_owned()),
        ("GET", at("")),
        ("PUT", at("")),
        ("POST", at("/bind-app")),
        ("POST", at("/bind")),
        ("DELETE", at("/bind-app")),
        ("PUT", at("/binds/jobs/nightly")),
        ("DELETE", at("/binds/jobs/nightly")),
        ("GET", at("/status")),
        ("DELETE", at("")),
    ]
}

async fn a8(c: &Context<'_>) -> Check {
    unauthenticated(c).await?;
    for (method, path) in paths(&c.ready().await?) {
        c.send(c.anonymous(method, &path).header("content-type", FORM).body(ACTING)).await?.must_be(401)?;
    }
    Ok(())
}

async fn a9(c: &Context<'_>) -> Check {
    unauthenticated(c).await?;
    let name = c.fresh();
    let body = c.new_instance(&name, c.options.plan.as_deref(), "");
    c.send(c.anonymous("POST", "/resources").header("content-type", FORM).body(body)).await?;
    c.status(&name).await?.must_be(404)
}

async fn a10(c: &Context<'_>) -> Check {
    for (method, path) in paths(&c.ready().await?) {
        let answer = c.ask(method, &path).await?;
        answer.must(!(300..400).contains(&answer.status), "no redirection")?;
    }
    Ok(())
}

async fn a11(c: &Context<'_>) -> Check {
    let built = built(c.request("GET", PLANS).header("connection", "close"))?;
    let url = built.url();
    let (Some(host), "http") = (url.host_str(), url.scheme()) else {
        return Err(skip("the end of a TLS connection is not looked at: give an http:// address"));
    };
    let mut text = format!("GET {} HTTP/1.1\r\nhost: {host}\r\n", url.path());
    for (name, value) in built.headers() {
        text += &format!("{name}: {}\r\n", value.to_str().unwrap_or_default());
    }
    let address = format!("{host}:{}", url.port_or_known_default().unwrap_or(80));
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(format!("{text}\r\n").as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.map(|_| answer)
    };
    let seen = match timeout(c.options.timeout, exchange).await {
        Ok(Ok(answer)) if is_whole(&answer) => return Ok(()),
        Ok(Ok(answer)) => format!("{} bytes that are no whole HTTP/1.1 answer", answer.len()),
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("the connection was open after {:?}", c.options.timeout),
    };
    Err(no_answer("a whole answer, then the end of the connection", seen))
}

/// Whether all of an HTTP/1.1 answer came before its connection ended: its head, and as much of a body as that announces.
fn is_whole(answer: &[u8]) -> bool {
    let Some(end) = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n") else { return false };
    let (head, body) = (String::from_utf8_lossy(&answer[..end]).to_lowercase(), &answer[end + 4..]);
    let header = |wanted: &str| {
        let mut headers = head.lines().filter_map(|line| line.split_once(':'));
        headers.find_map(|(name, value)| (name == wanted).then(|| value.trim().to_owned()))
    };
    head.starts_with("http/1.1 ")
        && match (header("transfer-encoding"), header("content-length")) {
            (Some(coding), _) if coding.ends_with("chunked") => body.ends_with(b"0\r\n\r\n"),
            (_, Some(length)) => length == body.len().to_string(),
            // The end of the connection is that of the body.
            (_, None) => true,
        }
}

async fn a12(c: &Context<'_>) -> Check {
    let answer = c.send(c.request("GET", PLANS).header("accept-encoding", "gzip")).await?;
    let zipped = answer.bytes.starts_with(&[0x1f, 0x8b]);
    let says = answer.header("content-encoding").unwrap_or("identity");
    answer.must(says == if zipped { "gzip" } else { "identity" }, "a Content-Encoding that fits the body")
}

async fn a13(c: &Context<'_>) -> Check {
    create_with_user(c, None).await
}

async fn a14(c: &Context<'_>) -> Check {
    create_with_user(c, Some("")).await
}

/// A create without event, and with this user if any, is like one that has both.
async fn create_with_user(c: &Context<'_>, user: Option<&str>) -> Check {
    let name = c.fresh();
    let body = c.new_instance(&name, c.options.plan.as_deref(), "");
    let mut request = c.in_pool(c.request("POST", "/resources")).header("content-type", FORM).body(body);
    if let Some(user) = user {
        request = request.header("x-tsuru-user", user);
    }
    let created = c.send(request).await?;
    c.must_be_as_any_other(&name, &created).await
}

async fn a15(c: &Context<'_>) -> Check {
    let answer = c.ask("GET", PLANS).await?;
    let path = answer.request.trim_start_matches("GET ");
    if path == PLANS {
        return Err(skip("needs a base URL with a path prefix that the broker is mounted under"));
    }
    answer.must(!matches!(answer.status, 401 | 403 | 404), "not 401, 403 or 404")
}

async fn a16(c: &Context<'_>) -> Check {
    let name = c.instance().await?;
    c.ask("GET", &format!("/resources/{name}/no-such-thing")).await?.must_be(404)
}

async fn a17(c: &Context<'_>) -> Check {
    let name = c.instance().await?;
    for (method, path) in [("PATCH", format!("/resources/{name}")), ("DELETE", PLANS.to_owned())] {
        let answer = c.ask(method, &path).await?;
        answer.must(matches!(answer.status, 404 | 405), "405 or 404")?;
    }
    Ok(())
}

/// The plans, and the answer they are in. Skips the case when the service lists none.
async fn plans(c: &Context<'_>) -> Result<(Answer, Vec<Value>), End> {
    let answer = c.ask("GET", PLANS).await?;
    if answer.status != 200 {
        return Err(skip("the service lists no plans"));
    }
    let list = match answer.json() {
        Some(Value::Array(list)) if list.iter().all(Value::is_object) => list,
        Some(Value::Null) => Vec::new(),
        _ => return Err(no_answer("a JSON array of objects, or null", answer.shown())),
    };
    Ok((answer, list))
}

async fn a18(c: &Context<'_>) -> Check {
    plans(c).await.map(drop)
}

async fn a19(c: &Context<'_>) -> Check {
    let (answer, plans) = plans(c).await?;
    let named = |plan: &Value| plan["name"].as_str().is_some_and(|name| !name.is_empty());
    answer.must(plans.iter().all(named), "a text as name of each plan")
}

async fn a20(c: &Context<'_>) -> Check {
    let (answer, plans) = plans(c).await?;
    answer.must(plans.iter().all(|plan| plan["description"].is_string()), "a text as description of each plan")?;
    let names: BTreeSet<_> = plans.iter().map(|plan| plan["name"].to_string()).collect();
    answer.must(names.len() == plans.len(), "names that differ")
}

async fn a21(c: &Context<'_>) -> Check {
    let (first, again) = (c.ask("GET", PLANS).await?, c.ask("GET", PLANS).await?);
    again.must((again.status, &again.body) == (first.status, &first.body), "the same plans as before")
}

async fn a22(c: &Context<'_>) -> Check {
    let (answer, plans) = plans(c).await?;
    let schemas: Vec<_> =
        plans.iter().filter_map(|plan| plan.pointer("/schemas/service_instance/create/parameters")).collect();
    if schemas.is_empty() {
        return Err(skip("no plan has a schema for create"));
    }
    let is_schema = |schema: &&Value| schema.get("type").is_some() || schema.get("properties").is_some();
    answer.must(schemas.iter().all(is_schema), "a JSON object with type or properties as each schema")
}

fn needs_pool(c: &Context<'_>) -> Check {
    let pool = c.options.pool.as_ref();
    pool.map(|_| ()).ok_or_else(|| skip("needs a multi-cluster service: --pool POOL=CLUSTER"))
}

async fn a23(c: &Context<'_>) -> Check {
    needs_pool(c)?;
    let answer = c.send(c.request("GET", PLANS)).await?;
    let missing = answer.json().map(|body| body["missing_params"].clone()).unwrap_or_default();
    let asks = missing.as_array().is_some_and(|missing| missing.iter().any(|name| name == "cluster"));
    answer.must(
        answer.status == 200 || (answer.status == 400 && asks),
        "200, or 400 whose missing_params name the cluster",
    )
}

async fn a24(c: &Context<'_>) -> Check {
    needs_pool(c)?;
    c.ask("GET", PLANS).await?.must_be(200)
}

async fn a25(c: &Context<'_>) -> Check {
    let before = c.ask("GET", PLANS).await?;
    let body = c.new_instance("plans", c.options.plan.as_deref(), "");
    let created = c.form("POST", "/resources", &body).await?;
    if created.is_2xx() {
        c.will_remove("plans");
    }
    created.must_be_4xx()?;
    let after = c.ask("GET", PLANS).await?;
    after.must((after.status, &after.body) == (before.status, &before.body), "the plans, as before")
}

/// Refusals: those so far, and some that are provoked.
async fn refusals(c: &Context<'_>) -> Result<Vec<Answer>, End> {
    c.send(c.anonymous("GET", PLANS)).await?;
    let name = c.fresh();
    c.create_on(Some("no-such-plan"), &name, "").await?;
    c.form("POST", "/resources", ACTING).await?;
    c.bind(&fresh(), "web", "").await?;
    c.typed("POST", "/resources", JSON, "{".to_owned()).await?;
    Ok(c.refusals().into_iter().filter(|answer| !matches!(answer.status, 404 | 405)).collect())
}

async fn a109(c: &Context<'_>) -> Check {
    let refusals = refusals(c).await?;
    refusals.iter().try_for_each(|answer| answer.must(!answer.body.trim().is_empty(), "a body that says why"))
}

async fn a110(c: &Context<'_>) -> Check {
    const TELLS: [&str; 4] = ["panicked at", "stack backtrace", "Traceback (most recent call last)", "goroutine 1 ["];
    for answer in refusals(c).await? {
        let password = c.options.password.expose();
        let leaks = TELLS.iter().any(|text| answer.body.contains(text))
            // A short one may be part of a name by chance.
            || (password.len() >= 6 && answer.body.contains(password));
        answer.must(!leaks, "neither the password nor a stack trace in the body")?;
    }
    Ok(())
}

async fn a111(c: &Context<'_>) -> Check {
    c.form("POST", "/resources", "name=%zz&team=data").await?.must_be_4xx()
}

async fn a112(c: &Context<'_>) -> Check {
    c.typed("POST", "/resources", JSON, "{\"name\":".to_owned()).await?.must_be_4xx()
}

async fn a113(c: &Context<'_>) -> Check {
    let name = c.fresh();
    let body = c.new_instance(&name, c.options.plan.as_deref(), "");
    let created = c.typed("POST", "/resources", &format!("{FORM}; charset=UTF-8"), body).await?;
    c.must_be_as_any_other(&name, &created).await
}

async fn a114(c: &Context<'_>) -> Check {
    let answer = c.typed("POST", "/resources", "text/csv", "name,team".to_owned()).await?;
    answer.must(answer.is_4xx() && answer.took < Duration::from_secs(300), "a status of 400 to 499")
}
