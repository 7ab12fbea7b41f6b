//! Any sequence of requests, one by one or crossing, with an author and records that fail and crashes at any point, against
//! what the platform may believe (SPEC L-2, L-3, L-12, I-2, I-5, B-6, B-7).

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};

use super::{
    Ask, Change, Consumer, Engine, EnvVars, FakeBroker, MemoryStore, Misdeed, NewInstance, OFTEN, Outcome, Parameters,
    Result, Schemas, Store, Timing, Trouble, Troubled, name, wishes,
};
use crate::{Binding, Broker, BrokerError, Catalog, Instance, Notes, SealingKey, Tenant, Update, store::SqliteStore};

/// What a platform asks for.
#[derive(Clone, Copy, Debug)]
enum Request {
    Create(&'static str),
    /// A create that is answered before it is done.
    Accept(&'static str),
    Update(&'static str),
    Retry,
    Remove,
    Bind(&'static str),
    Unbind(&'static str),
    Rotate(&'static str),
}

/// When the process dies.
#[derive(Clone, Copy, Debug)]
enum Point {
    /// Before it writes something, with so many commits before that: the intent, the outcome, what follows it.
    BeforeCommit(usize),
    /// After it wrote something, before anybody hears of it.
    AfterCommit(usize),
    /// While the author is at work.
    InCall,
}

#[derive(Clone, Debug)]
enum Step {
    Ask(Request),
    /// Both at once.
    Cross(Request, Request),
    /// The next such call of the author's goes wrong.
    Author(&'static str, Misdeed),
    /// A commit goes wrong, after so many that don't.
    Records(usize, Trouble),
    /// The process dies during a request and is started again.
    Crash(Request, Point),
}

fn requests() -> impl Strategy<Value = Request> {
    let app = || prop::sample::select(vec!["web", "worker"]);
    let plan = || prop::sample::select(vec!["small", "large"]);
    prop_oneof![
        3 => plan().prop_map(Request::Create),
        1 => plan().prop_map(Request::Accept),
        2 => plan().prop_map(Request::Update),
        1 => Just(Request::Retry),
        1 => Just(Request::Remove),
        4 => app().prop_map(Request::Bind),
        2 => app().prop_map(Request::Unbind),
        2 => app().prop_map(Request::Rotate),
    ]
}

fn points() -> impl Strategy<Value = Point> {
    prop_oneof![
        (0..3_usize).prop_map(Point::BeforeCommit),
        (0..3_usize).prop_map(Point::AfterCommit),
        Just(Point::InCall),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let call = prop::sample::select(vec!["provision", "bind", "unbind", "update", "deprovision"]);
    let misdeed = prop::sample::select(vec![Misdeed::Refuse, Misdeed::LoseServer, Misdeed::Fail, Misdeed::Panic]);
    let trouble = prop::sample::select(vec![Trouble::Lost, Trouble::AnswerLost]);
    let step = prop_oneof![
        8 => requests().prop_map(Step::Ask),
        3 => (requests(), requests()).prop_map(|(one, other)| Step::Cross(one, other)),
        4 => (call, misdeed).prop_map(|(call, misdeed)| Step::Author(call, misdeed)),
        2 => (0..3_usize, trouble).prop_map(|(after, trouble)| Step::Records(after, trouble)),
        4 => (requests(), points()).prop_map(|(request, point)| Step::Crash(request, point)),
    ];
    prop::collection::vec(step, 4..16)
}

#[test] // SPEC L-2, L-3, L-12
fn whatever_happens_to_records_in_memory_what_was_said_holds_and_nothing_is_left() {
    run(64, || {
        let records: Arc<dyn Store> = Arc::new(MemoryStore::default());
        async move || records.clone()
    });
}

#[test] // SPEC L-2, L-3, L-12
fn whatever_happens_to_records_in_a_file_what_was_said_holds_and_nothing_is_left() {
    run(32, || {
        let (folder, key) = (tempfile::tempdir().unwrap(), SealingKey::generate());
        async move || opened(&folder.path().join("state.db"), &key).await
    });
}

async fn opened(path: &Path, key: &SealingKey) -> Arc<dyn Store> {
    Arc::new(SqliteStore::open(path, key.clone()).await.unwrap())
}

/// Runs random lives on records that are opened anew after each crash.
fn run<O: AsyncFn() -> Arc<dyn Store>>(cases: u32, records: impl Fn() -> O) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let config = Config { cases, max_shrink_iters: 16, failure_persistence: None, ..Config::default() };
    let outcome = TestRunner::new(config)
        .run(&steps(), |steps| runtime.block_on(live(steps, records())).map_err(TestCaseError::fail));
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
}

async fn live(steps: Vec<Step>, open: impl AsyncFn() -> Arc<dyn Store>) -> std::result::Result<(), String> {
    let fake = FakeBroker::new();
    let mut process = Process::start(open().await, &fake);
    let mut believed = Believed::default();
    for (number, step) in steps.into_iter().enumerate() {
        let told = |reason: String| format!("after step {number}, {step:?}: {reason}");
        match step.clone() {
            Step::Ask(request) => {
                let answer = process.ask(request).await;
                believed.hear(request, &answer, &fake).map_err(told)?;
            }
            Step::Cross(one, other) => {
                let answers = futures::join!(process.ask(one), process.ask(other));
                believed.hear_both((one, &answers.0), (other, &answers.1), &fake).map_err(told)?;
            }
            Step::Author(call, misdeed) => fake.next(call, misdeed),
            Step::Records(after, trouble) => process.records.next(&at(after, trouble)),
            Step::Crash(request, point) => {
                let answer = process.die_in(request, point, &fake).await;
                fake.forgive();
                process = Process::start(open().await, &fake);
                match answer {
                    Some(answer) => believed.hear(request, &answer, &fake).map_err(told)?,
                    None => believed.hear_nothing(request),
                }
            }
        }
        believed.check(&process, &fake).await.map_err(told)?;
    }
    fake.forgive();
    process.records.next(&[]);
    let removed = async || matches!(process.ask(Request::Remove).await, Ok(_) | Err(BrokerError::UnknownInstance(_)));
    holds("everything can be removed", removed).await?;
    holds("nothing is left", async || fake.instances() == 0 && fake.accounts().is_empty()).await?;
    let forgotten = async || matches!(process.ask(Request::Remove).await, Err(BrokerError::UnknownInstance(_)));
    holds("its name is free", forgotten).await?;
    process.engine.kill().await;
    Ok(())
}

/// So many commits that go well, then one that does not.
fn at(after: usize, trouble: Trouble) -> Vec<Trouble> {
    let mut troubles = vec![Trouble::None; after];
    troubles.push(trouble);
    troubles
}

/// As [`eventually`], for a property that reports what it finds.
async fn holds(what: &str, mut is_so: impl AsyncFnMut() -> bool) -> std::result::Result<(), String> {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while !is_so().await {
        if tokio::time::Instant::now() > deadline {
            return Err(format!("not so: {what}"));
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(())
}

/// A process of the broker.
struct Process {
    engine: Arc<Engine>,
    records: Arc<Troubled>,
}

/// What an operation answered: variables, where it gives some.
type Answer = Result<Option<EnvVars>>;

impl Process {
    fn start(records: Arc<dyn Store>, fake: &FakeBroker) -> Self {
        let records = Troubled::on(records);
        let catalog = fake.catalog();
        let schemas = Schemas::of(&catalog).unwrap();
        let turn_within = Duration::from_millis(300);
        let timing = Timing { retries: 0, reconcile_every: OFTEN, turn_within, ..Timing::default() };
        let engine = Engine::new(Arc::new(Slow(fake.clone())), catalog, schemas, records.clone(), timing, None);
        engine.start();
        Self { engine, records }
    }

    async fn ask(&self, request: Request) -> Answer {
        let (engine, ask) = (&self.engine, Ask::default());
        match request {
            Request::Create(plan) | Request::Accept(plan) => {
                let is_early = matches!(request, Request::Accept(_));
                let wait = is_early.then_some(Duration::ZERO);
                let ask = Ask { wait, accepts_incomplete: is_early, ..ask };
                let new = NewInstance { name: name(), plan: Some(plan.parse().unwrap()), wishes: wishes() };
                engine.create(new, ask).await.map(|_| None)
            }
            Request::Update(plan) => {
                let plan = Some(plan.parse().unwrap());
                let change = Change { name: name(), plan, upgrades: false, wishes: wishes() };
                engine.update(change, ask).await.map(|_| None)
            }
            Request::Retry => engine.retry(name(), ask).await.map(|_| None),
            Request::Remove => engine.remove(name(), ask).await.map(|_| None),
            Request::Bind(app) => engine.bind(name(), consumer(app), Parameters::new(), ask).await.map(given),
            Request::Unbind(app) => engine.unbind(name(), consumer(app), ask).await.map(|_| None),
            Request::Rotate(app) => engine.rotate(name(), consumer(app), ask).await.map(given),
        }
    }

    /// Dies during a request, or after it if it does not come to that point. Returns the answer that got out.
    async fn die_in(self, request: Request, point: Point, fake: &FakeBroker) -> Option<Answer> {
        let call = request.call();
        let before = fake.count(call);
        match point {
            Point::BeforeCommit(after) => self.records.next(&at(after, Trouble::DiesBefore)),
            Point::AfterCommit(after) => self.records.next(&at(after, Trouble::DiesAfter)),
            Point::InCall => {
                fake.forgive();
                fake.next(call, Misdeed::Hang);
            }
        }
        let in_call = async {
            while !matches!(point, Point::InCall) || fake.count(call) == before {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let answer = tokio::select! {
            answer = self.ask(request) => Some(answer),
            () = self.records.died() => None,
            () = in_call => None,
        };
        self.engine.kill().await;
        self.records.end_writing().await;
        answer
    }
}

fn consumer(app: &str) -> Consumer {
    Consumer::App(app.parse().unwrap())
}

fn given(outcome: Outcome<EnvVars>) -> Option<EnvVars> {
    match outcome {
        Outcome::Done(env) | Outcome::Already(env) => Some(env),
        Outcome::GoesOn(_) => None,
    }
}

impl Request {
    /// What the author is asked for it.
    fn call(self) -> &'static str {
        match self {
            Self::Create(_) | Self::Accept(_) | Self::Retry => "provision",
            Self::Update(_) => "update",
            Self::Remove => "deprovision",
            Self::Bind(_) | Self::Rotate(_) => "bind",
            Self::Unbind(_) => "unbind",
        }
    }

    /// Whose access it is about.
    fn app(self) -> Option<&'static str> {
        match self {
            Self::Bind(app) | Self::Unbind(app) | Self::Rotate(app) => Some(app),
            Self::Create(_) | Self::Accept(_) | Self::Update(_) | Self::Retry | Self::Remove => None,
        }
    }
}

/// Whether there is an instance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum There {
    /// It was never made, a create was refused, or it was removed.
    #[default]
    No,
    Yes,
    /// Nobody heard how something ended.
    Unknown,
}

/// What the platform may believe, by what it heard.
#[derive(Debug, Default)]
struct Believed {
    there: There,
    /// Whether it was promised before it was made, and so may have failed.
    accepted: bool,
    /// The plan that it is on, if that is known.
    plan: Option<&'static str>,
    /// Who is bound, and all credentials that should work.
    bound: BTreeMap<&'static str, Vec<EnvVars>>,
    /// Who may or may not be bound.
    unknown: BTreeSet<&'static str>,
    /// Who was given new credentials, so that old ones may work for a while.
    rotated: BTreeSet<&'static str>,
}

type Checked = std::result::Result<(), String>;

impl Believed {
    fn hear(&mut self, request: Request, answer: &Answer, fake: &FakeBroker) -> Checked {
        match (request, answer) {
            (Request::Create(plan) | Request::Accept(plan), Ok(_)) => {
                if self.there == There::Yes {
                    return Err("an instance was made where one is".to_owned());
                }
                self.accepted |= matches!(request, Request::Accept(_));
                (self.there, self.plan) = (There::Yes, Some(plan));
            }
            (Request::Update(plan), Ok(_)) => {
                self.require_possible()?;
                (self.there, self.plan) = (There::Yes, Some(plan));
            }
            // One that could not be made is tried again with the new wishes, and keeps them.
            (Request::Update(_), Err(_)) if self.accepted => self.plan = None,
            (Request::Remove, Ok(_)) => self.forget(There::No),
            (Request::Remove, Err(BrokerError::UnknownInstance(_))) => {
                if self.there == There::Yes {
                    return Err("the instance is lost".to_owned());
                }
                self.forget(There::No);
            }
            (Request::Remove, Err(_)) if self.there != There::No => self.forget(There::Unknown),
            (Request::Bind(app), Ok(Some(env))) => {
                self.require_possible()?;
                self.there = There::Yes;
                self.unknown.remove(app);
                let known = self.bound.entry(app).or_default();
                if !known.contains(env) {
                    known.push(env.clone());
                }
            }
            (Request::Unbind(app), Ok(_)) => {
                self.unknown.remove(app);
                self.rotated.remove(app);
                let taken = self.bound.remove(app).unwrap_or_default();
                if taken.iter().any(|env| opens(fake, env)) {
                    return Err(format!("credentials of {app} work after its unbind"));
                }
            }
            (Request::Unbind(app), Err(BrokerError::NotBound { .. })) => {
                if self.bound.contains_key(app) {
                    return Err(format!("the binding of {app} is lost"));
                }
                self.unknown.remove(app);
                self.rotated.remove(app);
            }
            (Request::Rotate(app), Ok(Some(env))) => {
                self.rotated.insert(app);
                if let Some(known) = self.bound.get_mut(app) {
                    known.push(env.clone());
                }
            }
            // What was refused changes nothing, and that is checked after each step.
            (_, Err(_)) | (Request::Retry, Ok(_)) => {}
            (_, Ok(None)) => return Err("no variables".to_owned()),
        }
        Ok(())
    }

    fn hear_both(&mut self, one: (Request, &Answer), other: (Request, &Answer), fake: &FakeBroker) -> Checked {
        let requests = [one.0, other.0];
        if requests.iter().any(|it| matches!(it, Request::Remove)) {
            requests.iter().for_each(|it| self.hear_nothing(*it));
            return Ok(());
        }
        let is_unbind = requests.iter().any(|it| matches!(it, Request::Unbind(_)));
        let same = one.0.app().filter(|app| other.0.app() == Some(app));
        if let Some(app) = same.filter(|_| is_unbind) {
            self.bound.remove(app);
            self.unknown.insert(app);
            return Ok(());
        }
        if let (Request::Update(_), Request::Update(_)) = (one.0, other.0) {
            self.plan = None;
            return Ok(());
        }
        // What makes something was there before what it makes possible.
        let (first, second) =
            if matches!(other.0, Request::Create(_) | Request::Accept(_)) { (other, one) } else { (one, other) };
        self.hear(first.0, first.1, fake)?;
        self.hear(second.0, second.1, fake)
    }

    /// The process died before its answer.
    fn hear_nothing(&mut self, request: Request) {
        match request {
            Request::Create(_) | Request::Accept(_) if self.there != There::Yes => {
                (self.there, self.plan) = (There::Unknown, None);
                self.accepted |= matches!(request, Request::Accept(_));
            }
            Request::Update(_) | Request::Retry => self.plan = None,
            Request::Remove => self.forget(There::Unknown),
            Request::Bind(app) if !self.bound.contains_key(app) => drop(self.unknown.insert(app)),
            Request::Unbind(app) => {
                self.bound.remove(app);
                self.unknown.insert(app);
            }
            Request::Rotate(app) => drop(self.rotated.insert(app)),
            Request::Create(_) | Request::Accept(_) | Request::Bind(_) => {}
        }
    }

    fn forget(&mut self, there: There) {
        let before = std::mem::take(self);
        // A removal that may not have begun leaves everybody as they were.
        if there == There::Unknown {
            self.unknown = before.unknown.into_iter().chain(before.bound.into_keys()).collect();
            (self.rotated, self.accepted) = (before.rotated, before.accepted);
        }
        self.there = there;
    }

    fn require_possible(&self) -> Checked {
        if self.there == There::No { Err("nobody made it".to_owned()) } else { Ok(()) }
    }

    /// What has to be so, at once or soon.
    async fn check(&self, process: &Process, fake: &FakeBroker) -> Checked {
        for (app, known) in &self.bound {
            holds(&format!("{app} has access"), async || known.iter().all(|env| opens(fake, env))).await?;
        }
        match self.there {
            There::No => {
                holds("nothing is left", async || fake.instances() == 0 && fake.accounts().is_empty()).await?;
            }
            There::Yes => {
                process.engine.exists(&name()).await.map_err(|error| format!("it is lost: {error}"))?;
                if let Some(plan) = self.plan {
                    holds(&format!("it is on {plan}"), async || process.plan().await.as_deref() == Some(plan)).await?;
                }
                if self.unknown.is_empty() && self.rotated.is_empty() {
                    let bound = self.bound.len();
                    holds("nobody else has access", async || fake.accounts().len() == bound).await?;
                }
            }
            There::Unknown => {}
        }
        let most = 3 * 2;
        if fake.accounts().len() > most { Err("accounts pile up".to_owned()) } else { Ok(()) }
    }
}

impl Process {
    /// The plan that the records have it on.
    async fn plan(&self) -> Option<String> {
        let record = self.records.instance(&name()).await.unwrap()?;
        record.wish.is_none().then(|| record.instance.plan.to_string())
    }
}

fn opens(fake: &FakeBroker, env: &EnvVars) -> bool {
    fake.opens(&env.iter().map(|(name, value)| (name.to_string(), value.expose().to_owned())).collect())
}

/// An author who takes a moment, so that requests cross and creates are answered before they are done.
struct Slow(FakeBroker);

impl Slow {
    async fn a_moment(&self) {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[async_trait]
impl Broker for Slow {
    fn catalog(&self) -> Catalog {
        self.0.catalog()
    }

    async fn provision(&self, instance: &Instance) -> Result<Notes> {
        self.a_moment().await;
        self.0.provision(instance).await
    }

    async fn bind(&self, instance: &Instance, binding: &Binding) -> Result<EnvVars> {
        self.a_moment().await;
        self.0.bind(instance, binding).await
    }

    async fn unbind(&self, instance: &Instance, binding: &Binding) -> Result<()> {
        self.a_moment().await;
        self.0.unbind(instance, binding).await
    }

    async fn update(&self, instance: &Instance, to: &Update) -> Result<Notes> {
        self.a_moment().await;
        self.0.update(instance, to).await
    }

    async fn deprovision(&self, instance: &Instance) -> Result<()> {
        self.a_moment().await;
        self.0.deprovision(instance).await
    }

    async fn reconcile(&self, tenant: &Tenant) -> Result<()> {
        self.0.reconcile(tenant).await
    }
}
