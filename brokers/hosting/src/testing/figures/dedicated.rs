//! How long it takes to get a server of one's own, and to move to one.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use broker_core::{Broker, testing::TestBroker};

use super::{
    super::{Grounds, free_ports},
    middle, milliseconds,
};

/// What an app is given.
pub type Variables = BTreeMap<String, String>;

/// Broker and hand by turns.
const ROUNDS: usize = 7;

/// A broker that answers its platform when the work is done, however long that takes.
pub async fn serve(broker: impl Broker) -> TestBroker {
    TestBroker::start_with(broker, None, |server| server.answer_within(Duration::from_secs(600))).await
}

/// Measures the time from the request for an instance to an app's first answer from it, beside the same server started
/// by hand, and prints a row of a Markdown table.
///
/// `answers` says whether an app with these variables is answered. `by_hand` starts a server, by the number of its round,
/// and returns when that answers; what it returns removes the server when it is dropped.
///
/// # Panics
/// When a call fails.
pub async fn first_answer<Server>(
    served: &TestBroker,
    plan: &str,
    answers: impl AsyncFn(&Variables) -> bool,
    by_hand: impl AsyncFn(usize) -> Server,
) {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    // The first of each builds what the others find.
    for round in 0..=ROUNDS {
        let begun = Instant::now();
        create(served, "first", plan).await;
        let env = served.bind_app("first", "app").await.is(201).env();
        assert!(answers(&env).await, "an app is answered when the broker has answered");
        ours.push(begun.elapsed().as_secs_f64());
        served.remove("first").await.is(200);

        let begun = Instant::now();
        let server = by_hand(round).await;
        theirs.push(begun.elapsed().as_secs_f64());
        drop(server);
    }
    let (ours, theirs) = (ours.split_off(1), theirs.split_off(1));
    let ratio = middle(ours.iter().zip(&theirs).map(|(ours, theirs)| ours / theirs).collect());
    let (ours, theirs) = (milliseconds(middle(ours)), milliseconds(middle(theirs)));
    println!("| create to the first answer, plan \"{plan}\" | {ours} | {theirs} | {ratio:.2} | at most 1.2 times |");
}

/// Measures a move from a plan to another and back, and prints a row of a Markdown table for each.
///
/// `fill` writes so many bytes as an app. `write` writes as an app, over and over, and returns when it can't any more.
/// `holds` says whether an app with these variables finds all that was filled in.
///
/// # Panics
/// When a call fails, or data is lost.
pub async fn moves(
    served: &TestBroker,
    plans: [&str; 2],
    mebibytes: u32,
    fill: impl AsyncFn(&Variables, u64),
    write: impl AsyncFn(&Variables),
    holds: impl AsyncFn(&Variables) -> bool,
) {
    let [from, to] = plans;
    create(served, "moving", from).await;
    let mut env = served.bind_app("moving", "app").await.is(201).env();
    fill(&env, u64::from(mebibytes) << 20).await;
    for (from, to) in [(from, to), (to, from)] {
        let update = async {
            let begun = Instant::now();
            served.form("PUT", "/resources/moving", &format!("plan={to}&team=t")).await.is(200);
            (begun.elapsed(), Instant::now())
        };
        let stopped = async {
            write(&env).await;
            Instant::now()
        };
        let ((took, done), stopped) = futures::join!(update, stopped);
        env = served.bind_app("moving", "app").await.env();
        assert!(holds(&env).await, "nothing is lost on the way from {from} to {to}");
        let paused = done.saturating_duration_since(stopped);
        let of_each = took.as_secs_f64() * 1024.0 / f64::from(mebibytes);
        println!(
            "| move of {mebibytes} MiB from \"{from}\" to \"{to}\" | {:.1} s, no writes for {:.1} s | | {of_each:.1} s/GiB | |",
            took.as_secs_f64(),
            paused.as_secs_f64(),
        );
    }
    served.remove("moving").await.is(200);
}

/// A server in a container, as somebody would start it by hand. Dropping it removes it.
#[derive(Debug)]
pub struct ByHand(String);

impl ByHand {
    /// Starts one in a network of its own, and returns when it answers on its port.
    ///
    /// `commands` are what `docker` is told, their words between spaces, by a folder that the server may write to, a name
    /// for container and network, and a port.
    ///
    /// # Panics
    /// When `docker` refuses a command.
    pub async fn start(
        grounds: &Grounds,
        round: usize,
        commands: impl FnOnce(&Path, &str, &str) -> Vec<String>,
        answers: impl AsyncFn(&str) -> bool,
    ) -> Self {
        let server = Self(format!("bench-{}-{round}", std::process::id()));
        let folder = grounds.folder.path().join(&server.0);
        fs::create_dir(&folder).expect("a folder");
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).expect("a folder for anybody");
        let ports = free_ports(1);
        let port = ports.split('-').next().expect("a port");
        docker(&format!("network create --opt com.docker.network.bridge.enable_ip_masquerade=false {}", server.0));
        commands(&folder, &server.0, port).iter().for_each(|command| docker(command));
        while !answers(port).await {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        server
    }
}

impl Drop for ByHand {
    fn drop(&mut self) {
        docker(&format!("rm --force --volumes {}", self.0));
        docker(&format!("network rm {}", self.0));
    }
}

fn docker(command: &str) {
    let output = Command::new("docker").args(command.split_whitespace()).output().expect("docker is installed");
    assert!(output.status.success(), "docker {command}: {}", String::from_utf8_lossy(&output.stderr));
}

async fn create(served: &TestBroker, name: &str, plan: &str) {
    served.form("POST", "/resources", &format!("name={name}&plan={plan}&team=t&user=u%40example.com")).await.is(201);
}
