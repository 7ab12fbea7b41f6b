//! The crash suite: an author's broker dies before, inside and after each of its calls, and the one that comes
//! after it has to find everything in order (SPEC L-2, L-3).

mod caller;

use std::{
    fmt,
    future::{Future, poll_fn},
    path::Path,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
    time::Duration,
};

use async_trait::async_trait;
use tokio::{sync::Notify, time::timeout};

use super::{PATIENCE, TestBroker, Variables};
use crate::{
    Binding, Broker, Catalog, EnvVars, Health, InfoItem, Instance, Notes, Result, Tenant, Update, conformance::Dialect,
};
use caller::Caller;

/// After how many waits inside a call the broker dies.
const WAITS: [u32; 4] = [1, 2, 4, 8];
/// How long a call may take to come to the point where the broker dies.
const CALLED_WITHIN: Duration = Duration::from_secs(60);

/// What the suite has to know of a broker.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    plan: &'a str,
    other_plan: Option<&'a str>,
    patience: Duration,
}

impl<'a> Subject<'a> {
    /// Instances are made on this plan.
    #[must_use]
    pub fn on_plan(plan: &'a str) -> Self {
        Self { plan, other_plan: None, patience: PATIENCE }
    }

    /// Updates change them to this plan; unless told so, they change labels only.
    #[must_use]
    pub fn updated_to(mut self, plan: &'a str) -> Self {
        self.other_plan = Some(plan);
        self
    }

    fn next_plan(&self) -> &'a str {
        self.other_plan.unwrap_or(self.plan)
    }

    /// How long to wait for what a broker finishes by itself after a crash (20 s unless told otherwise).
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }
}

/// What came of the crashes.
#[derive(Debug, Default)]
#[must_use]
pub struct CrashReport {
    crashes: usize,
    failed: Vec<String>,
}

impl CrashReport {
    /// Insists that after each crash everything was found or put in order.
    ///
    /// # Panics
    /// When it was not; the text lists all crashes after which something was wrong.
    #[track_caller]
    pub fn is_clean(&self) {
        let (failed, crashes) = (self.failed.len(), self.crashes);
        assert!(failed == 0, "after {failed} of {crashes} crashes something was wrong:\n{}", self.failed.join("\n"));
    }

    /// How often the broker died.
    #[must_use]
    pub fn crashes(&self) -> usize {
        self.crashes
    }

    /// What was wrong, a line for each crash after which something was.
    #[must_use]
    pub fn failures(&self) -> &[String] {
        &self.failed
    }
}

/// Lets a broker die at each call, before it, at several places inside it, and after it, and looks what the next one
/// makes of it, asked in either dialect: provision, bind,
/// unbind, update, deprovision, the unbind before it, the bind of a rotation, and reconcile. Nothing that was answered may be lost, nothing may be left over.
///
/// `make` makes the broker anew, as its program does after a crash: on the same servers, with nothing remembered in
/// the process. `opens` tries a bind's variables on the service; `leftovers` names what is on the service although it
/// has no instances and no bindings any more.
///
/// ```
/// use broker_core::testing::{FakeBroker, Subject, crash_safety};
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let fake = FakeBroker::new();
/// let subject = Subject::on_plan("small").updated_to("large");
/// let report = crash_safety(
///     subject,
///     async || fake.clone(),
///     async |env| fake.opens(env),
///     async || fake.accounts().into_keys().collect(),
/// );
/// report.await.is_clean();
/// # });
/// ```
///
/// # Panics
/// When no temporary folder can be made, or a broker can't be served at all.
pub async fn crash_safety<B: Broker>(
    subject: Subject<'_>,
    make: impl AsyncFn() -> B,
    opens: impl AsyncFn(&Variables) -> bool,
    leftovers: impl AsyncFn() -> Vec<String>,
) -> CrashReport {
    let mut report = CrashReport::default();
    for (dialect, call) in Dialect::ALL.into_iter().flat_map(|dialect| Call::ALL.map(|call| (dialect, call))) {
        let mut has_fewer_waits = false;
        for cut in Cut::all() {
            if has_fewer_waits && matches!(cut, Cut::Inside(_)) {
                continue;
            }
            let folder = tempfile::tempdir().expect("a temporary folder");
            let crash = Crash { subject, folder: folder.path(), dialect, call, cut };
            match crash.happen(&make, &opens, &leftovers).await {
                Ok(Died::Yes) => report.crashes += 1,
                Ok(Died::No) => has_fewer_waits = true,
                Err(wrong) => {
                    report.crashes += 1;
                    let (call, dialect) = (call.as_str(), dialect.name());
                    report.failed.push(format!("the broker died {cut} {call} ({dialect}): {wrong}"));
                }
            }
        }
    }
    report
}

/// A call of the author's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    Provision,
    Bind,
    Unbind,
    Update,
    Deprovision,
    /// The unbind that comes before a deprovision.
    UnbindOfRemoval,
    /// The bind of new credentials for somebody who is bound.
    Rotate,
    /// What comes by itself, every few seconds.
    Reconcile,
}

impl Call {
    const ALL: [Self; 8] = [
        Self::Provision,
        Self::Bind,
        Self::Unbind,
        Self::Update,
        Self::Deprovision,
        Self::UnbindOfRemoval,
        Self::Rotate,
        Self::Reconcile,
    ];

    /// The author's call that it is.
    const fn of_author(self) -> Self {
        match self {
            Self::Rotate => Self::Bind,
            Self::UnbindOfRemoval => Self::Unbind,
            call => call,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Provision => "provision",
            Self::Bind => "bind",
            Self::Unbind => "unbind",
            Self::Update => "update",
            Self::Deprovision => "deprovision",
            Self::UnbindOfRemoval => "the unbind of a removal",
            Self::Rotate => "the bind of a rotation",
            Self::Reconcile => "reconcile",
        }
    }
}

/// Where the broker dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    Before,
    /// When the call has waited so often.
    Inside(u32),
    After,
}

impl Cut {
    fn all() -> impl Iterator<Item = Self> {
        [Self::Before].into_iter().chain(WAITS.map(Self::Inside)).chain([Self::After])
    }
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Before => f.write_str("before"),
            Self::Inside(waits) => write!(f, "at wait {waits} inside"),
            Self::After => f.write_str("after"),
        }
    }
}

/// Whether the broker came to the point where it should die.
enum Died {
    Yes,
    No,
}

/// One crash, and what follows.
struct Crash<'a> {
    subject: Subject<'a>,
    folder: &'a Path,
    dialect: Dialect,
    call: Call,
    cut: Cut,
}

/// What an assertion of the suite finds wrong.
type Found<T = ()> = std::result::Result<T, String>;

impl Crash<'_> {
    async fn happen<B: Broker>(
        &self,
        make: &impl AsyncFn() -> B,
        opens: &impl AsyncFn(&Variables) -> bool,
        leftovers: &impl AsyncFn() -> Vec<String>,
    ) -> Found<Died> {
        let call = self.call.of_author();
        let death = Arc::new(Death::at(call, self.cut));
        let mortal = Mortal { broker: make().await, death: death.clone() };
        let broker = TestBroker::start_with(mortal, Some(self.folder), |server| server).await;
        let caller = Caller::new(&broker, self.subject, self.dialect).await;
        let before = self.prepare(&caller).await?;
        death.armed.store(true, Ordering::Release);
        let died = {
            // Nobody is answered by a broker that dies; one that does not die is looked at afterwards.
            let asked = async {
                match caller.request(self.call) {
                    Some(request) => drop(request.send().await),
                    None => death.survived.notified().await,
                }
            };
            let dying = tokio::select! {
                // The death comes first where both are there.
                biased;
                came = timeout(CALLED_WITHIN, death.came.notified()) => came.map(|()| true),
                () = asked => Ok(false),
            };
            dying.map_err(|_| format!("the call did not come within {} s", CALLED_WITHIN.as_secs()))?
        };
        broker.kill().await;
        let broker = TestBroker::start_with(make().await, Some(self.folder), |server| server).await;
        let caller = Caller::new(&broker, self.subject, self.dialect).await;
        let settled = self.settle(&caller, before.as_ref(), opens).await;
        let cleaned = self.clean(&caller, leftovers).await;
        broker.stop().await;
        settled.and(cleaned)?;
        Ok(if died { Died::Yes } else { Died::No })
    }

    /// What must be there before the call can be made. Returns what a bind gave, if there was one.
    async fn prepare(&self, caller: &Caller<'_>) -> Found<Option<Variables>> {
        if self.call == Call::Provision {
            return Ok(None);
        }
        self.make(caller).await?;
        match self.call {
            Call::Provision | Call::Bind => Ok(None),
            Call::Unbind
            | Call::Update
            | Call::Deprovision
            | Call::UnbindOfRemoval
            | Call::Rotate
            | Call::Reconcile => Ok(Some(bound(caller).await?)),
        }
    }

    /// Makes the instance, again and again until it is there.
    async fn make(&self, caller: &Caller<'_>) -> Found {
        self.within("the instance can be made", async || caller.makes().await).await?;
        self.within("the instance is up", async || caller.is_up().await).await
    }

    /// What must be so after the crash, or become so without anybody's help, and by a repeat of the request.
    async fn settle(
        &self,
        caller: &Caller<'_>,
        before: Option<&Variables>,
        opens: &impl AsyncFn(&Variables) -> bool,
    ) -> Found {
        match (self.call, before) {
            (Call::Provision | Call::Bind, _)
            | (Call::Unbind | Call::Update | Call::Rotate | Call::Reconcile, None) => {
                self.make(caller).await?;
                self.access(caller, opens).await
            }
            (Call::Reconcile, Some(env)) => {
                self.within("what was bound works", async || opens(env).await).await?;
                self.access(caller, opens).await
            }
            (Call::Unbind, Some(env)) => {
                // One that never came to the author's hands may not have been written down either.
                let gone = async || Caller::is_gone(&caller.unbinds().await) && !opens(env).await;
                self.within("access is taken away", gone).await?;
                self.access(caller, opens).await
            }
            (Call::Update, Some(env)) => {
                self.within("the instance is up", async || caller.is_up().await).await?;
                self.within("the update can be repeated", async || caller.does(Call::Update).await).await?;
                caller.is_updated();
                bound(caller).await?;
                if opens(env).await {
                    return Ok(());
                }
                // The update may have moved the service: who binds again finds it.
                let again = caller.binds_anew().await?;
                expect(opens(&again).await, || "a bind after the update gives nothing that works".to_owned())
            }
            (Call::Rotate, Some(env)) => {
                expect(opens(env).await, || "what was bound before a rotation does not work after it".to_owned())?;
                self.within("the rotation can be repeated", async || caller.does(Call::Rotate).await).await?;
                expect(opens(env).await, || "a rotation has taken the old credentials away".to_owned())?;
                self.access(caller, opens).await?;
                self.within("the successor is gone", async || caller.drops_successor().await).await?;
                self.within("the old credentials end", async || !opens(env).await).await
            }
            (Call::Deprovision | Call::UnbindOfRemoval, before) => {
                self.within("the instance is gone", async || caller.removes().await).await?;
                expect(caller.is_unknown().await, || "an instance that is gone is still known".to_owned())?;
                if let Some(env) = before {
                    expect(!opens(env).await, || "credentials work after their instance is gone".to_owned())?;
                }
                self.make(caller).await?;
                self.access(caller, opens).await
            }
        }
    }

    /// A bind works, the same again when it is repeated, and an unbind ends it.
    async fn access(&self, caller: &Caller<'_>, opens: &impl AsyncFn(&Variables) -> bool) -> Found {
        let mut env = Variables::new();
        let binds = async || caller.binds().await.map(|given| env = given).is_ok();
        self.within("a bind is answered", binds).await?;
        expect(opens(&env).await, || "the credentials of a bind do not work".to_owned())?;
        let again = bound(caller).await?;
        expect(again == env, || "a bind again was answered with other variables".to_owned())?;
        let unbound = caller.unbinds().await;
        expect(unbound.status == 200, || format!("an unbind was answered {} {}", unbound.status, unbound.body))?;
        expect(!opens(&env).await, || "credentials work after their unbind".to_owned())
    }

    /// Waits until something is so; what goes on in the background may take its time.
    async fn within(&self, what: &str, mut is_so: impl AsyncFnMut() -> bool) -> Found {
        let waiting = async {
            while !is_so().await {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let patience = self.subject.patience;
        timeout(patience, waiting).await.map_err(|_| format!("not within {} s: {what}", patience.as_secs_f32()))
    }

    /// After everything was removed, nothing is left.
    async fn clean(&self, caller: &Caller<'_>, leftovers: &impl AsyncFn() -> Vec<String>) -> Found {
        self.within("the instance can be removed", async || caller.removes().await).await?;
        let mut left = Vec::new();
        let is_clean = async || {
            left = leftovers().await;
            left.is_empty()
        };
        let cleaned = self.within("nothing is left", is_clean).await;
        cleaned.map_err(|never| format!("{never}: {}", left.join(", ")))
    }
}

/// What a bind gives that has to be answered.
async fn bound(caller: &Caller<'_>) -> Found<Variables> {
    caller.binds().await.map_err(|refusal| format!("a bind was answered {refusal}"))
}

fn expect(is_so: bool, wrong: impl FnOnce() -> String) -> Found {
    if is_so { Ok(()) } else { Err(wrong()) }
}

/// When the broker dies.
struct Death {
    call: Call,
    cut: Cut,
    /// What comes before the call in question is survived.
    armed: AtomicBool,
    came: Notify,
    /// The call ended before it had waited so often.
    survived: Notify,
}

impl Death {
    fn at(call: Call, cut: Cut) -> Self {
        Self { call, cut, armed: AtomicBool::new(false), came: Notify::new(), survived: Notify::new() }
    }

    /// It is here: the call never ends, and whoever waits for it kills the process.
    async fn come<T>(&self) -> T {
        self.came.notify_one();
        std::future::pending().await
    }
}

/// A broker that dies in one of its calls.
struct Mortal<B> {
    broker: B,
    death: Arc<Death>,
}

impl<B> Mortal<B> {
    async fn through<T>(&self, call: Call, work: impl Future<Output = Result<T>> + Send) -> Result<T> {
        if call != self.death.call || !self.death.armed.load(Ordering::Acquire) {
            return work.await;
        }
        match self.death.cut {
            Cut::Before => self.death.come().await,
            Cut::Inside(waits) => match up_to(waits, work).await {
                Some(outcome) => {
                    self.death.survived.notify_one();
                    outcome
                }
                None => self.death.come().await,
            },
            Cut::After => {
                let _ = work.await;
                self.death.come().await
            }
        }
    }
}

/// The work's outcome, if it waits less often than that. Otherwise it is dropped where it waits.
async fn up_to<T>(waits: u32, work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    let mut left = waits;
    poll_fn(move |context| match work.as_mut().poll(context) {
        Poll::Ready(outcome) => Poll::Ready(Some(outcome)),
        Poll::Pending => {
            left -= 1;
            if left == 0 { Poll::Ready(None) } else { Poll::Pending }
        }
    })
    .await
}

#[async_trait]
impl<B: Broker> Broker for Mortal<B> {
    fn catalog(&self) -> Catalog {
        self.broker.catalog()
    }

    async fn provision(&self, instance: &Instance) -> Result<Notes> {
        self.through(Call::Provision, self.broker.provision(instance)).await
    }

    async fn bind(&self, instance: &Instance, binding: &Binding) -> Result<EnvVars> {
        self.through(Call::Bind, self.broker.bind(instance, binding)).await
    }

    async fn unbind(&self, instance: &Instance, binding: &Binding) -> Result<()> {
        self.through(Call::Unbind, self.broker.unbind(instance, binding)).await
    }

    async fn update(&self, instance: &Instance, to: &Update) -> Result<Notes> {
        self.through(Call::Update, self.broker.update(instance, to)).await
    }

    async fn deprovision(&self, instance: &Instance) -> Result<()> {
        self.through(Call::Deprovision, self.broker.deprovision(instance)).await
    }

    async fn status(&self, instance: &Instance) -> Result<Health> {
        self.broker.status(instance).await
    }

    async fn info(&self, instance: &Instance) -> Result<Vec<InfoItem>> {
        self.broker.info(instance).await
    }

    async fn reconcile(&self, tenant: &Tenant) -> Result<()> {
        self.through(Call::Reconcile, self.broker.reconcile(tenant)).await
    }
}
