//! How much a unit has to do: requests in flight, and whether it still takes new ones.
//!
//! Both live in one atomic number, so that no request can slip in between "takes no new ones" and
//! "has none left".

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use tokio::sync::Notify;

/// Set while the unit is not published.
const RETIRED: usize = 1 << (usize::BITS - 1);

/// A unit's load. It follows the unit's identifier through every change of the table.
#[derive(Debug)]
pub(crate) struct Load {
    /// The number of requests in flight, and [`RETIRED`].
    state: AtomicUsize,
    /// Told when a retired unit has become idle.
    idle: Notify,
}

impl Load {
    pub(crate) fn new() -> Self {
        Self { state: AtomicUsize::new(0), idle: Notify::new() }
    }

    /// Begins a request, unless the unit is retired.
    pub(crate) fn enter(self: &Arc<Self>) -> Option<InFlight> {
        let entered = InFlight(Arc::clone(self));
        (self.state.fetch_add(1, SeqCst) & RETIRED == 0).then_some(entered)
    }

    /// Requests in flight.
    pub(crate) fn in_flight(&self) -> usize {
        self.state.load(SeqCst) & !RETIRED
    }

    /// Takes no new requests from now on.
    pub(crate) fn retire(&self) {
        if self.state.fetch_or(RETIRED, SeqCst) == 0 {
            self.idle.notify_waiters();
        }
    }

    /// Takes new requests again.
    pub(crate) fn revive(&self) {
        self.state.fetch_and(!RETIRED, SeqCst);
    }

    pub(crate) fn is_retired(&self) -> bool {
        self.state.load(SeqCst) & RETIRED != 0
    }

    /// Retired, and the last request has ended.
    pub(crate) fn is_drained(&self) -> bool {
        self.state.load(SeqCst) == RETIRED
    }

    /// Returns once the unit is drained.
    pub(crate) async fn drained(&self) {
        loop {
            let idle = self.idle.notified();
            if self.is_drained() {
                return;
            }
            idle.await;
        }
    }
}

/// A request in flight: counts until it is dropped.
#[derive(Debug)]
pub(crate) struct InFlight(Arc<Load>);

impl Drop for InFlight {
    fn drop(&mut self) {
        if self.0.state.fetch_sub(1, SeqCst) == RETIRED | 1 {
            self.0.idle.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test] // SPEC R-6
    async fn a_retired_unit_takes_nothing_new_and_drains_with_its_last_request() {
        let load = Arc::new(Load::new());
        let open = load.enter().expect("a fresh unit takes requests");

        load.retire();

        assert!(load.enter().is_none());
        assert!(!load.is_drained());
        tokio::join!(load.drained(), async { drop(open) });
        assert_eq!(load.in_flight(), 0);
    }

    #[test]
    fn a_revived_unit_takes_requests_again() {
        let load = Arc::new(Load::new());
        load.retire();
        load.revive();

        assert!(load.enter().is_some());
        assert!(!load.is_drained());
    }
}
