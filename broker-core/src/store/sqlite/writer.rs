//! The one thread that writes.

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use rusqlite::{Connection, OptionalExtension as _, params};
use tokio::sync::{
    mpsc::{self, error::TryRecvError},
    oneshot,
};

use super::{
    super::{StoreError, consumer_key},
    cache::{Kept, Records},
    read::{as_limit, sealed_binding, sealed_instance},
    rows::{Freed, RowWrite, apply_commit},
    unfinished::Unfinished,
};
use crate::{
    Consumer, InstanceName, OpaqueId, SealingKey,
    lifecycle::records::{BindingRecord, InstanceRecord},
};

/// How long the writing thread looks for the next request before it sleeps.
const AWAKE: Duration = Duration::from_micros(50);
/// The most requests that share a transaction.
pub(super) const BATCH: usize = 256;

/// What the writing thread is asked for, and who waits for it.
pub(super) enum Request {
    /// Answered with the same rows: to free memory is cheap for the thread that asked for it, and makes others wait.
    Commit(Vec<RowWrite>, Answer<Vec<RowWrite>>),
    Instance(InstanceName, Answer<Option<InstanceRecord>>),
    Binding(OpaqueId, Consumer, Answer<Option<BindingRecord>>),
    ForgetOperations(DateTime<Utc>, usize, Answer<usize>),
}

pub(super) type Answer<T> = oneshot::Sender<Result<T, StoreError>>;

/// The thread that writes.
pub(super) struct Writer {
    pub(super) connection: Connection,
    pub(super) key: SealingKey,
    pub(super) cache: Arc<Records>,
    pub(super) unfinished: Arc<Unfinished>,
}

/// A commit that waits for its batch.
type Waiting = (Vec<RowWrite>, Answer<Vec<RowWrite>>);

impl Writer {
    pub(super) fn run(mut self, mut requests: mpsc::Receiver<Request>) {
        let mut commits: Vec<Waiting> = Vec::with_capacity(BATCH);
        let mut questions = Vec::new();
        while let Some(first) = next(&mut requests) {
            let mut next = Some(first);
            while let Some(request) = next {
                match request {
                    Request::Commit(rows, answer) => commits.push((rows, answer)),
                    question => questions.push(question),
                }
                let is_full = commits.len() + questions.len() >= BATCH;
                next = if is_full { None } else { requests.try_recv().ok() };
            }
            if !commits.is_empty() {
                self.commit(std::mem::take(&mut commits));
            }
            // After the commits: what was asked before one of them may as well be told what came of it.
            questions.drain(..).for_each(|question| self.answer(question));
        }
    }

    /// Commits a batch, and answers when it is on disk.
    fn commit(&mut self, batch: Vec<Waiting>) {
        match self.commit_all(&batch) {
            Ok(outcomes) => {
                for ((rows, answer), outcome) in batch.into_iter().zip(outcomes) {
                    let outcome = outcome.map(|freed| {
                        self.note(&rows, freed);
                        rows
                    });
                    // Whoever asked may have given up; what was written stays written.
                    let _ = answer.send(outcome);
                }
            }
            Err(error) => {
                // It may have been done all the same: what is there now is read from the file.
                self.cache.clear();
                self.unfinished.doubt();
                let text = error.to_string();
                for (_, answer) in batch {
                    let _ = answer.send(Err(StoreError::Failed(text.clone().into())));
                }
            }
        }
    }

    /// One transaction: a conflict in one commit leaves the others alone.
    fn commit_all(&mut self, batch: &[Waiting]) -> Result<Vec<Result<Freed, StoreError>>, StoreError> {
        in_transaction(&self.connection, |connection| {
            let outcomes = batch.iter().map(|(rows, _)| match apply_commit(connection, rows) {
                Err(StoreError::Failed(cause)) => Err(StoreError::Failed(cause)),
                outcome => Ok(outcome),
            });
            outcomes.collect()
        })
    }

    /// Takes what was committed into what is known without the file.
    fn note(&self, rows: &[RowWrite], freed: Freed) {
        for name in freed.instances {
            self.cache.instances.remove(&name);
            self.unfinished.note_instance(&name, None);
        }
        for key in freed.bindings {
            self.cache.bindings.remove(&key);
            self.unfinished.note_binding(&key, None);
        }
        for row in rows {
            match row {
                RowWrite::Instance { record, body } => {
                    let name = record.instance.name.clone();
                    self.unfinished.note_instance(&name, record.due);
                    self.cache.instances.insert(name, Kept { record: Some(record.clone()), bytes: body.len() });
                }
                RowWrite::Binding { record, body } => {
                    let key = (record.instance.clone(), record.consumer().clone());
                    self.unfinished.note_binding(&key, record.due);
                    self.cache.bindings.insert(key, Kept { record: Some(record.clone()), bytes: body.len() });
                }
                RowWrite::NoBinding(instance, consumer) => {
                    let key = (instance.clone(), consumer.clone());
                    self.unfinished.note_binding(&key, None);
                    self.cache.bindings.remove(&key);
                }
                RowWrite::NoInstance(..)
                | RowWrite::Ready(..)
                | RowWrite::Log { .. }
                | RowWrite::Places { .. }
                | RowWrite::Within(..) => {}
            }
        }
    }

    fn answer(&mut self, question: Request) {
        match question {
            Request::Instance(name, answer) => drop(answer.send(self.instance(name))),
            Request::Binding(instance, consumer, answer) => drop(answer.send(self.binding(instance, consumer))),
            Request::ForgetOperations(before, limit, answer) => {
                const DELETE: &str = "DELETE FROM operation WHERE ended < ? \
                    AND number IN (SELECT number FROM operation ORDER BY number LIMIT ?)";
                let gone = self.connection.execute(DELETE, params![before.timestamp_millis(), as_limit(limit)]);
                drop(answer.send(gone.map_err(StoreError::from)));
            }
            // Commits are not answered here.
            Request::Commit(rows, answer) => self.commit(vec![(rows, answer)]),
        }
    }

    fn instance(&self, name: InstanceName) -> Result<Option<InstanceRecord>, StoreError> {
        const QUERY: &str = "SELECT id, due, revision, body FROM instance WHERE name = ?";
        let row = self.connection.prepare_cached(QUERY)?.query_row([name.as_str()], sealed_instance).optional()?;
        let bytes = row.as_ref().map_or(0, |row| row.body.len());
        let record = row.map(|row| row.open(&self.key)).transpose()?;
        self.cache.instances.insert(name, Kept { record: record.clone().map(Arc::new), bytes });
        Ok(record)
    }

    fn binding(&self, instance: OpaqueId, consumer: Consumer) -> Result<Option<BindingRecord>, StoreError> {
        const QUERY: &str = "SELECT instance_id, kind, consumer, due, revision, body FROM binding \
            WHERE instance_id = ? AND kind = ? AND consumer = ?";
        let (kind, name) = consumer_key(&consumer);
        let mut query = self.connection.prepare_cached(QUERY)?;
        let row = query.query_row([instance.as_str(), kind, name], sealed_binding).optional()?;
        let bytes = row.as_ref().map_or(0, |row| row.body.len());
        let record = row.map(|row| row.open(&self.key)).transpose()?;
        self.cache.bindings.insert((instance, consumer), Kept { record: record.clone().map(Arc::new), bytes });
        Ok(record)
    }
}

/// The next request. Whoever was just told that an intent is written often has its outcome at once: to wait a moment
/// for that takes less than to sleep and be woken.
fn next(requests: &mut mpsc::Receiver<Request>) -> Option<Request> {
    let asleep = Instant::now() + AWAKE;
    loop {
        match requests.try_recv() {
            Ok(request) => return Some(request),
            Err(TryRecvError::Disconnected) => return None,
            Err(TryRecvError::Empty) if Instant::now() < asleep => thread::yield_now(),
            Err(TryRecvError::Empty) => return requests.blocking_recv(),
        }
    }
}

/// Does all of it or nothing. The statements are kept: to read them anew each time would take longer than to run them.
fn in_transaction<T>(
    connection: &Connection,
    work: impl FnOnce(&Connection) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let run = |statement| connection.prepare_cached(statement)?.execute([]);
    run("BEGIN IMMEDIATE")?;
    let done = work(connection).and_then(|done| {
        run("COMMIT")?;
        Ok(done)
    });
    // Some failures have ended it already. The first one counts, not what taking back came to.
    if done.is_err()
        && !connection.is_autocommit()
        && let Err(error) = run("ROLLBACK")
    {
        tracing::warn!("a failed commit is not taken back: {error}");
    }
    done
}
