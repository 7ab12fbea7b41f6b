//! The way back to a caller who may have left.

use std::{
    future::Future,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard},
};

use tokio::{
    sync::oneshot,
    time::{Instant, timeout_at},
};

use crate::Result;

/// Answers a caller once. The work goes on whether or not somebody listens.
#[derive(Debug)]
pub(crate) struct Reply<T> {
    caller: Arc<Mutex<Option<oneshot::Sender<Result<T>>>>>,
    answer_at: Instant,
}

impl<T> Clone for Reply<T> {
    fn clone(&self) -> Self {
        Self { caller: self.caller.clone(), answer_at: self.answer_at }
    }
}

impl<T> Reply<T> {
    /// The way back to somebody who is to be answered by then, and where the answer arrives.
    pub(crate) fn by(answer_at: Instant) -> (Self, oneshot::Receiver<Result<T>>) {
        let (sender, receiver) = oneshot::channel();
        (Self { caller: Arc::new(Mutex::new(Some(sender))), answer_at }, receiver)
    }

    /// For work that nobody waits for.
    pub(crate) fn to_nobody() -> Self {
        Self { caller: Arc::default(), answer_at: Instant::now() }
    }

    /// Whether somebody still waits for the answer.
    pub(crate) fn is_awaited(&self) -> bool {
        self.caller().as_ref().is_some_and(|sender| !sender.is_closed())
    }

    /// Answers, unless that was done before. Returns whether somebody got it.
    pub(crate) fn send(&self, answer: Result<T>) -> bool {
        self.caller().take().is_some_and(|sender| sender.send(answer).is_ok())
    }

    /// The work's outcome; when it's time to answer before that, `early` is done first, once.
    pub(crate) async fn meanwhile<W: Future>(&self, work: W, early: impl AsyncFnOnce()) -> W::Output {
        let mut work = pin!(work);
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
