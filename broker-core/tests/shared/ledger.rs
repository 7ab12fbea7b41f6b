//! What the users of a service with two replicas were told, and whether it holds when one of them was killed (SPEC L-8).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use broker_core::testing::{Variables, eventually};

/// Longer than any answer takes while somebody is there to give it.
const PATIENCE: Duration = Duration::from_secs(60);

/// A replica as a platform reaches it, also when it is not there any more.
#[derive(Clone)]
pub(crate) struct Door {
    http: reqwest::Client,
    url: String,
    login: (&'static str, &'static str),
}

impl Door {
    pub(crate) fn to(url: &str, username: &'static str, password: &'static str) -> Self {
        let http = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().unwrap();
        Self { http, url: url.to_owned(), login: (username, password) }
    }

    /// Status and body, if an answer came.
    pub(crate) async fn form(&self, method: &str, path: &str, body: &str) -> Option<(u16, String)> {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let (username, password) = self.login;
        let request = self.http.request(method, format!("{}{path}", self.url)).basic_auth(username, Some(password));
        let request = request.header("content-type", "application/x-www-form-urlencoded").body(body.to_owned());
        let answer = request.send().await.ok()?;
        Some((answer.status().as_u16(), answer.text().await.ok()?))
    }

    pub(crate) async fn create(&self, name: &str) -> Option<(u16, String)> {
        self.form("POST", "/resources", &format!("name={name}&plan=small&team=data")).await
    }

    pub(crate) async fn bind(&self, name: &str, app: &str) -> Option<(u16, String)> {
        self.form("POST", &format!("/resources/{name}/bind-app"), &format!("app-name={app}")).await
    }

    /// What the app has been given, if it was told so.
    pub(crate) async fn given(&self, name: &str, app: &str) -> Option<Variables> {
        let (status, body) = self.bind(name, app).await?;
        (status == 201).then(|| serde_json::from_str(&body).unwrap())
    }

    pub(crate) async fn status(&self, name: &str) -> Option<u16> {
        Some(self.form("GET", &format!("/resources/{name}/status"), "").await?.0)
    }

    pub(crate) async fn remove(&self, name: &str) -> Option<u16> {
        Some(self.form("DELETE", &format!("/resources/{name}"), "").await?.0)
    }
}

/// What a user was told.
#[derive(Default)]
pub(crate) struct Ledger {
    /// Instances that were made and not asked to be removed, with what their app was given.
    there: BTreeMap<String, Option<Variables>>,
    /// Instances of which the user heard that they were removed.
    gone: BTreeSet<String>,
    /// All names that were ever asked for.
    tried: BTreeSet<String>,
}

impl Ledger {
    /// A user with instances of its own and a part in those of others, who asks one replica and then the other.
    pub(crate) async fn of(client: usize, doors: &[Door; 2], acknowledged: &AtomicUsize) -> Self {
        let mut ledger = Self::default();
        for round in 0..16 {
            let (door, other) = (&doors[(client + round) % 2], &doors[(client + round + 1) % 2]);
            let own = format!("own-{client}-{round}");
            ledger.make(&own, door, acknowledged).await;
            ledger.bind(&own, other).await;
            if round % 3 == 0 {
                ledger.remove(own, door).await;
            }
            let shared = format!("shared-{}", (client + round) % 2);
            ledger.tried.insert(shared.clone());
            let path = format!("/resources/{shared}");
            match round % 4 {
                0 => door.create(&shared).await,
                1 => other.form("PUT", &path, "plan=large&team=data").await,
                2 => door.bind(&shared, &format!("app-{client}")).await,
                _ => other.form("DELETE", &path, "").await,
            };
        }
        ledger
    }

    async fn make(&mut self, own: &str, door: &Door, acknowledged: &AtomicUsize) {
        self.tried.insert(own.to_owned());
        if let Some((201, _)) = door.create(own).await {
            self.there.insert(own.to_owned(), None);
            acknowledged.fetch_add(1, Ordering::Relaxed);
        }
    }

    async fn bind(&mut self, own: &str, door: &Door) {
        if let (Some(given), Some(known)) = (door.given(own, "web").await, self.there.get_mut(own)) {
            *known = Some(given);
        }
    }

    async fn remove(&mut self, own: String, door: &Door) {
        self.there.remove(&own);
        if door.remove(&own).await == Some(200) {
            self.gone.insert(own);
        }
    }
}

/// Insists that the survivor has all that anybody was told, then removes whatever was asked for. `opens` tells whether
/// variables are worth something at the server.
pub(crate) async fn settle(ledgers: &[Ledger], survivor: &Door, opens: impl Fn(&Variables) -> bool) {
    let there = || ledgers.iter().flat_map(|ledger| &ledger.there);
    let bound = there().filter(|(_, given)| given.is_some()).count();
    let gone = ledgers.iter().flat_map(|ledger| &ledger.gone);
    assert!(bound > 0 && gone.clone().count() > 0, "nothing was bound, or nothing removed");
    for (name, given) in there() {
        eventually("it is up", async || survivor.status(name).await == Some(204)).await;
        if let Some(given) = given {
            assert!(opens(given), "{name} was bound");
            assert_eq!(survivor.given(name, "web").await.as_ref(), Some(given), "{name} was bound");
        }
    }
    for name in gone {
        assert_eq!(survivor.status(name).await, Some(404), "{name} was removed");
    }
    let there: BTreeSet<&String> = there().map(|(name, _)| name).collect();
    for name in ledgers.iter().flat_map(|ledger| &ledger.tried) {
        let answers: &[u16] = if there.contains(name) { &[200] } else { &[200, 404] };
        let removed = async || survivor.remove(name).await.is_some_and(|status| answers.contains(&status));
        eventually("it is removed", removed).await;
    }
}
