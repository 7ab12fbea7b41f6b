//! A thread's idle keep-alive connections to units.

use std::{
    cell::RefCell,
    collections::{HashMap, HashSet},
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use hyper::client::conn::http1::SendRequest;

use crate::{body::Upload, table::Target};

/// A request that cannot be sent twice goes out on a connection that was used this lately: common
/// servers close idle connections after two seconds and more, and would do so under our hands.
const FRESH: Duration = Duration::from_secs(1);

/// Idle connections by the key of their target, the latest used last.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    idle: RefCell<HashMap<u64, Vec<Idle>>>,
}

#[derive(Debug)]
struct Idle {
    sender: SendRequest<Upload>,
    since: Instant,
}

/// A connection to a unit, in use. Dropping it closes it.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) sender: SendRequest<Upload>,
    /// Whether it served a request before.
    pub(crate) reused: bool,
    target: Arc<Target>,
    pool: Rc<Pool>,
}

impl Connection {
    pub(crate) fn new(sender: SendRequest<Upload>, target: Arc<Target>, pool: Rc<Pool>) -> Self {
        Self { sender, reused: false, target, pool }
    }

    /// Keeps the connection for the next request, unless its unit takes no more.
    pub(crate) fn give_back(self) {
        if self.sender.is_closed() || self.target.load.is_retired() {
            return;
        }
        let idle = Idle { sender: self.sender, since: Instant::now() };
        self.pool.idle.borrow_mut().entry(self.target.key).or_default().push(idle);
    }
}

impl Pool {
    /// The idle connection to this target that was used last; a request that cannot be repeated
    /// gets only one that was used a moment ago.
    pub(crate) fn take(self: &Rc<Self>, target: &Arc<Target>, repeatable: bool) -> Option<Connection> {
        let mut pool = self.idle.borrow_mut();
        let idle = pool.get_mut(&target.key)?;
        for index in (0..idle.len()).rev() {
            let sender = &idle[index].sender;
            if sender.is_closed() {
                idle.swap_remove(index);
            } else if sender.is_ready() {
                if !repeatable && idle[index].since.elapsed() > FRESH {
                    return None;
                }
                let sender = idle.swap_remove(index).sender;
                return Some(Connection { sender, reused: true, target: Arc::clone(target), pool: Rc::clone(self) });
            }
        }
        None
    }

    /// Closes what nobody will use: connections to targets that left, and those idle for long.
    pub(crate) fn sweep(&self, current: Option<&HashSet<u64>>, longest: Duration) {
        self.idle.borrow_mut().retain(|key, idle| {
            idle.retain(|idle| !idle.sender.is_closed() && idle.since.elapsed() < longest);
            !idle.is_empty() && current.is_none_or(|keys| keys.contains(key))
        });
    }
}
