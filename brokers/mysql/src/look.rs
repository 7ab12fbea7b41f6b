//! What a server has at a moment.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::{Mutex, OnceCell};

use crate::{
    link::{Fault, Link},
    tenant::Database,
};

/// For how long a look at a server is good, for each account on it.
const LOOK_FOR_EACH: Duration = Duration::from_millis(1);

/// A server's databases and accounts at a moment.
pub(crate) struct Look {
    at: Instant,
    pub(crate) databases: HashSet<String>,
    pub(crate) accounts: HashSet<String>,
    /// Databases that an account may let grow, and those that one may only make smaller.
    pub(crate) growing: HashSet<String>,
    pub(crate) bounded: HashSet<String>,
    sizes: OnceCell<HashMap<String, u64>>,
}

/// The last look at a server.
#[derive(Default)]
pub(crate) struct LastLook(Mutex<Option<Arc<Look>>>);

impl LastLook {
    /// The server as it is, or was a moment ago: tenants are looked after one by one, and a look lists everything. On
    /// a server with many of them it serves for many tenants.
    pub(crate) async fn at(&self, link: &Link) -> Result<Arc<Look>, Fault> {
        let mut last = self.0.lock().await;
        if let Some(look) = last.as_ref().filter(|look| look.is_fresh()) {
            return Ok(Arc::clone(look));
        }
        let at = Instant::now();
        // Accounts first: those that a restore closed were marked before that.
        let accounts = link.accounts().await?;
        let databases = link.databases().await?;
        let (growing, bounded) = link.writable().await?;
        let look = Arc::new(Look { at, databases, accounts, growing, bounded, sizes: OnceCell::new() });
        *last = Some(Arc::clone(&look));
        Ok(look)
    }
}

impl Look {
    /// The size of a database, in bytes. All of them are asked for, and only where one has a limit.
    pub(crate) async fn size(&self, link: &Link, database: &Database) -> Result<u64, Fault> {
        let sizes = self.sizes.get_or_try_init(|| link.sizes()).await?;
        Ok(sizes.get(database.as_str()).copied().unwrap_or_default())
    }

    fn is_fresh(&self) -> bool {
        self.at.elapsed() < LOOK_FOR_EACH * u32::try_from(self.accounts.len()).unwrap_or(u32::MAX)
    }
}
