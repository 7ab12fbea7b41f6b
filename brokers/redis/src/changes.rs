//! Which keys change on a server while they are copied: it tells them by itself.

use std::{
    collections::HashSet,
    mem,
    sync::{Arc, Mutex, PoisonError},
};

use redis::{ErrorKind, FromRedisValue as _, PushInfo, PushKind, RedisResult, Value, aio::MultiplexedConnection, cmd};

use crate::link::Link;

/// The keys that others change on a server from now on, as long as this is kept.
pub(crate) struct Changes {
    connection: MultiplexedConnection,
    told: Arc<Mutex<Changed>>,
}

/// What was changed.
#[derive(Debug, Default)]
pub(crate) struct Changed {
    /// The names of keys that were written, removed, or ended.
    pub(crate) names: HashSet<Vec<u8>>,
    /// Whether all keys were removed at once. Some may be there again.
    pub(crate) all: bool,
    bytes: usize,
}

/// How many bytes of names may wait for a copy, about: they are in memory meanwhile.
const MOST: usize = 64 << 20;

impl Changes {
    /// Has a server tell changes of keys whose names begin with something.
    pub(crate) async fn to(link: &Link, only: &str) -> RedisResult<Self> {
        let told = Arc::<Mutex<Changed>>::default();
        let listener = Arc::clone(&told);
        let mut connection =
            link.listening(move |push| listener.lock().unwrap_or_else(PoisonError::into_inner).add(push)).await?;
        let mut track = cmd("CLIENT");
        track.arg("TRACKING").arg("ON").arg("BCAST");
        if !only.is_empty() {
            track.arg("PREFIX").arg(only);
        }
        let () = track.query_async(&mut connection).await?;
        Ok(Self { connection, told })
    }

    /// All that was changed since the last time, by commands that were answered before.
    pub(crate) async fn take(&mut self) -> RedisResult<Changed> {
        // A server sends what changed before it answers what it was asked later, and a lost connection has no answer.
        let _: String = cmd("PING").query_async(&mut self.connection).await?;
        let changed = mem::take(&mut *self.told.lock().unwrap_or_else(PoisonError::into_inner));
        if changed.bytes > MOST {
            return Err((ErrorKind::Client, "keys are changed faster than they can be copied").into());
        }
        Ok(changed)
    }
}

impl Changed {
    fn add(&mut self, push: PushInfo) {
        if push.kind != PushKind::Invalidate {
            return;
        }
        match push.data.into_iter().next() {
            Some(Value::Array(names)) => {
                for name in names.iter().filter_map(|name| Vec::<u8>::from_redis_value_ref(name).ok()) {
                    if self.bytes > MOST {
                        self.names = HashSet::new();
                        return;
                    }
                    let size = name.len();
                    if self.names.insert(name) {
                        // What a set needs beside the name.
                        self.bytes += size + 64;
                    }
                }
            }
            _ => self.all = true,
        }
    }
}
