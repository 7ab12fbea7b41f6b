//! The `engine` port in memory, and its contract.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use async_trait::async_trait;
use broker_core::AppName;
use chrono::Utc;
use futures::{
    StreamExt,
    stream::{self, BoxStream},
};
use tokio::sync::{broadcast, watch};

use crate::{
    Error, HealthCheck, Manifest, PORT, PlatformName, ProcessName, Progress, Result, Unit, UnitEnv, UnitId, UnitSpec,
    UnitState,
    ports::{Build, Built, Engine, LogLine},
};

/// What a [`FakeEngine`] was asked to do, in the order it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EngineCall {
    /// `build_platform`, with the image it made.
    BuildPlatform(String),
    /// `build`
    Build(AppName, u32),
    /// `take_image`, with the image it was given.
    TakeImage(AppName, u32, String),
    /// `start`
    Start(UnitId),
    /// `wait_ready`
    WaitReady(UnitId),
    /// `stop`
    Stop(UnitId),
    /// `run_in`, with the command.
    RunIn(UnitId, String),
    /// `run_once`, with the arguments.
    RunOnce(AppName, Vec<String>),
    /// `remove_image`
    RemoveImage(String),
}

/// Units in memory. It does what it is told: builds fail, units never become ready, engines vanish.
///
/// Commands are run by a tiny shell that knows `echo TEXT` and `exit N`, joined by `;`: a unit whose
/// command exits is dead as soon as it was started. Clones are the same engine.
#[derive(Clone)]
pub struct FakeEngine {
    state: Arc<Mutex<State>>,
    changed: broadcast::Sender<Option<AppName>>,
    said: broadcast::Sender<(AppName, LogLine)>,
    held: watch::Sender<bool>,
}

#[derive(Default)]
struct State {
    calls: Vec<EngineCall>,
    units: BTreeMap<UnitId, Kept>,
    images: BTreeMap<String, Option<UnitEnv>>,
    lines: Vec<(AppName, LogLine)>,
    manifest: Option<Manifest>,
    started: u8,
    address: Option<SocketAddr>,
    down: Option<String>,
    fail_build: Option<String>,
    fail_start: Option<String>,
    fail_stop: Option<String>,
    never_ready: Option<String>,
}

struct Kept {
    unit: Unit,
    spec: UnitSpec,
}

impl Default for FakeEngine {
    fn default() -> Self {
        Self::new()
    }
}

impl FakeEngine {
    /// An engine without units on which everything works; builds give one process, `web`.
    #[must_use]
    pub fn new() -> Self {
        Self {
            state: Arc::default(),
            changed: broadcast::channel(1024).0,
            said: broadcast::channel(1024).0,
            held: watch::channel(false).0,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of the state panics")
    }

    /// Notes a call, unless the engine is away.
    fn call(&self, call: EngineCall) -> Result<MutexGuard<'_, State>> {
        let mut state = self.up()?;
        state.calls.push(call);
        Ok(state)
    }

    fn up(&self) -> Result<MutexGuard<'_, State>> {
        let state = self.state();
        match &state.down {
            Some(sentence) => Err(Error::Engine(sentence.clone())),
            None => Ok(state),
        }
    }

    fn tell(&self, app: &AppName) {
        // Nobody has to listen.
        let _listeners = self.changed.send(Some(app.clone()));
    }

    /// Everything that was asked so far.
    #[must_use]
    pub fn calls(&self) -> Vec<EngineCall> {
        self.state().calls.clone()
    }

    /// Forgets what was asked so far.
    pub fn forget_calls(&self) {
        self.state().calls.clear();
    }

    /// From now on builds give these processes and hooks.
    pub fn builds_give(&self, manifest: Manifest) {
        self.state().manifest = Some(manifest);
    }

    /// From now on builds fail with this sentence; `None` ends it.
    pub fn fail_build(&self, sentence: Option<&str>) {
        self.state().fail_build = sentence.map(str::to_owned);
    }

    /// From now on starts fail with this sentence; `None` ends it.
    pub fn fail_start(&self, sentence: Option<&str>) {
        self.state().fail_start = sentence.map(str::to_owned);
    }

    /// From now on stops fail with this sentence; `None` ends it.
    pub fn fail_stop(&self, sentence: Option<&str>) {
        self.state().fail_stop = sentence.map(str::to_owned);
    }

    /// From now on no unit becomes ready, and waiting ends at once with this sentence; `None` ends it.
    pub fn never_ready(&self, sentence: Option<&str>) {
        self.state().never_ready = sentence.map(str::to_owned);
    }

    /// While held, waiting for readiness does not return.
    pub fn hold_ready(&self, held: bool) {
        self.held.send_replace(held);
    }

    /// The engine is away: every call fails with this sentence; `None` brings it back, and everything
    /// counts as changed.
    pub fn down(&self, sentence: Option<&str>) {
        self.state().down = sentence.map(str::to_owned);
        if sentence.is_none() {
            let _listeners = self.changed.send(None);
        }
    }

    /// Units that start from now on listen there; `None` gives each an address of its own again.
    pub fn listen_at(&self, address: Option<SocketAddr>) {
        self.state().address = address;
    }

    /// The unit's process dies by itself.
    ///
    /// # Panics
    /// When there is no such unit.
    pub fn kill(&self, unit: &UnitId) {
        let mut state = self.state();
        let kept = state.units.get_mut(unit).expect("a unit that is there");
        kept.unit.state = UnitState::Error;
        kept.unit.address = None;
        let app = kept.unit.app.clone();
        drop(state);
        self.tell(&app);
    }

    /// Somebody removed the unit behind the platform's back.
    pub fn lose(&self, unit: &UnitId) {
        let lost = self.state().units.remove(unit);
        if let Some(lost) = lost {
            self.tell(&lost.unit.app);
        }
    }

    /// The unit writes a line.
    ///
    /// # Panics
    /// When there is no such unit.
    pub fn say(&self, unit: &UnitId, line: &str) {
        let mut state = self.state();
        let kept = state.units.get(unit).expect("a unit that is there");
        let app = kept.unit.app.clone();
        let line = LogLine {
            at: Utc::now(),
            source: kept.unit.process.to_string(),
            unit: unit.to_string(),
            message: line.to_owned(),
        };
        state.lines.push((app.clone(), line.clone()));
        drop(state);
        let _listeners = self.said.send((app, line));
    }

    /// An app's units, whatever their state, by identifier.
    #[must_use]
    pub fn units_of(&self, app: &AppName) -> Vec<Unit> {
        self.state().units.values().filter(|kept| kept.unit.app == *app).map(|kept| kept.unit.clone()).collect()
    }

    /// What a unit was started with.
    #[must_use]
    pub fn spec_of(&self, unit: &UnitId) -> Option<UnitSpec> {
        self.state().units.get(unit).map(|kept| kept.spec.clone())
    }

    /// The images that are there.
    #[must_use]
    pub fn images(&self) -> Vec<String> {
        self.state().images.keys().cloned().collect()
    }

    /// The variables that an image's build saw.
    #[must_use]
    pub fn build_env_of(&self, image: &str) -> Option<UnitEnv> {
        self.state().images.get(image).cloned().flatten()
    }
}

/// What the tiny shell does: the output, and the exit status where the script has an end.
fn tiny_shell(script: &str) -> (Vec<String>, Option<i64>) {
    let mut output = Vec::new();
    for statement in script.split(';').map(str::trim) {
        if let Some(text) = statement.strip_prefix("echo ") {
            output.push(text.trim_matches('"').to_owned());
        } else if let Some(status) = statement.strip_prefix("exit ") {
            return (output, status.trim().parse().ok());
        }
    }
    (output, None)
}

impl State {
    fn built(&mut self, image: String, env: Option<UnitEnv>) -> Result<Built> {
        let manifest = match &self.manifest {
            Some(manifest) => manifest.clone(),
            None => Manifest::parse(Some("web: ./serve"), None, &[])?,
        };
        self.images.insert(image.clone(), env);
        Ok(Built { image, processes: manifest.processes, hooks: manifest.hooks })
    }

    /// Addresses go up with each start, so that a unit that starts again comes back elsewhere.
    fn next_address(&mut self) -> SocketAddr {
        self.started = self.started.wrapping_add(1);
        self.address.unwrap_or_else(|| (Ipv4Addr::new(10, 0, 0, self.started), PORT).into())
    }

    fn run(&mut self, id: &UnitId, address: SocketAddr) -> (Unit, Vec<String>) {
        let kept = self.units.get_mut(id).expect("the caller has put it there");
        let (output, end) = tiny_shell(kept.spec.command.last().map_or("", String::as_str));
        (kept.unit.state, kept.unit.address) = match end {
            Some(0) => (UnitState::Stopped, None),
            Some(_) => (UnitState::Error, None),
            None => (UnitState::Started, Some(address)),
        };
        (kept.unit.clone(), output)
    }
}

fn new_unit(spec: &UnitSpec) -> Unit {
    Unit {
        id: spec.id.clone(),
        app: spec.app.clone(),
        process: spec.process.clone(),
        version: spec.version,
        generation: spec.generation,
        state: UnitState::Created,
        address: None,
        created_at: Utc::now(),
        restarts: 0,
    }
}

#[async_trait]
impl Engine for FakeEngine {
    async fn build_platform(&self, name: &PlatformName, version: u32, _: &str, progress: &Progress) -> Result<String> {
        let image = format!("tsuru/{name}:v{version}");
        let mut state = self.call(EngineCall::BuildPlatform(image.clone()))?;
        if let Some(sentence) = &state.fail_build {
            return Err(Error::Build(sentence.clone()));
        }
        progress.step("platform built");
        state.images.insert(image.clone(), None);
        Ok(image)
    }

    async fn build(&self, build: &Build<'_>, progress: &Progress) -> Result<Built> {
        let mut state = self.call(EngineCall::Build(build.app.clone(), build.version))?;
        progress.step("building");
        if let Some(sentence) = &state.fail_build {
            return Err(Error::Build(sentence.clone()));
        }
        state.built(format!("tsuru/app-{}:v{}", build.app, build.version), Some(build.env.clone()))
    }

    async fn take_image(&self, app: &AppName, version: u32, image: &str, progress: &Progress) -> Result<Built> {
        let mut state = self.call(EngineCall::TakeImage(app.clone(), version, image.to_owned()))?;
        progress.step(format!("taking {image}"));
        if let Some(sentence) = &state.fail_build {
            return Err(Error::Build(sentence.clone()));
        }
        state.built(format!("tsuru/app-{app}:v{version}"), None)
    }

    async fn start(&self, spec: &UnitSpec) -> Result<Unit> {
        let mut state = self.call(EngineCall::Start(spec.id.clone()))?;
        if let Some(sentence) = &state.fail_start {
            return Err(Error::Engine(sentence.clone()));
        }
        match state.units.get_mut(&spec.id) {
            Some(kept) if kept.unit.state == UnitState::Started => return Ok(kept.unit.clone()),
            Some(kept) => kept.unit.restarts += 1,
            None => {
                let kept = Kept { unit: new_unit(spec), spec: spec.clone() };
                state.units.insert(spec.id.clone(), kept);
            }
        }
        let address = state.next_address();
        let (unit, output) = state.run(&spec.id, address);
        drop(state);
        for line in output {
            self.say(&spec.id, &line);
        }
        self.tell(&spec.app);
        Ok(unit)
    }

    async fn wait_ready(&self, unit: &Unit, _: Option<&HealthCheck>, _: bool, within: Duration) -> Result<()> {
        drop(self.call(EngineCall::WaitReady(unit.id.clone()))?);
        let mut held = self.held.subscribe();
        let released = held.wait_for(|held| !held);
        if tokio::time::timeout(within, released).await.is_err() {
            return Err(Error::NotReady(format!("unit {} was not ready after {within:?}", unit.id)));
        }
        let state = self.up()?;
        if let Some(sentence) = &state.never_ready {
            return Err(Error::NotReady(sentence.clone()));
        }
        let Some(kept) = state.units.get(&unit.id) else {
            return Err(Error::NotReady(format!("unit {} is gone", unit.id)));
        };
        if kept.unit.state == UnitState::Started {
            return Ok(());
        }
        let (output, status) = tiny_shell(kept.spec.command.last().map_or("", String::as_str));
        let status = status.unwrap_or(137);
        Err(Error::NotReady(format!("unit {} exited with status {status}:\n{}", unit.id, output.join("\n"))))
    }

    async fn stop(&self, unit: &UnitId, _: Duration) -> Result<()> {
        let mut state = self.call(EngineCall::Stop(unit.clone()))?;
        if let Some(sentence) = &state.fail_stop {
            return Err(Error::Engine(sentence.clone()));
        }
        let stopped = state.units.remove(unit);
        drop(state);
        if let Some(stopped) = stopped {
            self.tell(&stopped.unit.app);
        }
        Ok(())
    }

    async fn units(&self, app: Option<&AppName>) -> Result<Vec<Unit>> {
        let state = self.up()?;
        Ok(state
            .units
            .values()
            .filter(|kept| app.is_none_or(|app| kept.unit.app == *app))
            .map(|kept| kept.unit.clone())
            .collect())
    }

    async fn logs(&self, app: &AppName, lines: usize, follow: bool) -> Result<BoxStream<'static, LogLine>> {
        let later = self.said.subscribe();
        let state = self.up()?;
        let of_app: Vec<LogLine> =
            state.lines.iter().filter(|(of, _)| of == app).map(|(_, line)| line.clone()).collect();
        drop(state);
        let last = stream::iter(of_app.into_iter().rev().take(lines).collect::<Vec<_>>().into_iter().rev());
        if !follow {
            return Ok(last.boxed());
        }
        let app = app.clone();
        let later = heard(later).filter_map(move |(of, line)| {
            let line = (of == app).then_some(line);
            async move { line }
        });
        Ok(last.chain(later).boxed())
    }

    async fn run_in(&self, unit: &UnitId, command: &str, progress: &Progress) -> Result<i64> {
        let state = self.call(EngineCall::RunIn(unit.clone(), command.to_owned()))?;
        if state.units.get(unit).is_none_or(|kept| kept.unit.state != UnitState::Started) {
            return Err(Error::Engine(format!("unit {unit} is not running")));
        }
        let (output, status) = tiny_shell(command);
        output.iter().for_each(|line| progress.line(line));
        Ok(status.unwrap_or(0))
    }

    async fn run_once(&self, spec: &UnitSpec, progress: &Progress) -> Result<i64> {
        let state = self.call(EngineCall::RunOnce(spec.app.clone(), spec.command.clone()))?;
        if let Some(sentence) = &state.fail_start {
            return Err(Error::Engine(sentence.clone()));
        }
        let (output, status) = tiny_shell(spec.command.last().map_or("", String::as_str));
        output.iter().for_each(|line| progress.line(line));
        Ok(status.unwrap_or(0))
    }

    async fn remove_image(&self, image: &str) -> Result<()> {
        let mut state = self.call(EngineCall::RemoveImage(image.to_owned()))?;
        if state.units.values().any(|kept| kept.spec.image == image) {
            return Err(Error::Engine(format!("image {image} is in use by a unit")));
        }
        state.images.remove(image);
        Ok(())
    }

    async fn changes(&self) -> BoxStream<'static, Option<AppName>> {
        heard(self.changed.subscribe()).boxed()
    }
}

/// What a channel brings from now on. A listener that is far behind misses the oldest.
fn heard<T: Clone + Send + 'static>(channel: broadcast::Receiver<T>) -> impl futures::Stream<Item = T> + Send {
    stream::unfold(channel, |mut channel| async move {
        loop {
            match channel.recv().await {
                Ok(item) => return Some((item, channel)),
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    })
}

/// What the contract needs of the world it runs in.
#[derive(Clone, Debug)]
pub struct EngineFixture {
    /// An app that nobody else uses.
    pub app: AppName,
    /// A platform's image.
    pub platform_image: String,
    /// Source whose `web` process is a server on port 8888, for as long as it runs.
    pub archive: PathBuf,
    /// How long a unit may take to become ready.
    pub patience: Duration,
}

impl EngineFixture {
    /// For an engine in memory, which reads nothing.
    #[must_use]
    pub fn in_memory() -> Self {
        Self {
            app: "blog".parse().expect("a good name"),
            platform_image: "tsuru/static".to_owned(),
            archive: PathBuf::from("/nonexistent"),
            patience: Duration::from_secs(5),
        }
    }

    fn spec(&self, suffix: &str, image: &str, command: Vec<String>) -> UnitSpec {
        UnitSpec {
            id: UnitId(format!("{}-web-1-{suffix}", self.app)),
            app: self.app.clone(),
            process: ProcessName::web(),
            version: 1,
            generation: 3,
            image: image.to_owned(),
            command,
            env: [("GREETING".to_owned(), "hi".into()), ("PORT".to_owned(), "8888".into())].into(),
            memory: 64 << 20,
            cpu_milli: 500,
        }
    }

    fn shell(&self, suffix: &str, image: &str, script: &str) -> UnitSpec {
        self.spec(suffix, image, vec!["/bin/sh".into(), "-c".into(), script.into()])
    }
}

/// What every engine keeps. Leaves nothing behind when it passes.
///
/// # Panics
/// When the engine breaks the contract.
pub async fn engine_contract(engine: &dyn Engine, fixture: &EngineFixture) {
    let built = a_build_gives_an_image_and_its_processes(engine, fixture).await;
    a_unit_lives_and_dies(engine, fixture, &built).await;
    starting_again_adopts(engine, fixture, &built).await;
    a_unit_that_ends_is_never_ready_and_says_why(engine, fixture, &built).await;
    commands_run_in_units_and_in_fresh_ones(engine, fixture, &built).await;
    what_units_write_can_be_read_and_followed(engine, fixture, &built).await;
    images_go_once_nothing_uses_them(engine, fixture, &built).await;
}

async fn a_build_gives_an_image_and_its_processes(engine: &dyn Engine, fixture: &EngineFixture) -> Built {
    let build = Build {
        app: &fixture.app,
        version: 1,
        platform_image: &fixture.platform_image,
        archive: &fixture.archive,
        env: UnitEnv::new(),
    };
    let progress = Progress::silent();
    let built = engine.build(&build, &progress).await.expect("a build that works");
    assert!(built.image.ends_with(&format!("/app-{}:v1", fixture.app)), "{}", built.image);
    assert!(built.processes.iter().any(|process| process.name == ProcessName::web()), "{:?}", built.processes);
    assert!(!progress.log().is_empty(), "a build tells what it does");
    built
}

fn serving(fixture: &EngineFixture, built: &Built, suffix: &str) -> UnitSpec {
    let web = built.processes.iter().find(|process| process.name == ProcessName::web()).expect("a web process");
    fixture.spec(suffix, &built.image, web.start_command(&built.hooks))
}

async fn a_unit_lives_and_dies(engine: &dyn Engine, fixture: &EngineFixture, built: &Built) {
    let mut changes = engine.changes().await;
    let spec = serving(fixture, built, "life");
    let unit = engine.start(&spec).await.expect("a unit that starts");
    assert_eq!((&unit.id, &unit.app, &unit.process), (&spec.id, &spec.app, &spec.process));
    assert_eq!((unit.version, unit.generation, unit.restarts), (1, 3, 0));
    assert_eq!(unit.address.expect("an address").port(), PORT);
    engine.wait_ready(&unit, None, true, fixture.patience).await.expect("a server on its port is ready");
    let heard = tokio::time::timeout(fixture.patience, async {
        while let Some(change) = changes.next().await {
            if change.is_none_or(|app| app == fixture.app) {
                return true;
            }
        }
        false
    });
    assert!(heard.await.expect("a start is a change"), "changes end only with the engine");

    let listed = engine.units(Some(&fixture.app)).await.expect("a list");
    assert_eq!(
        listed.iter().map(|unit| (&unit.id, unit.state, unit.address)).collect::<Vec<_>>(),
        [(&spec.id, UnitState::Started, unit.address)]
    );
    let all = engine.units(None).await.expect("a list");
    assert!(all.iter().any(|listed| listed.id == spec.id));
    let other = "someone-elses".parse().expect("a good name");
    assert_eq!(engine.units(Some(&other)).await.expect("a list"), []);

    engine.stop(&spec.id, Duration::from_secs(2)).await.expect("a stop");
    assert_eq!(engine.units(Some(&fixture.app)).await.expect("a list"), []);
    engine.stop(&spec.id, Duration::from_secs(2)).await.expect("stopping a unit that is gone is a success");
}

async fn starting_again_adopts(engine: &dyn Engine, fixture: &EngineFixture, built: &Built) {
    let spec = serving(fixture, built, "again");
    let first = engine.start(&spec).await.expect("a unit that starts");
    let second = engine.start(&spec).await.expect("a start that is repeated");
    assert_eq!((second.address, second.restarts), (first.address, 0));
    assert_eq!(engine.units(Some(&fixture.app)).await.expect("a list").len(), 1);
    engine.stop(&spec.id, Duration::from_secs(2)).await.expect("a stop");
}

async fn a_unit_that_ends_is_never_ready_and_says_why(engine: &dyn Engine, fixture: &EngineFixture, built: &Built) {
    let spec = fixture.shell("ends", &built.image, "echo cannot find the soup; exit 7");
    let unit = engine.start(&spec).await.expect("a unit that starts, if only for a moment");
    for listens in [true, false] {
        let why = engine.wait_ready(&unit, None, listens, fixture.patience).await.expect_err("it ended");
        assert!(matches!(why, Error::NotReady(_)), "{why:?}");
        let why = why.to_string();
        assert!(why.contains("status 7") && why.ends_with("cannot find the soup"), "{why}");
    }
    let listed = engine.units(Some(&fixture.app)).await.expect("a list");
    assert_eq!((listed[0].state, listed[0].address), (UnitState::Error, None));
    engine.stop(&spec.id, Duration::from_secs(2)).await.expect("a stop");
}

async fn commands_run_in_units_and_in_fresh_ones(engine: &dyn Engine, fixture: &EngineFixture, built: &Built) {
    let spec = serving(fixture, built, "runs");
    engine.start(&spec).await.expect("a unit that starts");
    let progress = Progress::silent();
    let status = engine.run_in(&spec.id, "echo inside; exit 3", &progress).await.expect("a command that ran");
    assert_eq!((status, progress.log().as_str()), (3, "inside\n"));
    engine.stop(&spec.id, Duration::from_secs(2)).await.expect("a stop");
    let gone = engine.run_in(&spec.id, "exit 0", &Progress::silent()).await;
    assert!(gone.is_err(), "nothing runs in a unit that is gone");

    let progress = Progress::silent();
    let once = fixture.shell("once", &built.image, "echo alone; exit 4");
    let status = engine.run_once(&once, &progress).await.expect("a command that ran");
    assert_eq!((status, progress.log().as_str()), (4, "alone\n"));
    assert_eq!(engine.units(Some(&fixture.app)).await.expect("a list"), []);
}

async fn what_units_write_can_be_read_and_followed(engine: &dyn Engine, fixture: &EngineFixture, built: &Built) {
    let early = fixture.shell("early", &built.image, "echo one; echo two; exit 0");
    let unit = engine.start(&early).await.expect("a unit that starts");
    let _ended = engine.wait_ready(&unit, None, true, fixture.patience).await;
    let last = engine.logs(&fixture.app, 1, false).await.expect("lines").collect::<Vec<_>>().await;
    let seen: Vec<_> =
        last.iter().map(|line| (line.source.as_str(), line.unit.as_str(), line.message.as_str())).collect();
    assert_eq!(seen, [("web", early.id.0.as_str(), "two")]);

    let following = engine.logs(&fixture.app, 1, true).await.expect("lines");
    let late = fixture.shell("late", &built.image, "echo three; exit 0");
    engine.start(&late).await.expect("a unit that starts");
    let heard = following.map(|line| line.message).take(2).collect::<Vec<_>>();
    let heard = tokio::time::timeout(fixture.patience, heard).await.expect("what a later unit writes is followed");
    assert_eq!(heard, ["two", "three"]);
    for spec in [early, late] {
        engine.stop(&spec.id, Duration::from_secs(2)).await.expect("a stop");
    }
}

async fn images_go_once_nothing_uses_them(engine: &dyn Engine, fixture: &EngineFixture, built: &Built) {
    let spec = serving(fixture, built, "uses");
    engine.start(&spec).await.expect("a unit that starts");
    engine.remove_image(&built.image).await.expect_err("an image in use stays");
    engine.stop(&spec.id, Duration::from_secs(2)).await.expect("a stop");
    engine.remove_image(&built.image).await.expect("an unused image goes");
    engine.remove_image(&built.image).await.expect("removing an image that is gone is a success");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_fake_keeps_the_contract() {
        engine_contract(&FakeEngine::new(), &EngineFixture::in_memory()).await;
    }

    #[tokio::test]
    async fn a_unit_that_was_killed_is_listed_as_failed_and_comes_back_elsewhere() {
        let (engine, fixture) = (FakeEngine::new(), EngineFixture::in_memory());
        let spec = fixture.spec("killed", "image", vec!["./serve".into()]);
        let before = engine.start(&spec).await.unwrap();

        engine.kill(&spec.id);

        assert_eq!(engine.units_of(&fixture.app)[0].state, UnitState::Error);
        let after = engine.start(&spec).await.unwrap();
        assert_eq!(after.restarts, 1);
        assert_ne!(after.address, before.address);
    }

    #[tokio::test]
    async fn an_engine_that_is_away_says_so() {
        let engine = FakeEngine::new();
        engine.down(Some("Docker does not answer"));

        let refusal = engine.units(None).await.unwrap_err();

        assert_eq!(refusal.to_string(), "Docker does not answer");
    }
}
