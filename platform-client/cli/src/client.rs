//! Calls to the platform (contract section 1).
//!
//! A [`Call`] says what is asked; [`Api::send`] asks it and turns whatever goes wrong into a sentence. Each wait has an
//! end: for the answer, and for the next piece of it.

use std::{
    fmt,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail};
use broker_core::Secret;
use bytes::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use platform_wire::VERBOSITY_HEADER;
use reqwest::{
    Method, StatusCode,
    header::{AUTHORIZATION, LOCATION},
    multipart,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use url::{Host, Url};

use crate::{session::token_from_environment, target::Target};

/// How long to wait for a connection.
const CONNECT: Duration = Duration::from_secs(10);
/// How long to wait for the beginning of an answer: a service may take 300 s to create an instance.
const ANSWER: Duration = Duration::from_secs(330);
/// How long a stream may be silent: it says something every 30 s (contract sections 1.6 and 1.7).
const SILENCE: Duration = Duration::from_secs(120);

/// What may stand in a path segment as it is (RFC 3986, `pchar`). The rest is encoded.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'!')
    .remove(b'$')
    .remove(b'&')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')')
    .remove(b'*')
    .remove(b'+')
    .remove(b',')
    .remove(b';')
    .remove(b'=')
    .remove(b':')
    .remove(b'@');

/// The platform does not know the token.
#[derive(Debug, thiserror::Error)]
#[error("{}. Error received from tsuru server ({target}), 401: unauthorized{}", .token.0, .token.1)]
pub(crate) struct InvalidSession {
    target: String,
    token: (&'static str, &'static str),
}

impl InvalidSession {
    fn new(target: &Target) -> Self {
        let token = if token_from_environment().is_some() {
            ("Invalid session - maybe invalid defined token on TSURU_TOKEN envvar", "")
        } else {
            ("Invalid session", "\n\nLog in with: tsuru login")
        };
        Self { target: target.url.clone(), token }
    }
}

/// The platform said no.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Refused {
    /// With which status.
    pub(crate) status: StatusCode,
    /// In which words.
    pub(crate) message: String,
}

/// One question to the platform.
#[derive(Debug)]
pub(crate) struct Call {
    method: Method,
    version: &'static str,
    segments: Vec<String>,
    query: Vec<(String, String)>,
    body: Body,
}

enum Body {
    None,
    Form(Vec<(String, String)>),
    Json(Result<Value, serde_json::Error>),
    Multipart(multipart::Form, Option<Arc<AtomicU64>>),
}

impl fmt::Debug for Body {
    /// The kind only: what is sent may be a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Form(_) => "Form",
            Self::Json(_) => "Json",
            Self::Multipart(..) => "Multipart",
        })
    }
}

impl Call {
    /// A call to a path below an API version; an empty version for none.
    pub(crate) fn new(method: Method, version: &'static str, segments: &[&str]) -> Self {
        let segments = segments.iter().map(ToString::to_string).collect();
        Self { method, version, segments, query: Vec::new(), body: Body::None }
    }

    pub(crate) fn get(version: &'static str, segments: &[&str]) -> Self {
        Self::new(Method::GET, version, segments)
    }

    pub(crate) fn post(version: &'static str, segments: &[&str]) -> Self {
        Self::new(Method::POST, version, segments)
    }

    pub(crate) fn put(version: &'static str, segments: &[&str]) -> Self {
        Self::new(Method::PUT, version, segments)
    }

    pub(crate) fn delete(version: &'static str, segments: &[&str]) -> Self {
        Self::new(Method::DELETE, version, segments)
    }

    /// Adds a query parameter.
    pub(crate) fn query(mut self, name: &str, value: impl ToString) -> Self {
        self.query.push((name.to_owned(), value.to_string()));
        self
    }

    /// Adds a query parameter if there is a value.
    pub(crate) fn query_some(self, name: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.query(name, value),
            None => self,
        }
    }

    /// Adds a query parameter for each value.
    pub(crate) fn query_each(self, name: &str, values: &[String]) -> Self {
        values.iter().fold(self, |call, value| call.query(name, value))
    }

    /// Adds a form field.
    pub(crate) fn field(mut self, name: impl Into<String>, value: impl ToString) -> Self {
        let field = (name.into(), value.to_string());
        match &mut self.body {
            Body::Form(fields) => fields.push(field),
            body => *body = Body::Form(vec![field]),
        }
        self
    }

    /// Adds a form field, empty if there is no value.
    pub(crate) fn field_or_empty(self, name: &str, value: Option<&str>) -> Self {
        self.field(name, value.unwrap_or_default())
    }

    /// Adds a form field for each value.
    pub(crate) fn field_each(self, name: &str, values: &[String]) -> Self {
        values.iter().fold(self, |call, value| call.field(name, value))
    }

    /// Adds a map, `name.key=value`; an empty one as `name=` (contract section 1.9).
    pub(crate) fn field_map(self, name: &str, entries: &[(String, String)]) -> Self {
        if entries.is_empty() {
            return self.field(name, "");
        }
        entries.iter().fold(self, |call, (key, value)| call.field(format!("{name}.{}", key.replace('.', "\\.")), value))
    }

    /// Sends JSON.
    pub(crate) fn json(mut self, body: &impl Serialize) -> Self {
        self.body = Body::Json(serde_json::to_value(body));
        self
    }

    /// Sends a multipart form.
    pub(crate) fn multipart(mut self, form: multipart::Form) -> Self {
        self.body = Body::Multipart(form, None);
        self
    }

    /// Sends a multipart form that is made while it is sent; `sent` goes up meanwhile.
    pub(crate) fn upload(mut self, form: multipart::Form, sent: Arc<AtomicU64>) -> Self {
        self.body = Body::Multipart(form, Some(sent));
        self
    }

    fn url(&self, target: &Target) -> Result<Url> {
        let mut text = target.url.clone();
        if !self.version.is_empty() {
            text = format!("{text}/{}", self.version);
        }
        for segment in &self.segments {
            if matches!(segment.as_str(), "" | "." | "..") {
                bail!("{segment:?} is not a name");
            }
            text = format!("{text}/{}", utf8_percent_encode(segment, ENCODED));
        }
        let mut url = Url::parse(&text).with_context(|| format!("the target {} is not a URL", target.url))?;
        if !self.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&self.query);
        }
        Ok(url)
    }
}

/// A client of one platform.
#[derive(Debug)]
pub(crate) struct Api {
    target: Target,
    token: Option<Secret>,
    http: reqwest::Client,
    verbosity: u8,
}

impl Api {
    /// A client of `target`. Nothing is asked yet.
    pub(crate) fn new(target: Target, token: Option<Secret>, verbosity: u8) -> Result<Self> {
        let http = http_client(&target)?;
        Ok(Self { target, token, http, verbosity })
    }

    /// Asks, and reads the answer as JSON.
    pub(crate) async fn read<T: DeserializeOwned>(&self, call: Call) -> Result<T> {
        self.send(call).await?.json().await
    }

    /// Asks, and reads the answer as a list: nothing at all and `null` are empty lists (contract section 1.10).
    pub(crate) async fn list<T: DeserializeOwned>(&self, call: Call) -> Result<Vec<T>> {
        let body = self.send(call).await?.text().await?;
        if body.trim().is_empty() {
            return Ok(Vec::new());
        }
        Ok(decode::<Option<Vec<T>>>(&body)?.unwrap_or_default())
    }

    /// Asks, and has no interest in the answer but that it is not an error.
    pub(crate) async fn tell(&self, call: Call) -> Result<()> {
        self.send(call).await?.text().await?;
        Ok(())
    }

    /// Asks. An answer that is not a success is an error in the platform's words.
    pub(crate) async fn send(&self, call: Call) -> Result<Answer> {
        let answer = self.ask(call).await?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        if status == StatusCode::UNAUTHORIZED {
            return Err(InvalidSession::new(&self.target).into());
        }
        if status.is_redirection() {
            let to = answer.response.headers().get(LOCATION).and_then(|to| to.to_str().ok()).unwrap_or("elsewhere");
            bail!("the server answered {status} and points to {to}: is {} the right target?", self.target.url);
        }
        let message = answer.text().await?.trim_end().to_owned();
        let message = if message.is_empty() { status.to_string() } else { message };
        Err(Refused { status, message }.into())
    }

    /// Asks, and takes any answer.
    pub(crate) async fn ask(&self, call: Call) -> Result<Answer> {
        let url = call.url(&self.target)?;
        if self.verbosity > 0 {
            eprintln!("> {} {url}", call.method);
        }
        let mut request = self.http.request(call.method, url).header(VERBOSITY_HEADER, self.verbosity.to_string());
        if let Some(token) = &self.token {
            let mut bearer = reqwest::header::HeaderValue::from_str(&format!("bearer {}", token.expose()))
                .context("the token holds characters that no token has: log in again with tsuru login")?;
            bearer.set_sensitive(true);
            request = request.header(AUTHORIZATION, bearer);
        }
        let mut sent = None;
        request = match call.body {
            Body::None => request,
            Body::Form(fields) => request.form(&fields),
            Body::Json(body) => request.json(&body.context("cannot write the request")?),
            Body::Multipart(form, counter) => {
                sent = counter;
                request.multipart(form)
            }
        };
        let response = self.wait_for(request, sent).await?;
        if self.verbosity > 1 {
            eprintln!("< {}", response.status());
        }
        Ok(Answer { response })
    }

    /// Waits for an answer, as long as the upload (if there is one) gets on.
    async fn wait_for(
        &self,
        request: reqwest::RequestBuilder,
        sent: Option<Arc<AtomicU64>>,
    ) -> Result<reqwest::Response> {
        let answer = request.send();
        tokio::pin!(answer);
        let progress = || sent.as_ref().map_or(0, |sent| sent.load(Ordering::Relaxed));
        let mut seen = progress();
        loop {
            match tokio::time::timeout(ANSWER, &mut answer).await {
                Ok(answer) => return answer.map_err(|error| self.unreachable(&error)),
                Err(_) if progress() > seen => seen = progress(),
                Err(_) => bail!("the server ({}) gave no answer in {} s", self.target.url, ANSWER.as_secs()),
            }
        }
    }

    /// The sentence for a connection that failed (contract section 1.4).
    fn unreachable(&self, error: &reqwest::Error) -> anyhow::Error {
        anyhow!("Failed to connect to tsuru server ({}), it's probably down: {}", self.target.url, root_cause(error))
    }
}

/// An answer: its status is known, its body is still on the way.
#[derive(Debug)]
pub(crate) struct Answer {
    response: reqwest::Response,
}

impl Answer {
    pub(crate) fn status(&self) -> StatusCode {
        self.response.status()
    }

    pub(crate) fn header(&self, name: &str) -> Option<String> {
        Some(self.response.headers().get(name)?.to_str().ok()?.to_owned())
    }

    /// The next piece of the body; none at its end.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>> {
        match tokio::time::timeout(SILENCE, self.response.chunk()).await {
            Ok(chunk) => chunk.map_err(|error| anyhow!("the server's answer broke off: {}", root_cause(&error))),
            Err(_) => bail!("the server has said nothing for {} s", SILENCE.as_secs()),
        }
    }

    /// The whole body as text.
    pub(crate) async fn text(mut self) -> Result<String> {
        let mut body = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            body.extend_from_slice(&chunk);
        }
        Ok(String::from_utf8_lossy(&body).into_owned())
    }

    /// The whole body as JSON.
    pub(crate) async fn json<T: DeserializeOwned>(self) -> Result<T> {
        decode(&self.text().await?)
    }
}

fn decode<T: DeserializeOwned>(body: &str) -> Result<T> {
    serde_json::from_str(body).context("the server's answer cannot be read: is the target a tsuru server?")
}

/// The innermost reason of an error: the outer ones only say that a request failed.
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

fn http_client(target: &Target) -> Result<reqwest::Client> {
    // Somebody else in this process may have installed one: any will do.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let url = Url::parse(&target.url).with_context(|| format!("the target {} is not a URL", target.url))?;
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("tsuru-client/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT)
        .tcp_keepalive(Duration::from_secs(30))
        .http1_only();
    if url.scheme() == "http" {
        // Plain HTTP asks for no certificates, and a machine without any must do.
        builder = builder.tls_certs_only([]);
    }
    if is_loopback(&url) {
        builder = builder.no_proxy();
    }
    builder.build().map_err(|error| anyhow!("cannot set up HTTPS: {}", root_cause(&error)))
}

/// Whether the target is this machine: no proxy leads there.
pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => IpAddr::V4(address).is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::V6(address).is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(call: &Call) -> Result<String> {
        let target = Target { label: None, url: "http://tsuru.example/base".to_owned() };
        Ok(call.url(&target)?.to_string())
    }

    #[test]
    fn names_are_segments_whatever_they_hold() {
        let call = Call::get("1.0", &["apps", "a/b c?d#e"]);
        assert_eq!(url(&call).unwrap(), "http://tsuru.example/base/1.0/apps/a%2Fb%20c%3Fd%23e");
        assert_eq!(url(&Call::get("", &["pools", "main"])).unwrap(), "http://tsuru.example/base/pools/main");
        assert!(url(&Call::delete("1.0", &["apps", ".."])).is_err());
        assert!(url(&Call::delete("1.0", &["apps", ""])).is_err());
    }

    #[test]
    fn an_address_of_a_user_keeps_its_plus() {
        let call = Call::post("1.0", &["users", "a+b@example.com", "tokens"]);
        assert_eq!(url(&call).unwrap(), "http://tsuru.example/base/1.0/users/a+b@example.com/tokens");
    }

    #[test] // SPEC C-11
    fn what_is_sent_is_not_printed() {
        let call = Call::post("1.0", &["users"]).field("password", "s3cr3t");
        assert!(!format!("{call:?}").contains("s3cr3t"));
    }
}
