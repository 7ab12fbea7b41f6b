//! A platform for authors' tests: it keeps books on instances and apps, and behaves towards a broker as real ones do.
//!
//! What a broker has to live with is what platforms do when something fails: tsuru's undo of the steps before
//! (contract 5.2), the orphan mitigation of Open Service Broker platforms.

mod osb;
mod tsuru;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, sleep};

use super::{PATIENCE, Target, Variables};
use crate::{Parameters, wire::Encoding};
use osb::Osb;
use tsuru::Tsuru;

/// Why a platform could not do what its user wanted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PlatformError(String);

impl PlatformError {
    fn new(sentence: impl Into<String>) -> Self {
        Self(sentence.into())
    }
}

type Done<T = ()> = Result<T, PlatformError>;

/// A platform with apps and instances of one service.
///
/// ```
/// use broker_core::testing::{FakeBroker, FakePlatform, Target, TestBroker};
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let fake = FakeBroker::new();
/// let broker = TestBroker::start(fake.clone()).await;
/// let url = broker.url();
/// let target = Target::new(&url, "small");
///
/// for platform in [FakePlatform::tsuru(&target), FakePlatform::osb(&target)] {
///     platform.create("cache").await?;
///     platform.bind("cache", "web").await?;
///     assert!(fake.opens(&platform.env("web")));
///     platform.unbind("cache", "web").await?;
///     assert!(platform.env("web").is_empty());
///     platform.remove("cache").await?;
/// }
/// assert_eq!(fake.instances(), 0);
/// # Ok::<(), broker_core::testing::PlatformError>(())
/// # }).unwrap();
/// ```
#[derive(Debug)]
pub struct FakePlatform {
    dialect: Dialect,
    plan: String,
    books: Mutex<Books>,
}

#[derive(Debug)]
enum Dialect {
    Tsuru(Tsuru),
    Osb(Osb),
}

/// What the platform believes.
#[derive(Debug, Default)]
struct Books {
    /// The apps that are bound, by instance.
    instances: BTreeMap<String, BTreeSet<String>>,
    /// Variables by app and instance.
    env: BTreeMap<(String, String), Variables>,
    /// Whether the platform itself fails when it next writes down what a broker answered.
    trips: bool,
}

impl FakePlatform {
    /// A platform of tsuru's dialect that sends forms and waits 300 s for an answer.
    ///
    /// # Panics
    /// When no HTTP client can be made.
    #[must_use]
    pub fn tsuru(target: &Target<'_>) -> Self {
        Self::new(Dialect::Tsuru(Tsuru::new(target)), target)
    }

    /// A platform of the Open Service Broker API. It accepts unfinished work, and polls.
    ///
    /// # Panics
    /// When no HTTP client can be made.
    #[must_use]
    pub fn osb(target: &Target<'_>) -> Self {
        Self::new(Dialect::Osb(Osb::new(target)), target)
    }

    fn new(dialect: Dialect, target: &Target<'_>) -> Self {
        Self { dialect, plan: target.plan.to_owned(), books: Mutex::default() }
    }

    /// Sends bodies as JSON. Only tsuru's dialect has a choice.
    #[must_use]
    pub fn in_json(mut self) -> Self {
        if let Dialect::Tsuru(tsuru) = &mut self.dialect {
            tsuru.access.encoding = Encoding::Json;
        }
        self
    }

    /// Waits so long for an answer.
    ///
    /// # Panics
    /// When no HTTP client can be made.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        match &mut self.dialect {
            Dialect::Tsuru(tsuru) => tsuru.client = tsuru::client(timeout),
            Dialect::Osb(osb) => osb.timeout = timeout,
        }
        self
    }

    /// The next time the platform writes down what a broker answered, it fails, and takes back what it has begun: a
    /// create is removed, a bind unbound, an unbind bound again (which gives the app no variables).
    pub fn trip(&self) {
        self.books().trips = true;
    }

    /// Creates an instance on the target's plan, and waits until it can be used.
    ///
    /// # Errors
    /// When the broker refuses or fails; what it may have begun is taken back as far as platforms do.
    pub async fn create(&self, instance: &str) -> Result<(), PlatformError> {
        self.create_with(instance, &self.plan, Parameters::new()).await
    }

    /// Creates an instance on a plan with parameters, and waits until it can be used.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub async fn create_with(&self, instance: &str, plan: &str, parameters: Parameters) -> Result<(), PlatformError> {
        if self.books().instances.contains_key(instance) {
            return Err(PlatformError::new("instance name already exists."));
        }
        match &self.dialect {
            Dialect::Tsuru(tsuru) => tsuru.create(instance, plan, parameters).await?,
            Dialect::Osb(osb) => osb.create(instance, plan, parameters).await?,
        }
        if self.trips() {
            self.take_back(instance).await;
            return Err(tripped());
        }
        self.books().instances.insert(instance.to_owned(), BTreeSet::new());
        Ok(())
    }

    async fn take_back(&self, instance: &str) {
        // Errors of an undo are for a platform's log only.
        let _ = match &self.dialect {
            Dialect::Tsuru(tsuru) => tsuru.remove(instance).await,
            Dialect::Osb(osb) => osb.take_back(instance).await,
        };
    }

    /// Brings an instance to another plan.
    ///
    /// # Errors
    /// When there is no such instance, or the broker refuses or fails.
    pub async fn update(&self, instance: &str, plan: &str) -> Result<(), PlatformError> {
        self.apps(instance)?;
        match &self.dialect {
            Dialect::Tsuru(tsuru) => tsuru.update(instance, plan).await,
            Dialect::Osb(osb) => osb.update(instance, plan).await,
        }
    }

    /// Binds an app: from then on it has the variables in its environment.
    ///
    /// # Errors
    /// When the app is bound already, or the broker refuses or fails. tsuru sends no unbind then; an Open Service Broker
    /// platform does when it can't be sure.
    pub async fn bind(&self, instance: &str, app: &str) -> Result<(), PlatformError> {
        if self.apps(instance)?.contains(app) {
            return Err(PlatformError::new("app is already bound to this service instance"));
        }
        let env = match &self.dialect {
            Dialect::Tsuru(tsuru) => tsuru.bind(instance, app).await?,
            Dialect::Osb(osb) => osb.bind(instance, app).await?,
        };
        if self.trips() {
            let _ = self.call_unbind(instance, app).await;
            return Err(tripped());
        }
        let mut books = self.books();
        books.instances.entry(instance.to_owned()).or_default().insert(app.to_owned());
        books.env.insert((app.to_owned(), instance.to_owned()), env);
        Ok(())
    }

    /// Unbinds an app: its variables are gone.
    ///
    /// # Errors
    /// When the app is not bound, or the broker refuses or fails; then it stays bound.
    pub async fn unbind(&self, instance: &str, app: &str) -> Result<(), PlatformError> {
        if !self.apps(instance)?.contains(app) {
            return Err(PlatformError::new("app is not bound to this service instance"));
        }
        self.call_unbind(instance, app).await?;
        self.books().env.remove(&(app.to_owned(), instance.to_owned()));
        // An Open Service Broker platform does not take an unbind back, it only forgets to say that it is done.
        if let Dialect::Tsuru(tsuru) = &self.dialect
            && self.trips()
        {
            // The undo of an unbind is a bind, whose variables are thrown away (contract 5.7).
            let _ = tsuru.bind(instance, app).await;
            return Err(tripped());
        }
        self.trips();
        self.books().instances.entry(instance.to_owned()).or_default().remove(app);
        Ok(())
    }

    async fn call_unbind(&self, instance: &str, app: &str) -> Done {
        match &self.dialect {
            Dialect::Tsuru(tsuru) => tsuru.unbind(instance, app).await,
            Dialect::Osb(osb) => osb.unbind(instance, app).await,
        }
    }

    /// Removes an instance that no app is bound to, and waits until it is gone.
    ///
    /// # Errors
    /// When an app is bound, or the broker refuses or fails; then the platform keeps it in its books.
    pub async fn remove(&self, instance: &str) -> Result<(), PlatformError> {
        if let Some(app) = self.apps(instance)?.first() {
            return Err(PlatformError::new(format!("app \"{app}\" is bound to the instance, unbind it first")));
        }
        match &self.dialect {
            Dialect::Tsuru(tsuru) => tsuru.remove(instance).await?,
            Dialect::Osb(osb) => osb.remove(instance).await?,
        }
        self.books().instances.remove(instance);
        Ok(())
    }

    /// What an app finds in its environment.
    #[must_use]
    pub fn env(&self, app: &str) -> Variables {
        let books = self.books();
        let own = books.env.iter().filter(|((of, _), _)| of == app);
        own.flat_map(|(_, variables)| variables.clone()).collect()
    }

    /// The instances that the platform has in its books.
    #[must_use]
    pub fn instances(&self) -> Vec<String> {
        self.books().instances.keys().cloned().collect()
    }

    fn apps(&self, instance: &str) -> Done<BTreeSet<String>> {
        let known = self.books().instances.get(instance).cloned();
        known.ok_or_else(|| PlatformError::new(format!("service instance \"{instance}\" not found")))
    }

    fn trips(&self) -> bool {
        std::mem::take(&mut self.books().trips)
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn tripped() -> PlatformError {
    PlatformError::new("the platform could not write that down")
}

/// Asks until an answer settles it.
async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Done<Option<T>>) -> Done<T> {
    let deadline = Instant::now() + PATIENCE;
    let mut pause = Duration::from_millis(5);
    loop {
        if let Some(settled) = ask().await? {
            return Ok(settled);
        }
        if Instant::now() > deadline {
            return Err(PlatformError::new(format!("not within {} s: {what}", PATIENCE.as_secs())));
        }
        sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(500));
    }
}
