//! Two processes of a broker on one database, one of which is killed (SPEC L-8).

use std::sync::atomic::{AtomicUsize, Ordering};

use broker_core::testing::{Variables, eventually};

use crate::{
    ledger::{Door, Ledger, settle},
    place::Place,
    running::{PASSWORD, Running},
    server::Server,
};

/// A lease so short that a test sees it end, and a token that both replicas know.
const SETTINGS: &str =
    "--lease 2 --turn-within 10 --reconcile-every 1 --retries 0 --server-folder server --token of-both";

/// Both processes, and the server behind them.
struct Replicas {
    server: Server,
    survivor: Running,
    dying: Running,
    _place: Place,
}

impl Replicas {
    async fn start() -> Self {
        let place = Place::database();
        let server = Server::at(&place.path().join("server")).unwrap();
        let settings: Vec<&str> = SETTINGS.split(' ').collect();
        let survivor = place.serve_as("survivor", &settings).await;
        let dying = place.serve_as("dying", &settings).await;
        Self { server, survivor, dying, _place: place }
    }

    fn doors(&self) -> [Door; 2] {
        [&self.survivor, &self.dying].map(|replica| Door::to(&replica.url, "fake", PASSWORD))
    }

    fn opens(&self, given: &Variables) -> bool {
        self.server.accounts().contains(&given["FAKE_PASSWORD"])
    }

    async fn nothing_is_left(&self) {
        let left = || (self.server.instances(), self.server.accounts());
        eventually("nothing is left", async || left() == (vec![], vec![])).await;
        assert_eq!(self.server.overlaps(), "");
    }
}

// SPEC L-3, L-8
pub(crate) async fn what_a_process_that_is_killed_worked_on_the_other_finishes() {
    let replicas = Replicas::start().await;
    let (server, [survivor, dying]) = (&replicas.server, replicas.doors());
    for name in ["to-bind", "to-unbind", "to-update", "to-remove"] {
        assert_eq!(dying.create(name).await.unwrap().0, 201);
    }
    let kept = dying.given("to-bind", "kept").await.unwrap();
    let taken = dying.given("to-unbind", "web").await.unwrap();
    server.hold();
    let mut asked = Vec::new();
    for (call, method, path, body) in [
        ("provision", "POST", "/resources", "name=made&plan=small&team=data"),
        ("bind", "POST", "/resources/to-bind/bind-app", "app-name=web"),
        ("unbind", "DELETE", "/resources/to-unbind/bind-app", "app-name=web"),
        ("update", "PUT", "/resources/to-update", "plan=large&team=data"),
        ("deprovision", "DELETE", "/resources/to-remove", "user=u"),
    ] {
        let door = dying.clone();
        asked.push((call, tokio::spawn(async move { door.form(method, path, body).await })));
        eventually(call, async || server.held(call)).await;
    }

    replicas.dying.signal("KILL");

    for (call, answer) in asked {
        assert_eq!(answer.await.unwrap(), None, "somebody was told how the {call} ended");
    }
    server.release();
    eventually("it is made", async || survivor.status("made").await == Some(204)).await;
    eventually("access is taken away", async || !replicas.opens(&taken)).await;
    eventually("it is changed", async || survivor.status("to-update").await == Some(204)).await;
    assert_eq!(server.instances().iter().filter(|plan| *plan == "large").count(), 1);
    eventually("it is removed", async || survivor.status("to-remove").await == Some(404)).await;
    eventually("the half-made account is gone", async || server.accounts().len() == 1).await;
    assert!(replicas.opens(&kept));
    assert_eq!(survivor.given("to-bind", "kept").await.unwrap(), kept);
    for name in ["made", "to-bind", "to-unbind", "to-update"] {
        assert_eq!(survivor.remove(name).await, Some(200), "{name}");
    }
    replicas.nothing_is_left().await;
}

// SPEC L-3, L-8, S-1
pub(crate) async fn a_process_that_is_killed_under_load_takes_nothing_acknowledged_with_it_and_leaves_nothing() {
    let replicas = Replicas::start().await;
    let (doors, acknowledged) = (replicas.doors(), AtomicUsize::new(0));
    let clients = futures::future::join_all((0..6).map(|client| Ledger::of(client, &doors, &acknowledged)));
    let kill = async {
        eventually("they are at work", async || acknowledged.load(Ordering::Relaxed) > 20).await;
        replicas.dying.signal("KILL");
        acknowledged.load(Ordering::Relaxed)
    };

    let (ledgers, before) = futures::join!(clients, kill);

    assert!(acknowledged.load(Ordering::Relaxed) > before, "the survivor goes on");
    settle(&ledgers, &doors[0], |given| replicas.opens(given)).await;
    replicas.nothing_is_left().await;
}
