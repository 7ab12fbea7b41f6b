//! Which replicas live, and whether this one still does in the eyes of the others (SPEC L-8).

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::{
    OpaqueId, Result,
    store::{Living, Store},
};

/// This process's life among the replicas of its broker.
///
/// A record that is worked on names its holder. A holder that did not say for the length of a lease that it lives
/// is dead, and its records are anybody's; a holder that can't say so drops its work before the others take it up.
pub(super) struct Lease {
    store: Arc<dyn Store>,
    replica: OpaqueId,
    length: Duration,
    life: Mutex<Life>,
}

struct Life {
    /// The replicas that lived when this one said last that it does.
    alive: HashSet<OpaqueId>,
    /// When it last began to say so with success.
    said: Option<Instant>,
    /// Cancelled while the others may take this one for dead.
    lost: CancellationToken,
}

impl Life {
    fn is_silent(&self, longest: Duration) -> bool {
        self.said.is_none_or(|said| said.elapsed() > longest)
    }

    fn lose(&self) {
        if !self.lost.is_cancelled() {
            error!("this replica's lease is lost: what it was doing is dropped, other replicas take it up");
            self.lost.cancel();
        }
    }
}

impl Lease {
    pub(super) fn new(store: Arc<dyn Store>, length: Duration) -> Self {
        let life = Life { alive: HashSet::new(), said: None, lost: CancellationToken::new() };
        Self { store, replica: OpaqueId::generate(), length, life: Mutex::new(life) }
    }

    pub(super) fn replica(&self) -> &OpaqueId {
        &self.replica
    }

    /// How often a replica says that it lives.
    pub(super) fn pause(&self) -> Duration {
        self.length / 3
    }

    /// Whether nobody else may be working on a record with this holder.
    pub(super) async fn may_take(&self, holder: Option<&OpaqueId>) -> Result<bool> {
        let Some(holder) = holder.filter(|holder| **holder != self.replica) else { return Ok(true) };
        if !self.store.is_shared() {
            return Ok(true);
        }
        if self.life().alive.contains(holder) {
            return Ok(false);
        }
        // It may have begun to live after this one asked last.
        self.beat().await?;
        Ok(!self.life().alive.contains(holder))
    }

    /// Says that this replica lives, before it takes anything: at first, and when it was silent for too long.
    pub(super) async fn begin(&self) -> Result<()> {
        if self.store.is_shared() && self.life().is_silent(self.silence()) { self.beat().await } else { Ok(()) }
    }

    /// How long this replica may be silent before it drops what it does: less than the others wait.
    fn silence(&self) -> Duration {
        self.length.saturating_sub(self.pause())
    }

    /// Which share of the instances is this replica's to check: the how-manieth of how many.
    pub(super) fn share(&self) -> (u64, u64) {
        let life = self.life();
        let mut alive: Vec<&OpaqueId> = life.alive.iter().collect();
        alive.sort_unstable();
        let place = alive.iter().position(|replica| **replica == self.replica).unwrap_or(0);
        (place as u64, alive.len().max(1) as u64)
    }

    /// Says once that this replica lives, and notes what became of it.
    pub(super) async fn keep(&self) {
        let outcome = timeout(self.pause(), self.beat()).await;
        match outcome {
            Ok(Ok(())) => return,
            Ok(Err(error)) => {
                warn!(error = &error as &dyn std::error::Error, "this replica's lease is not renewed: {error}");
            }
            Err(_) => warn!("this replica's lease is not renewed: the records do not answer"),
        }
        let life = self.life();
        if life.is_silent(self.silence()) {
            life.lose();
        }
    }

    /// Completes when this replica should stop what it is doing.
    pub(super) async fn lost(&self) {
        if !self.store.is_shared() {
            return std::future::pending().await;
        }
        let lost = self.life().lost.clone();
        lost.cancelled().await;
    }

    async fn beat(&self) -> Result<()> {
        let begun = Instant::now();
        let Living { alive, was_dead } = self.store.beat(&self.replica, self.length).await?;
        let mut life = self.life();
        // A process that was stopped for a while finds its voice before it notices that it had lost it. Not after less:
        // nobody can have taken it for dead then.
        if was_dead || (life.said.is_some() && life.is_silent(self.length)) {
            life.lose();
        }
        life.alive = alive;
        life.said = Some(begun);
        if life.lost.is_cancelled() {
            life.lost = CancellationToken::new();
            info!("this replica's lease is renewed");
        }
        Ok(())
    }

    fn life(&self) -> MutexGuard<'_, Life> {
        self.life.lock().expect("no thread panics while it notes who lives")
    }
}
