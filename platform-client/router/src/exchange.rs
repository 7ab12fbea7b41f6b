//! One request, one unit's answer: connecting, sending, and trying again where that is safe.

use std::{rc::Rc, sync::Arc, time::Duration};

use hyper::{Method, Request, Response, body::Body as _, body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use platform_core::AppName;
use tokio::{
    net::TcpStream,
    task::spawn_local,
    time::{Instant, sleep, sleep_until, timeout},
};

use crate::{
    body::{Lease, Progress, Upload},
    load::InFlight,
    pick::pick,
    pool::Connection,
    reply::Failure,
    table::Target,
    worker::Worker,
};

/// First and longest pause before units that refused are asked again.
const PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// A unit's answer, and what it holds until it has ended.
pub(crate) struct Answer {
    pub(crate) response: Response<Incoming>,
    pub(crate) lease: Lease,
    pub(crate) target: Arc<Target>,
    pub(crate) app: AppName,
}

/// Why a request got no answer.
enum Lost {
    /// Nothing of it was sent: it can go anywhere.
    Unsent(Box<Request<Upload>>),
    /// The connection ended before an answer began.
    Closed,
    /// The unit answered something that is no answer, or the client's body broke off.
    Broken,
    /// The unit took too long.
    Late,
}

/// A request on its way to some unit of the app that its host leads to.
pub(crate) struct Exchange<'a> {
    worker: &'a Worker,
    host: &'a str,
    /// Whether it may be sent again after it was sent: no body, and a method that may be repeated.
    repeatable: bool,
    /// Whether connections that were used before are left alone: one has just failed.
    only_fresh: bool,
    /// Keys of the targets that did not accept a connection.
    tried: Vec<u64>,
    give_up: Instant,
    pause: Duration,
}

impl<'a> Exchange<'a> {
    pub(crate) fn new(worker: &'a Worker, host: &'a str, request: &Request<Upload>) -> Self {
        Self {
            worker,
            host,
            repeatable: is_repeatable(request.method()) && request.body().is_end_stream(),
            only_fresh: false,
            tried: Vec::new(),
            give_up: Instant::now() + worker.config.replaced_within,
            pause: PAUSE,
        }
    }

    /// Sends the request until a unit answers, or trying again is no longer safe or worth it (SPEC R-11).
    pub(crate) async fn run(mut self, mut request: Request<Upload>) -> Result<Answer, Failure> {
        loop {
            let (target, in_flight, app) = self.choose().await?;
            let Some(mut connection) = self.connection(&target).await else { continue };
            let again = (self.repeatable && connection.reused).then(|| copy(&request));
            match send(&mut connection, request, self.worker.config.answer_within).await {
                Ok(response) => {
                    return Ok(Answer { response, lease: Lease::new(connection, in_flight), target, app });
                }
                Err(Lost::Unsent(back)) => {
                    if !connection.reused {
                        self.refused(&target);
                    }
                    request = *back;
                }
                Err(Lost::Closed) => request = again.ok_or(Failure::Broken(app))?,
                Err(Lost::Broken) => return Err(Failure::Broken(app)),
                Err(Lost::Late) => return Err(Failure::Late(app)),
            }
            self.only_fresh = true;
        }
    }

    /// A unit that takes the request. The table is read each time: it may have changed meanwhile.
    async fn choose(&mut self) -> Result<(Arc<Target>, InFlight, AppName), Failure> {
        loop {
            let app = self.worker.board.find(self.host).ok_or_else(|| Failure::UnknownHost(self.host.to_owned()))?;
            match pick(&app.units, &self.tried) {
                // A unit that retired in this very moment turns us away: the table is newer by now.
                Some(target) => {
                    if let Some(in_flight) = target.load.enter() {
                        return Ok((Arc::clone(target), in_flight, app.app.clone()));
                    }
                }
                None if self.tried.is_empty() => return Err(Failure::NoUnit(app.app.clone())),
                None => self.wait_for_units(&app.app).await?,
            }
        }
    }

    /// No unit accepted a connection: they may be about to be replaced, so wait a little.
    async fn wait_for_units(&mut self, app: &AppName) -> Result<(), Failure> {
        if Instant::now() + self.pause > self.give_up {
            return Err(Failure::Unreachable(app.clone()));
        }
        sleep(self.pause).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        self.tried.clear();
        Ok(())
    }

    /// An idle connection or else a new one; `None` when the unit does not accept it.
    async fn connection(&mut self, target: &Arc<Target>) -> Option<Connection> {
        if !self.only_fresh
            && let Some(idle) = self.worker.pool.take(target, self.repeatable)
        {
            return Some(idle);
        }
        match connect(self.worker, target).await {
            Ok(connection) => {
                target.trust();
                Some(connection)
            }
            Err(reason) => {
                tracing::debug!(unit = %target.id, address = %target.address, "cannot connect to unit {}: {reason}", target.id);
                self.refused(target);
                None
            }
        }
    }

    fn refused(&mut self, target: &Target) {
        target.suspect();
        self.tried.push(target.key);
    }
}

fn is_repeatable(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE | Method::TRACE)
}

/// The same request once more; it has no body.
fn copy(request: &Request<Upload>) -> Request<Upload> {
    let mut copy = Request::new(Upload::none());
    copy.method_mut().clone_from(request.method());
    copy.uri_mut().clone_from(request.uri());
    copy.headers_mut().clone_from(request.headers());
    copy
}

async fn connect(worker: &Worker, target: &Arc<Target>) -> Result<Connection, Box<dyn std::error::Error>> {
    let stream = timeout(worker.config.connect_within, TcpStream::connect(target.address)).await??;
    stream.set_nodelay(true)?;
    socket2::SockRef::from(&stream).set_tcp_keepalive(&crate::listen::keepalive())?;
    let (sender, connection) = http1::Builder::new().handshake(TokioIo::new(stream)).await?;
    let id = target.id.clone();
    spawn_local(async move {
        if let Err(reason) = connection.with_upgrades().await {
            tracing::debug!(unit = %id, "a connection to unit {id} ended: {reason}");
        }
    });
    Ok(Connection::new(sender, Arc::clone(target), Rc::clone(&worker.pool)))
}

/// Sends the request and waits for the head of the answer.
async fn send(
    connection: &mut Connection,
    request: Request<Upload>,
    within: Duration,
) -> Result<Response<Incoming>, Lost> {
    let progress = request.body().progress();
    let answer = connection.sender.try_send_request(request);
    let late = late(progress, within);
    let sent = tokio::select! {
        biased;
        sent = answer => sent,
        () = late => return Err(Lost::Late),
    };
    sent.map_err(|mut failed| match failed.take_message() {
        Some(request) => Lost::Unsent(Box::new(request)),
        None if ended_without_answer(failed.error()) => Lost::Closed,
        None => Lost::Broken,
    })
}

/// Returns once `within` has passed since the unit last took something of the request.
async fn late(progress: Option<Progress>, within: Duration) {
    let mut last = Instant::now();
    loop {
        sleep_until(last + within).await;
        match progress.as_ref().map(|progress| Instant::from_std(progress.last())) {
            Some(moved) if moved > last => last = moved,
            _ => return,
        }
    }
}

/// Whether a connection ended before the first byte of an answer.
fn ended_without_answer(error: &hyper::Error) -> bool {
    use std::{error::Error as _, io::ErrorKind};
    let io = error.source().and_then(|source| source.downcast_ref::<std::io::Error>()).map(std::io::Error::kind);
    error.is_incomplete_message()
        || error.is_canceled()
        || error.is_closed()
        || matches!(io, Some(ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::ConnectionAborted))
}
