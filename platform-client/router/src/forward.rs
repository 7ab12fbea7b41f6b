//! A request's way through the router.

use std::{convert::Infallible, rc::Rc, time::Instant};

use bytes::Bytes;
use hyper::{
    Method, Request, Response, StatusCode, Uri, Version,
    body::Incoming,
    header::{HOST, HeaderValue},
    upgrade::OnUpgrade,
};
use hyper_util::rt::TokioIo;
use tokio::{io::copy_bidirectional, task::spawn_local};

use crate::{
    body::{Lease, ReplyBody, UnitBody, Upload},
    exchange::{Answer, Exchange},
    headers::{self, Peer},
    host,
    reply::Failure,
    worker::Worker,
};

/// Answers a client's request with a unit's answer, or says why not.
pub(crate) async fn handle(
    worker: Rc<Worker>,
    peer: Rc<Peer>,
    mut request: Request<Incoming>,
) -> Result<Response<ReplyBody>, Infallible> {
    let started = Instant::now();
    let id = headers::identify(request.headers_mut());
    let seen = tracing::enabled!(tracing::Level::DEBUG).then(|| Seen::of(&request));
    let (mut response, unit) = match forward(&worker, &peer, request).await {
        Ok((response, unit)) => (response, unit),
        Err(failure) => (failure.into_response(), String::new()),
    };
    if let Some(seen) = seen {
        seen.log(response.status(), &unit, &id, started);
    }
    response.headers_mut().entry(headers::REQUEST_ID).or_insert(id);
    Ok(response)
}

/// What the access log says of a request. Not its query: that may hold secrets.
struct Seen {
    method: Method,
    host: String,
    path: String,
}

impl Seen {
    fn of(request: &Request<Incoming>) -> Self {
        Self {
            method: request.method().clone(),
            host: host::of(request).unwrap_or_default().into_owned(),
            path: request.uri().path().to_owned(),
        }
    }

    fn log(self, status: StatusCode, unit: &str, id: &HeaderValue, started: Instant) {
        let Self { method, host, path } = self;
        let (status, micros) = (status.as_u16(), started.elapsed().as_micros() as u64);
        tracing::debug!(%method, host, path, status, unit, request.id = ?id, micros, "{method} {host}{path} {status}");
    }
}

async fn forward(
    worker: &Rc<Worker>,
    peer: &Peer,
    mut request: Request<Incoming>,
) -> Result<(Response<ReplyBody>, String), Failure> {
    if request.method() == Method::CONNECT {
        return Err(Failure::Connect);
    }
    let host = host::of(&request).ok_or(Failure::NoHost)?.into_owned();
    let protocol = headers::upgrade(request.headers());
    let client = protocol.is_some().then(|| hyper::upgrade::on(&mut request));
    let request = for_unit(worker, peer, request, protocol);
    let answer = Exchange::new(worker, &host, &request).run(request).await?;
    let unit = if tracing::enabled!(tracing::Level::DEBUG) { answer.target.id.0.clone() } else { String::new() };
    Ok((for_client(worker, answer, client)?, unit))
}

/// The request as a unit gets it.
fn for_unit(
    worker: &Worker,
    peer: &Peer,
    request: Request<Incoming>,
    protocol: Option<HeaderValue>,
) -> Request<Upload> {
    let (mut parts, body) = request.into_parts();
    parts.headers.reserve(headers::ADDED);
    headers::remove_hop_by_hop(&mut parts.headers);
    if let Some(authority) = parts.uri.authority()
        && let Ok(host) = HeaderValue::from_str(authority.as_str())
    {
        parts.headers.insert(HOST, host);
    }
    headers::forward(&mut parts.headers, peer, worker.config.trust_forwarded);
    if let Some(protocol) = protocol {
        headers::set_upgrade(&mut parts.headers, protocol);
    }
    parts.uri = origin_form(parts.uri);
    parts.version = Version::HTTP_11;
    parts.extensions.clear();
    Request::from_parts(parts, Upload::new(body))
}

/// Path and query alone.
fn origin_form(uri: Uri) -> Uri {
    if uri.authority().is_none() {
        return uri;
    }
    uri.path_and_query().cloned().map_or_else(|| Uri::from_static("/"), Uri::from)
}

/// The answer as the client gets it.
///
/// # Errors
/// When the unit changes the protocol and nobody asked for that.
fn for_client(
    worker: &Rc<Worker>,
    mut answer: Answer,
    client: Option<OnUpgrade>,
) -> Result<Response<ReplyBody>, Failure> {
    let switched = answer.response.status() == StatusCode::SWITCHING_PROTOCOLS;
    let protocol = headers::upgrade(answer.response.headers());
    let unit = hyper::upgrade::on(&mut answer.response);
    let (mut parts, body) = answer.response.into_parts();
    headers::remove_hop_by_hop(&mut parts.headers);
    parts.version = Version::HTTP_11;
    if !switched {
        return Ok(Response::from_parts(parts, ReplyBody::Unit(UnitBody::new(body, answer.lease))));
    }
    let Some((client, protocol)) = client.zip(protocol) else {
        return Err(Failure::Broken(answer.app));
    };
    headers::set_upgrade(&mut parts.headers, protocol);
    spawn_local(worker.open.track_future(splice(client, unit, answer.lease)));
    Ok(Response::from_parts(parts, ReplyBody::text(Bytes::new())))
}

/// Passes bytes both ways until both ends are done. In flight all the while.
async fn splice(client: OnUpgrade, unit: OnUpgrade, in_flight: Lease) {
    let ended = async {
        let (client, unit) = tokio::try_join!(client, unit)?;
        copy_bidirectional(&mut TokioIo::new(client), &mut TokioIo::new(unit)).await?;
        Ok::<(), Box<dyn std::error::Error>>(())
    };
    if let Err(reason) = ended.await {
        tracing::debug!("an upgraded connection ended: {reason}");
    }
    drop(in_flight);
}
