//! What authors say about work that goes on (SPEC L-11): kept in memory, by operation, while the work runs here.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{OpaqueId, instance::Progress};

/// The lines of all operations that run here.
#[derive(Clone, Default)]
pub(super) struct Lines(Arc<Mutex<HashMap<OpaqueId, Progress>>>);

/// One operation's line, shown until this is dropped.
pub(super) struct Line {
    lines: Lines,
    operation: OpaqueId,
}

impl Lines {
    /// Shows what is said about an operation from now on.
    pub(super) fn begin(&self, operation: &OpaqueId) -> Line {
        self.lines().insert(operation.clone(), Progress::shown());
        Line { lines: self.clone(), operation: operation.clone() }
    }

    /// Where an author says it; nowhere for an operation that is not shown.
    pub(super) fn of(&self, operation: &OpaqueId) -> Progress {
        self.lines().get(operation).cloned().unwrap_or_default()
    }

    fn lines(&self) -> MutexGuard<'_, HashMap<OpaqueId, Progress>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.lines.lines().remove(&self.operation);
    }
}
