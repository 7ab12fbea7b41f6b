//! The way back to a caller who may have left.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
};

use tokio::{
    sync::oneshot,
    time::{Instant, timeout_at},
};

use super::{ask::Outcome, records::Operation};
use crate::{BrokerError, Result};

/// Answers a caller once. The work goes on whether or not somebody listens.
#[derive(Debug)]
pub(crate) struct Reply<T> {
    caller: Arc<Mutex<Option<oneshot::Sender<Result<T>>>>>,
    answer_at: Instant,
    accepts_incomplete: bool,
}

impl<T> Clone for Reply<T> {
    fn clone(&self) -> Self {
        Self { caller: self.caller.clone(), ..*self }
    }
}

impl<T> Reply<T> {
    /// The way back to somebody who is to be answered by then, and where the answer arrives.
    pub(crate) fn by(answer_at: Instant, accepts_incomplete: bool) -> (Self, oneshot::Receiver<Result<T>>) {
        let (sender, receiver) = oneshot::channel();
        (Self { caller: Arc::new(Mutex::new(Some(sender))), answer_at, accepts_incomplete }, receiver)
    }

    /// For work that nobody waits for.
    pub(crate) fn to_nobody() -> Self {
        Self { caller: Arc::default(), answer_at: Instant::now(), accepts_incomplete: true }
    }

    /// Whether somebody still waits for the answer.
    pub(crate) fn is_awaited(&self) -> bool {
        self.caller().as_ref().is_some_and(|sender| !sender.is_closed())
    }

    /// Whether somebody waits for the answer whose time to be answered has not come.
    pub(crate) fn has_time(&self) -> bool {
        self.is_awaited() && Instant::now() < self.answer_at
    }

    /// Answers, unless that was done before. Returns whether somebody got it.
    pub(crate) fn send(&self, answer: Result<T>) -> bool {
        self.caller().take().is_some_and(|sender| sender.send(answer).is_ok())
    }

    /// Whether the caller knows what to do with the answer that the work goes on.
    pub(crate) fn accepts_incomplete(&self) -> bool {
        self.accepts_incomplete
    }

    /// The work's outcome; when it's time to answer before that, `early` is done first, once. The work stays where its
    /// owner pinned it: an operation that held it here too would be twice as large.
    pub(crate) async fn meanwhile<W: Future>(&self, mut work: Pin<&mut W>, early: impl AsyncFnOnce()) -> W::Output {
        if self.is_awaited() {
            if let Ok(outcome) = timeout_at(self.answer_at, &mut work).await {
                return outcome;
            }
            early().await;
        }
        work.await
    }

    fn caller(&self) -> MutexGuard<'_, Option<oneshot::Sender<Result<T>>>> {
        self.caller.lock().expect("no thread panics while it answers")
    }
}

/// For what is written once, whether or not somebody waits.
pub(crate) fn nobody() -> Reply<()> {
    Reply::to_nobody()
}

impl<T> Reply<Outcome<T>> {
    /// Answers that the work goes on; a caller who can't wait for it hears that as an error. Returns whether
    /// somebody got it.
    pub(crate) fn goes_on(&self, operation: &Operation) -> bool {
        self.send(if self.accepts_incomplete {
            Ok(Outcome::GoesOn(operation.id.clone()))
        } else {
            let kind = operation.kind.as_str();
            let sentence = format!("the {kind} takes long and goes on, try again in a moment to get its result");
            Err(BrokerError::GoesOn(sentence))
        })
    }
}
