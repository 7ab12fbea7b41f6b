//! Whether something is written, when the records fail (SPEC L-12).
//!
//! A commit that fails may have been done all the same. Its caller must hear neither yes nor no before that is known: who
//! hears no and is followed by a crash would leave behind what the records have. So a failed commit is looked for, and the
//! outcome of what the author has done is written again for as long as its caller waits.

use super::{
    engine::Engine,
    records::{BindingRecord, InstanceRecord, Operation},
    reply::Reply,
};
use crate::{
    BrokerError, OpaqueId, Result,
    store::{StoreError, Write},
};

/// By what a write is recognised that was not answered.
struct Mark {
    operation: OpaqueId,
    state: &'static str,
    confirmed: bool,
    holder: Option<OpaqueId>,
    revision: i64,
}

impl Mark {
    fn of(
        operation: &Operation,
        state: &'static str,
        confirmed: bool,
        holder: Option<&OpaqueId>,
        revision: i64,
    ) -> Self {
        Self { operation: operation.id.clone(), state, confirmed, holder: holder.cloned(), revision }
    }

    /// Whether this is what a write came to.
    fn is_of(&self, write: &Self) -> bool {
        self.operation == write.operation
            && self.state == write.state
            && self.confirmed == write.confirmed
            && self.revision > write.revision
    }
}

/// What to do about a commit that failed.
enum Next {
    /// Nothing: it was done, and the record is at this revision.
    Done(i64),
    /// Write it in place of this revision.
    Again(i64),
}

impl Engine {
    /// Writes an instance's record and what belongs to it, for as long as somebody waits for the reply; once when
    /// nobody does.
    pub(super) async fn write_instance<T>(
        &self,
        record: &mut InstanceRecord,
        also: Vec<Write>,
        limits: Vec<Write>,
        reply: &Reply<T>,
    ) -> Result<()> {
        loop {
            let Err(error) = self.save_within(record, also.clone(), limits.clone()).await else { return Ok(()) };
            if !error.may_be_written(record.revision) {
                return Err(error);
            }
            let found = self.store.instance(&record.instance.name).await;
            match self.after_failure(error, &record.mark(), found.map(|it| it.map(|it| it.mark())), reply).await? {
                Next::Done(revision) => {
                    record.revision = revision;
                    return Ok(());
                }
                Next::Again(revision) => record.revision = revision,
            }
        }
    }

    /// As [`write_instance`](Self::write_instance), of a binding.
    pub(super) async fn write_binding<T>(
        &self,
        record: &mut BindingRecord,
        also: Vec<Write>,
        reply: &Reply<T>,
    ) -> Result<()> {
        loop {
            let Err(error) = self.save_binding_with(record, also.clone()).await else { return Ok(()) };
            if !error.may_be_written(record.revision) {
                return Err(error);
            }
            let found = self.store.binding(&record.instance, record.consumer()).await;
            match self.after_failure(error, &record.mark(), found.map(|it| it.map(|it| it.mark())), reply).await? {
                Next::Done(revision) => {
                    record.revision = revision;
                    return Ok(());
                }
                Next::Again(revision) => record.revision = revision,
            }
        }
    }

    async fn after_failure<T>(
        &self,
        error: BrokerError,
        write: &Mark,
        found: Result<Option<Mark>, StoreError>,
        reply: &Reply<T>,
    ) -> Result<Next> {
        match found {
            Ok(Some(found)) if found.is_of(write) => return Ok(Next::Done(found.revision)),
            // What is in the way is an earlier write of the same work.
            Ok(Some(found))
                if error.is_overtaken()
                    && found.operation == write.operation
                    && found.holder == self.holder()
                    && found.revision > write.revision =>
            {
                return Ok(Next::Again(found.revision));
            }
            Ok(_) if error.is_overtaken() => return Err(error),
            Ok(_) | Err(_) => {}
        }
        if !reply.has_time() || self.wait_for_records(&error).await.is_none() {
            return Err(error);
        }
        Ok(Next::Again(write.revision))
    }
}

impl BrokerError {
    /// Whether a commit may have been done that ended in this error: not where a limit refused it, nor where another
    /// record is in the place of one that was to be new.
    fn may_be_written(&self, revision: i64) -> bool {
        self.is_of_records() && !(revision == 0 && self.is_overtaken())
    }
}

impl InstanceRecord {
    fn mark(&self) -> Mark {
        Mark::of(&self.operation, self.state.as_str(), self.confirmed, self.holder.as_ref(), self.revision)
    }
}

impl BindingRecord {
    fn mark(&self) -> Mark {
        Mark::of(&self.operation, self.state.as_str(), self.confirmed, self.holder.as_ref(), self.revision)
    }
}
