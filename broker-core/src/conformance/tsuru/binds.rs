//! Binds of apps: A64 to A93.

use std::time::Duration;

use serde_json::{Value, json};

use super::calls::{ACTING, EVENT, USER, variables};
use crate::conformance::{
    Case, Check, End,
    answer::Answer,
    context::{Context, fresh, skip},
};

pub(super) const CASES: &[Case] = chapter! { "Binds of apps":
    "A64" Must a64 "A bind is answered 2xx with a JSON object or null",
    "A65" Must a65 "A bind's values are strings",
    "A66" Should a66 "A bind's names can be variables, and are not the platform's",
    "A67" Must a67 "A bind has a body even without variables",
    "A68" Should a68 "A bind is answered 200 or 201",
    "A69" Should a69 "A bind of an unknown instance is answered 404",
    "A70" Should a70 "The older path of a bind answers 404 for an unknown instance, too",
    "A71" Should a71 "A bind of an instance that is not ready is answered 412",
    "A72" Should a72 "The same bind again is answered with the same names",
    "A73" Should a73 "Credentials outlive a repeated bind",
    "A74" Should a74 "Credentials outlive another app's unbind",
    "A75" Should a75 "A bind without hosts is answered 2xx or 4xx",
    "A76" Should a76 "A bind may have several hosts and an empty one",
    "A77" Should a77 "A bind without an app is answered 4xx",
    "A78" Should a78 "A bind may be JSON, or is answered 415",
    "A79" Should a79 "An unknown bind parameter is answered 2xx or 4xx",
    "A80" Should a80 "After a refused bind, a right one works",
    "A81" Must a81 "A bind is answered within 300 s",
    "A82" Should a82 "Three apps can be bound at once",
    "A83" Legacy a83 "A unit's bind of old is answered 2xx or 404",
    "A84" Legacy a84 "A unit's unbind of old is answered 2xx or 404",
    "A85" Legacy a85 "An app's bind on the older path is as on the newer, or 404",
    "A86" Must a86 "An app can be unbound",
    "A87" Should a87 "An unbind again is answered 404 or 2xx",
    "A88" Should a88 "An unbind from an unknown instance is answered 404",
    "A89" Must a89 "An app can be bound again",
    "A90" Should a90 "An unbind without a body is answered 4xx",
    "A91" Should a91 "An unbind needs no hosts",
    "A92" Should a92 "An unbind may be JSON, with hosts [] and null",
    "A93" Should a93 "Credentials end with the unbind",
};

/// What a bind's form says of an app in a pool with a cluster.
const WHEREABOUTS: &str = "&app-host=a.example.com&app-hosts=a.example.com&app-hosts=a.internal\
    &app-internal-hosts=tcp%3A%2F%2Fa-web.tsuru.svc.cluster.local%3A8888\
    &app-pool-name=pool1&app-pool-provisioner=kubernetes&app-cluster-name=c1&app-cluster-provisioner=kubernetes\
    &app-cluster-addresses=https%3A%2F%2Fk1&app-cluster-addresses=https%3A%2F%2Fk2";

async fn bind(c: &Context<'_>) -> Result<Answer, End> {
    c.bind(c.instance().await?, &c.app(), WHEREABOUTS).await
}

async fn a64(c: &Context<'_>) -> Check {
    let answer = bind(c).await?;
    let readable = matches!(answer.json(), Some(Value::Object(_) | Value::Null));
    answer.must(answer.is_2xx() && readable, "2xx with a JSON object or null")
}

async fn a65(c: &Context<'_>) -> Check {
    variables(&bind(c).await?).map(drop)
}

async fn a66(c: &Context<'_>) -> Check {
    let answer = bind(c).await?;
    let right = |name: &String| {
        name.parse::<crate::EnvName>().is_ok()
            && !name.starts_with("TSURU_")
            && !matches!(name.as_str(), "PORT" | "port")
    };
    answer.must(variables(&answer)?.keys().all(right), "names of letters, digits and _, none of the platform's")
}

async fn a67(c: &Context<'_>) -> Check {
    let answer = bind(c).await?;
    answer.must(!answer.body.is_empty() && answer.status != 204, "a body, be it {} or null")
}

async fn a68(c: &Context<'_>) -> Check {
    let answer = bind(c).await?;
    answer.must(matches!(answer.status, 200 | 201), "200 or 201")
}

async fn a69(c: &Context<'_>) -> Check {
    c.bind(&fresh(), "web", WHEREABOUTS).await?.must_be(404)
}

async fn a70(c: &Context<'_>) -> Check {
    c.form("POST", &format!("/resources/{}/bind", fresh()), &format!("app-name=web&{ACTING}")).await?.must_be(404)
}

async fn a71(c: &Context<'_>) -> Check {
    let name = c.pending().await?;
    c.bind(&name, "web", WHEREABOUTS).await?.must_be(412)
}

async fn a72(c: &Context<'_>) -> Check {
    let (name, app) = (c.instance().await?, c.app());
    let first = c.bound(name, &app).await?;
    let again = c.bind(name, &app, "&app-host=a.example.com&app-hosts=a.example.com").await?;
    again.must(variables(&again)?.keys().eq(first.keys()), "the names of the first answer")
}

async fn a73(c: &Context<'_>) -> Check {
    let (name, app) = (c.instance().await?, c.app());
    let first = c.bound(name, &app).await?;
    c.opens(&first).await?;
    let again = c.bind(name, &app, "").await?;
    again.must(c.opens(&first).await?, "credentials of the first answer that work")
}

async fn a74(c: &Context<'_>) -> Check {
    let (name, one, other) = (c.instance().await?, c.app(), c.app());
    c.bound(name, &one).await?;
    let kept = c.bound(name, &other).await?;
    let unbound = c.unbind(name, &one).await?;
    unbound.must_be_2xx()?;
    unbound.must(c.opens(&kept).await?, "credentials of the other app that work")
}

async fn a75(c: &Context<'_>) -> Check {
    c.bind(c.instance().await?, &c.app(), "").await?.must_not_be_5xx()
}

async fn a76(c: &Context<'_>) -> Check {
    let hosts = "&app-host=b.example.com&app-hosts=b.example.com&app-hosts=b.internal&app-hosts=";
    c.bind(c.instance().await?, &c.app(), hosts).await?.must_not_be_5xx()
}

async fn a77(c: &Context<'_>) -> Check {
    let path = format!("/resources/{}/bind-app", c.instance().await?);
    c.ask("POST", &path).await?.must_be_4xx()?;
    c.form("POST", &path, ACTING).await?.must_be_4xx()
}

async fn a78(c: &Context<'_>) -> Check {
    let path = format!("/resources/{}/bind-app", c.instance().await?);
    let bare = json!({
        "appName": c.app(), "user": USER, "eventID": EVENT, "appHosts": ["a.example.com", "a.internal"],
        "appInternalHosts": ["tcp://a-web.tsuru.svc.cluster.local:8888"],
        "appPoolName": "pool1", "appPoolProvisioner": "kubernetes",
        "appClusterName": "c1", "appClusterProvisioner": "kubernetes", "appClusterAddresses": ["https://k1", "https://k2"],
    });
    let mut whole = bare.clone();
    whole["parameters"] = json!({"mode": "ro"});
    let mut answer = c.json("POST", &path, &whole).await?;
    if answer.is_4xx() {
        // It may not know the parameter (A79).
        answer = c.json("POST", &path, &bare).await?;
    }
    if answer.status == 415 { Ok(()) } else { variables(&answer).map(drop) }
}

async fn a79(c: &Context<'_>) -> Check {
    c.bind(c.instance().await?, &c.app(), "&parameters.unknown=x").await?.must_not_be_5xx()
}

async fn a80(c: &Context<'_>) -> Check {
    let name = c.ready().await?;
    let refused = c.form("POST", &format!("/resources/{name}/bind-app"), ACTING).await?;
    if !refused.is_4xx() {
        return Err(skip("no bind was answered 4xx (A77)"));
    }
    c.bind(&name, &c.app(), WHEREABOUTS).await?.must_be_2xx()
}

async fn a81(c: &Context<'_>) -> Check {
    let answer = bind(c).await?;
    answer.must(answer.is_2xx() && answer.took < Duration::from_secs(300), "2xx within 300 s")
}

async fn a82(c: &Context<'_>) -> Check {
    if c.options.parallel < 3 {
        return Err(skip("needs three requests at once: --parallel 3"));
    }
    let (name, apps) = (c.instance().await?, [c.app(), c.app(), c.app()]);
    let (one, two, three) = tokio::join!(
        c.bind(name, &apps[0], WHEREABOUTS),
        c.bind(name, &apps[1], WHEREABOUTS),
        c.bind(name, &apps[2], WHEREABOUTS)
    );
    for answer in [one?, two?, three?] {
        let env = variables(&answer)?;
        answer.must(c.opens_if_known(&env).await, "variables that work")?;
    }
    Ok(())
}

async fn of_old(c: &Context<'_>, method: &str) -> Check {
    let path = format!("/resources/{}/bind", c.instance().await?);
    let answer = c.form(method, &path, "unit-host=10.0.0.1&app-host=a.example.com").await?;
    answer.must(answer.is_2xx() || answer.status == 404, "a status of 200 to 299, or 404")
}

async fn a83(c: &Context<'_>) -> Check {
    of_old(c, "POST").await
}

async fn a84(c: &Context<'_>) -> Check {
    of_old(c, "DELETE").await
}

async fn a85(c: &Context<'_>) -> Check {
    let path = format!("/resources/{}/bind", c.instance().await?);
    let answer = c.form("POST", &path, &format!("app-name={}&{ACTING}", c.app())).await?;
    if answer.status == 404 { Ok(()) } else { variables(&answer).map(drop) }
}

async fn a86(c: &Context<'_>) -> Check {
    let (name, app) = (c.instance().await?, c.app());
    c.bound(name, &app).await?;
    c.unbind(name, &app).await?.must_be_2xx()
}

async fn a87(c: &Context<'_>) -> Check {
    let (name, app) = (c.instance().await?, c.app());
    c.bound(name, &app).await?;
    c.unbind(name, &app).await?.must_be_2xx()?;
    let again = c.unbind(name, &app).await?;
    again.must(again.is_2xx() || again.status == 404, "404, or a status of 200 to 299")
}

async fn a88(c: &Context<'_>) -> Check {
    c.unbind(&fresh(), "web").await?.must_be(404)
}

async fn a89(c: &Context<'_>) -> Check {
    let (name, app) = (c.instance().await?, c.app());
    let first = c.bound(name, &app).await?;
    c.unbind(name, &app).await?.must_be_2xx()?;
    let back = c.bind(name, &app, WHEREABOUTS).await?;
    let env = variables(&back)?;
    back.must(env.keys().eq(first.keys()), "the names of the first answer")?;
    back.must(c.opens_if_known(&env).await, "variables that work")
}

async fn a90(c: &Context<'_>) -> Check {
    let path = format!("/resources/{}/bind-app", c.instance().await?);
    c.ask("DELETE", &path).await?.must_be_4xx()
}

async fn a91(c: &Context<'_>) -> Check {
    let (name, app) = (c.instance().await?, c.app());
    c.bound(name, &app).await?;
    let body = format!("app-name={app}&{ACTING}");
    c.form("DELETE", &format!("/resources/{name}/bind-app"), &body).await?.must_be_2xx()
}

async fn a92(c: &Context<'_>) -> Check {
    let (name, app) = (c.instance().await?, c.app());
    for hosts in [json!([]), Value::Null] {
        c.bound(name, &app).await?;
        let body = json!({"appHosts": hosts, "appName": app, "user": USER, "eventID": EVENT});
        let answer = c.json("DELETE", &format!("/resources/{name}/bind-app"), &body).await?;
        answer.must(answer.is_2xx() || answer.status == 415, "a status of 200 to 299, or 415")?;
    }
    Ok(())
}

async fn a93(c: &Context<'_>) -> Check {
    let (name, app) = (c.instance().await?, c.app());
    let env = c.bound(name, &app).await?;
    if env.is_empty() {
        return Err(skip("a bind gives no variables"));
    }
    let unbound = c.unbind(name, &app).await?;
    unbound.must(!c.opens(&env).await?, "credentials that no longer work")
}
