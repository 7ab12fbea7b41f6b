//! Bodies on their way through: frame by frame, never collected.

use std::{
    cell::Cell,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Instant,
};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};

use crate::{load::InFlight, pool::Connection};

/// A request's body on its way to a unit.
#[derive(Debug)]
pub(crate) struct Upload {
    body: Option<Incoming>,
    progress: Option<Progress>,
}

/// When a unit last took something of a request's body.
#[derive(Clone, Debug)]
pub(crate) struct Progress(Rc<Cell<Instant>>);

impl Progress {
    pub(crate) fn last(&self) -> Instant {
        self.0.get()
    }
}

impl Upload {
    pub(crate) fn new(body: Incoming) -> Self {
        if body.is_end_stream() {
            return Self::none();
        }
        Self { body: Some(body), progress: Some(Progress(Rc::new(Cell::new(Instant::now())))) }
    }

    /// The body of a request that has none.
    pub(crate) fn none() -> Self {
        Self { body: None, progress: None }
    }

    pub(crate) fn progress(&self) -> Option<Progress> {
        self.progress.clone()
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let frame = ready!(Pin::new(body).poll_frame(cx));
        if let Some(progress) = &self.progress {
            progress.0.set(Instant::now());
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

/// What a client gets as body: our own words or a unit's.
#[derive(Debug)]
pub(crate) enum ReplyBody {
    Text(Option<Bytes>),
    Unit(UnitBody),
}

impl ReplyBody {
    pub(crate) fn text(text: Bytes) -> Self {
        Self::Text((!text.is_empty()).then_some(text))
    }
}

/// A unit's answer on its way to a client. The request is in flight until the answer has ended, or
/// the client is gone.
#[derive(Debug)]
pub(crate) struct UnitBody {
    body: Incoming,
    lease: Option<Lease>,
}

/// What an answer holds until it has ended.
#[derive(Debug)]
pub(crate) struct Lease {
    connection: Connection,
    _in_flight: InFlight,
}

impl Lease {
    pub(crate) fn new(connection: Connection, in_flight: InFlight) -> Self {
        Self { connection, _in_flight: in_flight }
    }
}

impl UnitBody {
    pub(crate) fn new(body: Incoming, lease: Lease) -> Self {
        let mut this = Self { body, lease: Some(lease) };
        this.release_at_end();
        this
    }

    /// The connection can serve another request once this answer has ended.
    fn release_at_end(&mut self) {
        if self.body.is_end_stream() {
            self.release();
        }
    }

    fn release(&mut self) {
        if let Some(lease) = self.lease.take() {
            lease.connection.give_back();
        }
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut *self {
            Self::Text(text) => Poll::Ready(text.take().map(|text| Ok(Frame::data(text)))),
            Self::Unit(unit) => {
                let frame = ready!(Pin::new(&mut unit.body).poll_frame(cx));
                match &frame {
                    None => unit.release(),
                    Some(Ok(_)) => unit.release_at_end(),
                    // The connection is of no more use; dropping it closes it.
                    Some(Err(_)) => drop(unit.lease.take()),
                }
                Poll::Ready(frame)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Text(text) => text.is_none(),
            Self::Unit(unit) => unit.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Text(text) => SizeHint::with_exact(text.as_ref().map_or(0, |text| text.len() as u64)),
            Self::Unit(unit) => unit.body.size_hint(),
        }
    }
}
