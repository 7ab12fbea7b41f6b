//! The `Routes` port of a router in another process, over its control socket.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{
    Method, Request, StatusCode,
    client::conn::http1,
    header::{CONTENT_TYPE, HOST},
};
use hyper_util::rt::TokioIo;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use platform_core::{AppName, Error, Result, Route, UnitId, ports::Routes};
use serde::de::DeserializeOwned;
use tokio::{
    net::UnixStream,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use crate::control::{Drained, Refusal};

/// How long a call may take beyond what it is told to wait.
const WITHIN: Duration = Duration::from_secs(10);
/// How long a router that is being restarted is waited for.
const RESTARTED_WITHIN: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(50);

/// A router in another process, reached over its [`Control`](crate::Control) socket.
#[derive(Clone, Debug)]
pub struct RemoteRoutes {
    socket: PathBuf,
}

impl RemoteRoutes {
    /// The router at this socket. Nothing is sent yet: each call connects, so that the router may be
    /// restarted at any time.
    #[must_use]
    pub fn at(socket: impl Into<PathBuf>) -> Self {
        Self { socket: socket.into() }
    }

    /// The control socket.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    async fn call(&self, method: Method, path: &str, body: Vec<u8>, within: Duration) -> Result<(StatusCode, Bytes)> {
        let asked = timeout(within, self.ask(method, path, body)).await;
        asked.unwrap_or_else(|_| Err(self.away(&format!("no answer within {} seconds", within.as_secs()))))
    }

    async fn ask(&self, method: Method, path: &str, body: Vec<u8>) -> Result<(StatusCode, Bytes)> {
        let stream = self.connect().await.map_err(|reason| self.away(&reason))?;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, "router")
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(|reason| self.away(&reason))?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|reason| self.away(&reason))?;
        // Ends with this call.
        let mut serving = JoinSet::new();
        serving.spawn(connection);
        let response = sender.send_request(request).await.map_err(|reason| self.away(&reason))?;
        let status = response.status();
        let body = response.into_body().collect().await.map_err(|reason| self.away(&reason))?;
        Ok((status, body.to_bytes()))
    }

    /// Connects; a router that is being restarted gets a moment.
    async fn connect(&self) -> io::Result<UnixStream> {
        let give_up = Instant::now() + RESTARTED_WITHIN;
        loop {
            match UnixStream::connect(&self.socket).await {
                Err(reason) if may_return(&reason) && Instant::now() < give_up => sleep(PAUSE).await,
                outcome => return outcome,
            }
        }
    }

    fn away(&self, reason: &dyn std::fmt::Display) -> Error {
        Error::Router(format!(
            "the router does not answer at {} ({reason}): check that `tsurud router` runs",
            self.socket.display()
        ))
    }

    fn read<T: DeserializeOwned>(&self, body: &[u8]) -> Result<T> {
        serde_json::from_slice(body).map_err(|reason| self.away(&format!("an answer that cannot be read: {reason}")))
    }

    /// The refusal in an answer that is none of success.
    fn accepted(&self, (status, body): (StatusCode, Bytes)) -> Result<Bytes> {
        if status.is_success() {
            return Ok(body);
        }
        let refusal: Refusal = self.read(&body)?;
        Err(if status == StatusCode::BAD_REQUEST {
            Error::Invalid(refusal.error)
        } else {
            Error::Router(refusal.error)
        })
    }
}

fn may_return(reason: &io::Error) -> bool {
    matches!(reason.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

#[async_trait]
impl Routes for RemoteRoutes {
    async fn publish(&self, route: Route) -> Result<()> {
        let body = serde_json::to_vec(&route).map_err(|reason| Error::invalid(format!("the route: {reason}")))?;
        let answer = self.call(Method::PUT, &format!("/routes/{}", route.app), body, WITHIN).await?;
        self.accepted(answer).map(drop)
    }

    async fn withdraw(&self, app: &AppName) -> Result<()> {
        let answer = self.call(Method::DELETE, &format!("/routes/{app}"), Vec::new(), WITHIN).await?;
        self.accepted(answer).map(drop)
    }

    async fn published(&self) -> Result<Vec<Route>> {
        let answer = self.call(Method::GET, "/routes", Vec::new(), WITHIN).await?;
        self.read(&self.accepted(answer)?)
    }

    async fn drained(&self, unit: &UnitId, within: Duration) -> Result<bool> {
        let unit = utf8_percent_encode(&unit.0, NON_ALPHANUMERIC);
        let path = format!("/drained/{unit}?within_ms={}", within.as_millis());
        let answer = self.call(Method::GET, &path, Vec::new(), within + WITHIN).await?;
        let answer: Drained = self.read(&self.accepted(answer)?)?;
        Ok(answer.drained)
    }
}
