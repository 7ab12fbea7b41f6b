//! What a server has at a moment.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::OnceCell;

use crate::{
    link::{Fault, Link, Writable},
    tenant::{Account, Database},
};

/// For how long a look at a server is good, for each account and database on it.
const LOOK_FOR_EACH: Duration = Duration::from_millis(1);

/// A server's databases and accounts at a moment.
pub(crate) struct Look {
    at: Instant,
    databases: HashSet<String>,
    accounts: HashSet<String>,
    made: Arc<Made>,
    pub(crate) writable: Writable,
    sizes: OnceCell<HashMap<String, u64>>,
}

/// The names of what this broker made since a look began.
type Made = Mutex<HashSet<String>>;

/// The last look at a server.
#[derive(Default)]
pub(crate) struct LastLook {
    last: tokio::sync::Mutex<Option<Arc<Look>>>,
    made: Mutex<Arc<Made>>,
}

impl LastLook {
    /// The server as it is, or was a moment ago: tenants are looked after one by one, and a look lists everything. On
    /// a server with many of them it serves for many tenants.
    pub(crate) async fn at(&self, link: &Link) -> Result<Arc<Look>, Fault> {
        self.unless(link, Look::is_fresh).await
    }

    /// The server as it is or was later than that.
    pub(crate) async fn since(&self, link: &Link, moment: Instant) -> Result<Arc<Look>, Fault> {
        self.unless(link, |look| look.at > moment).await
    }

    /// Remembers that a database or account was made.
    pub(crate) fn made(&self, name: &str) {
        let made = Arc::clone(&self.made.lock().unwrap_or_else(PoisonError::into_inner));
        made.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned());
    }

    async fn unless(&self, link: &Link, is_good: impl Fn(&Look) -> bool) -> Result<Arc<Look>, Fault> {
        let mut last = self.last.lock().await;
        if let Some(look) = last.as_ref().filter(|look| is_good(look)) {
            return Ok(Arc::clone(look));
        }
        let (at, made) = (Instant::now(), Arc::<Made>::default());
        *self.made.lock().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&made);
        // Accounts first: those that a restore closed were marked before that.
        let accounts = link.accounts().await?;
        let databases = link.databases().await?;
        let writable = link.writable().await?;
        let look = Arc::new(Look { at, databases, accounts, made, writable, sizes: OnceCell::new() });
        *last = Some(Arc::clone(&look));
        Ok(look)
    }
}

impl Look {
    pub(crate) fn has_database(&self, database: &Database) -> bool {
        self.has(&self.databases, database.as_str())
    }

    /// Whether an account is there and not locked.
    pub(crate) fn has_account(&self, account: &Account) -> bool {
        self.has(&self.accounts, account.as_str())
    }

    fn has(&self, names: &HashSet<String>, name: &str) -> bool {
        names.contains(name) || self.made.lock().unwrap_or_else(PoisonError::into_inner).contains(name)
    }

    /// The size of a database, in bytes. All of them are asked for, and only where one has a limit.
    pub(crate) async fn size(&self, link: &Link, database: &Database) -> Result<u64, Fault> {
        let sizes = self.sizes.get_or_try_init(|| link.sizes()).await?;
        Ok(sizes.get(database.as_str()).copied().unwrap_or_default())
    }

    fn is_fresh(&self) -> bool {
        let count = self.accounts.len() + self.databases.len();
        self.at.elapsed() < LOOK_FOR_EACH * u32::try_from(count).unwrap_or(u32::MAX)
    }
}
