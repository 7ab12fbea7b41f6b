//! The caller's side of the broker protocol (contract 2 to 4).
//!
//! One attempt for each call, on a connection of its own. Redirects are not followed: following one
//! would turn a POST or DELETE into a GET whose success means nothing (contract 9, 10), so a
//! redirect is a failure that shows its status.
//!
//! ```no_run
//! # async fn example() -> Result<(), broker_core::client::ClientError> {
//! use broker_core::client::{Access, Acting, Client, CreateInstance};
//!
//! let client = Client::new()?;
//! let redis = Access::new("redis".parse().unwrap(), "http://10.0.0.7:8071", "redis", "s3cret");
//! let acting = Acting::new("alice@example.com", "5f0c7c1e8a1b2c3d4e5f6a7b");
//! let create = CreateInstance { name: "cache".into(), team: "data".into(), ..CreateInstance::default() };
//! client.create(&redis, create, &acting).await?;
//! # Ok(())
//! # }
//! ```

use std::{collections::BTreeMap, error::Error as StdError, time::Duration};

use reqwest::{
    Method, StatusCode,
    header::{ACCEPT, CONNECTION, CONTENT_TYPE, HeaderMap, HeaderValue},
    redirect::Policy,
};
use serde::Deserialize as _;
use serde_json::Value;

pub use crate::wire::{
    BindApp, BindJob, ChangeInstance, CreateInstance, Encoding, RemoveInstance, Rotate, UnbindApp, UnbindJob,
};
use crate::{InstanceName, JobName, Secret, ServiceName, line::cut};

/// The longest answer that is read.
const LONGEST: usize = 8 * 1024 * 1024;
/// So much of a name in an answer is told.
const LONGEST_NAME: usize = 100;

/// Where a service API is and how to talk to it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Access {
    /// The service's name, for messages.
    pub service: ServiceName,
    /// Its endpoint: with or without a scheme, with or without a path.
    pub endpoint: String,
    /// User name for basic auth.
    pub username: String,
    /// Password for basic auth.
    pub password: Secret,
    /// How it wants its bodies.
    pub encoding: Encoding,
}

impl Access {
    /// A service API that takes forms.
    #[must_use]
    pub fn new(service: ServiceName, endpoint: &str, username: &str, password: impl Into<Secret>) -> Self {
        Self {
            service,
            endpoint: endpoint.to_owned(),
            username: username.to_owned(),
            password: password.into(),
            encoding: Encoding::Form,
        }
    }

    /// Has bodies sent in this encoding.
    #[must_use]
    pub fn encoding(mut self, encoding: Encoding) -> Self {
        self.encoding = encoding;
        self
    }

    /// One slash between endpoint and path; `http://` where no scheme is named (contract 2.5).
    fn url(&self, path: &str) -> String {
        let has_scheme = self.endpoint.starts_with("http://") || self.endpoint.starts_with("https://");
        let scheme = if has_scheme { "" } else { "http://" };
        format!("{scheme}{}/{}", self.endpoint.trim_end_matches('/'), path.trim_matches('/'))
    }
}

/// Who acts, and under which event: travels with each change, in headers and body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Acting {
    /// The user's e-mail address; may be empty.
    pub user: String,
    /// The event: 24 hexadecimal digits.
    pub event: String,
}

impl Acting {
    /// A user, under an event.
    #[must_use]
    pub fn new(user: impl Into<String>, event: impl Into<String>) -> Self {
        Self { user: user.into(), event: event.into() }
    }
}

/// Calls service APIs. Cheap to clone; one serves all services.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
}

/// Why a call did not succeed. The text is what the platform's users see (contract 4.1).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// No answer came: a refused connection, a time-out, a name that does not resolve.
    #[error("{prefix}{cause}")]
    Network {
        /// What was tried, with a colon and a space; empty for some calls.
        prefix: String,
        /// What went wrong.
        cause: String,
    },
    /// An answer that says no.
    #[error("{prefix}: invalid response: {body} (code: {code})")]
    Refused {
        /// What was tried.
        prefix: String,
        /// The answer's text.
        body: String,
        /// Its status.
        code: u16,
    },
    /// 409 on create.
    #[error("instance already exists in the service API")]
    AlreadyExists,
    /// 404 on delete or bind.
    #[error("instance does not exist in the service API")]
    NotFound,
    /// 412 on bind.
    #[error("instance is not ready yet")]
    NotReady,
    /// The service API wants to know the pool.
    #[error("You must provide the pool name")]
    PoolRequired,
    /// An answer that says yes but makes no sense.
    #[error("{0}")]
    Undecodable(String),
    /// The call can't even be made.
    #[error("{0}")]
    Unsendable(String),
}

/// An answer, read.
struct Answer {
    status: StatusCode,
    body: Vec<u8>,
}

impl Answer {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Below 300, as the reference has it.
    fn is_success(&self) -> bool {
        self.status.as_u16() < 300
    }

    fn refused(&self, prefix: impl Into<String>) -> ClientError {
        ClientError::Refused { prefix: prefix.into(), body: self.text(), code: self.status.as_u16() }
    }
}

impl Client {
    /// A client with the contract's time limits: 15 s to connect, 300 s for the whole exchange.
    ///
    /// # Errors
    /// When the system's TLS settings can't be used.
    pub fn new() -> Result<Self, ClientError> {
        Self::with_timeouts(Duration::from_secs(15), Duration::from_secs(300))
    }

    /// A client with time limits of your own.
    ///
    /// # Errors
    /// When the system's TLS settings can't be used.
    pub fn with_timeouts(connect: Duration, whole: Duration) -> Result<Self, ClientError> {
        // Fails when there is a provider already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .connect_timeout(connect)
            .timeout(whole)
            .redirect(Policy::none())
            .no_proxy()
            .http1_only()
            .pool_max_idle_per_host(0)
            .user_agent(concat!("broker-core/", env!("CARGO_PKG_VERSION")))
            .build();
        let http = http.map_err(|error| ClientError::Unsendable(format!("no HTTP client: {}", chain(&error))))?;
        Ok(Self { http })
    }

    /// `GET /resources/plans`: names and descriptions. Refusals mean that there are none.
    ///
    /// # Errors
    /// When no answer comes, a pool has to be named, or the answer says yes and is no list.
    pub async fn plans(&self, at: &Access) -> Result<Vec<(String, String)>, ClientError> {
        let answer = self.get(at, "/resources/plans").await.map_err(|cause| ClientError::network("", cause))?;
        match answer.status {
            StatusCode::OK => plans_in(&answer.body),
            StatusCode::BAD_REQUEST if names_missing_cluster(&answer.body) => Err(ClientError::PoolRequired),
            _ => Ok(Vec::new()),
        }
    }

    /// `POST /resources`
    ///
    /// # Errors
    /// With the contract's texts.
    pub async fn create(&self, at: &Access, body: CreateInstance, acting: &Acting) -> Result<(), ClientError> {
        let prefix = format!("Failed to create the instance {}", body.name);
        let body = CreateInstance { user: acting.user.clone(), event: acting.event.clone(), ..body };
        let sent = self.send(Method::POST, at, "/resources", body.encode(at.encoding), acting).await;
        let answer = sent.map_err(|cause| ClientError::network(&prefix, cause))?;
        match answer.status {
            StatusCode::CONFLICT => Err(ClientError::AlreadyExists),
            _ if answer.is_success() => Ok(()),
            _ => Err(answer.refused(prefix)),
        }
    }

    /// `PUT /resources/{name}`: 404 is a success.
    ///
    /// # Errors
    /// With the contract's texts.
    pub async fn update(
        &self,
        at: &Access,
        name: &InstanceName,
        body: ChangeInstance,
        acting: &Acting,
    ) -> Result<(), ClientError> {
        let body = ChangeInstance { user: acting.user.clone(), event: acting.event.clone(), ..body };
        let sent = self.send(Method::PUT, at, &format!("/resources/{name}"), body.encode(at.encoding), acting).await;
        let answer = sent.map_err(|cause| ClientError::network("", cause))?;
        if answer.is_success() || answer.status == StatusCode::NOT_FOUND {
            return Ok(());
        }
        Err(answer.refused(format!("Failed to update the instance {name}")))
    }

    /// `DELETE /resources/{name}`
    ///
    /// # Errors
    /// With the contract's texts.
    pub async fn remove(&self, at: &Access, name: &InstanceName, acting: &Acting) -> Result<(), ClientError> {
        let body = RemoveInstance { event: acting.event.clone(), user: acting.user.clone() };
        let sent = self.send(Method::DELETE, at, &format!("/resources/{name}"), body.encode(at.encoding), acting).await;
        let answer = sent.map_err(|cause| ClientError::network("", cause))?;
        match answer.status {
            StatusCode::NOT_FOUND => Err(ClientError::NotFound),
            _ if answer.is_success() => Ok(()),
            _ => Err(answer.refused(format!("Failed to destroy the instance {name}"))),
        }
    }

    /// `POST /resources/{name}/bind-app`, and on 404 the same to `/bind`: the variables, by name.
    ///
    /// # Errors
    /// With the contract's texts; also when the answer says yes but holds something else than texts.
    pub async fn bind_app(
        &self,
        at: &Access,
        name: &InstanceName,
        body: BindApp,
        acting: &Acting,
    ) -> Result<BTreeMap<String, Secret>, ClientError> {
        let (service, app) = (&at.service, body.app.clone());
        let network = format!("Failed to bind app \"{app}\" to service instance \"{service}/{name}\"");
        let refused = format!("Failed to bind the instance \"{service}/{name}\" to the app \"{app}\"");
        let host = body.hosts.first().cloned().unwrap_or_default();
        let body = BindApp { user: acting.user.clone(), event: acting.event.clone(), host, ..body };
        let body = body.encode(at.encoding);
        let path = format!("/resources/{name}/bind-app");
        let sent = self.send(Method::POST, at, &path, body.clone(), acting).await;
        let mut answer = sent.map_err(|cause| ClientError::network(&network, cause))?;
        if answer.status == StatusCode::NOT_FOUND {
            let sent = self.send(Method::POST, at, &format!("/resources/{name}/bind"), body, acting).await;
            answer = sent.map_err(|cause| ClientError::network(&network, cause))?;
        }
        variables(&answer, &refused)
    }

    /// `DELETE /resources/{name}/bind-app`: 404 is a success.
    ///
    /// # Errors
    /// With the contract's texts.
    pub async fn unbind_app(
        &self,
        at: &Access,
        name: &InstanceName,
        body: UnbindApp,
        acting: &Acting,
    ) -> Result<(), ClientError> {
        let host = body.hosts.first().cloned().unwrap_or_default();
        let body = UnbindApp { user: acting.user.clone(), event: acting.event.clone(), host, ..body };
        self.unbind(at, &format!("/resources/{name}/bind-app"), body.encode(at.encoding), acting).await
    }

    /// `PUT /resources/{name}/binds/jobs/{job}`: the variables, by name.
    ///
    /// # Errors
    /// As [`bind_app`](Self::bind_app).
    pub async fn bind_job(
        &self,
        at: &Access,
        name: &InstanceName,
        job: &JobName,
        body: BindJob,
        acting: &Acting,
    ) -> Result<BTreeMap<String, Secret>, ClientError> {
        let service = &at.service;
        let network = format!("Failed to bind job \"{job}\" to service instance \"{service}/{name}\"");
        let refused = format!("Failed to bind the instance \"{service}/{name}\" to the job \"{job}\"");
        let body = BindJob { job: job.to_string(), user: acting.user.clone(), event: acting.event.clone(), ..body };
        let path = format!("/resources/{name}/binds/jobs/{job}");
        let sent = self.send(Method::PUT, at, &path, body.encode(at.encoding), acting).await;
        variables(&sent.map_err(|cause| ClientError::network(&network, cause))?, &refused)
    }

    /// `DELETE /resources/{name}/binds/jobs/{job}`: 404 is a success.
    ///
    /// # Errors
    /// With the contract's texts.
    pub async fn unbind_job(
        &self,
        at: &Access,
        name: &InstanceName,
        job: &JobName,
        acting: &Acting,
    ) -> Result<(), ClientError> {
        let body = UnbindJob { user: acting.user.clone(), event: acting.event.clone() };
        self.unbind(at, &format!("/resources/{name}/binds/jobs/{job}"), body.encode(at.encoding), acting).await
    }

    async fn unbind(&self, at: &Access, path: &str, body: String, acting: &Acting) -> Result<(), ClientError> {
        let sent = self.send(Method::DELETE, at, path, body, acting).await;
        let answer = sent.map_err(|cause| ClientError::network("", cause))?;
        if answer.is_success() || answer.status == StatusCode::NOT_FOUND {
            return Ok(());
        }
        Err(answer.refused(format!("Failed to unbind (\"{path}\")")))
    }

    /// `GET /resources/{name}/status` in the platform's words: `up`, `pending`, `down`, `not
    /// implemented for this service`, or what the service API says itself.
    ///
    /// # Errors
    /// With the contract's texts, for any status but the five that mean something.
    pub async fn status(&self, at: &Access, name: &InstanceName) -> Result<String, ClientError> {
        let prefix = format!("Failed to get status of instance {name}");
        let sent = self.get(at, &format!("/resources/{name}/status")).await;
        let answer = sent.map_err(|cause| ClientError::network(&prefix, cause))?;
        match answer.status {
            StatusCode::OK => Ok(answer.text()),
            StatusCode::ACCEPTED => Ok("pending".to_owned()),
            StatusCode::NO_CONTENT => Ok("up".to_owned()),
            StatusCode::NOT_FOUND => Ok("not implemented for this service".to_owned()),
            StatusCode::INTERNAL_SERVER_ERROR => Ok("down".to_owned()),
            _ => Err(answer.refused(prefix)),
        }
    }

    /// `GET /resources/{name}`: labels and values. Refusals mean that there are none.
    ///
    /// # Errors
    /// When no answer comes, or it says yes and is no list of texts.
    pub async fn info(&self, at: &Access, name: &InstanceName) -> Result<BTreeMap<String, String>, ClientError> {
        let sent = self.get(at, &format!("/resources/{name}")).await;
        let answer = sent.map_err(|cause| ClientError::network("", cause))?;
        if answer.status == StatusCode::OK { info_in(&answer.body) } else { Ok(BTreeMap::new()) }
    }

    async fn get(&self, at: &Access, path: &str) -> Result<Answer, String> {
        read(self.request(Method::GET, at, path)).await
    }

    async fn send(
        &self,
        method: Method,
        at: &Access,
        path: &str,
        body: String,
        acting: &Acting,
    ) -> Result<Answer, String> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(at.encoding.content_type()));
        for (name, value) in [("x-tsuru-user", &acting.user), ("x-tsuru-eventid", &acting.event)] {
            let value =
                HeaderValue::from_bytes(value.as_bytes()).map_err(|_| format!("{name} can't be sent: {value:?}"))?;
            headers.insert(name, value);
        }
        read(self.request(method, at, path).headers(headers).body(body)).await
    }

    fn request(&self, method: Method, at: &Access, path: &str) -> reqwest::RequestBuilder {
        self.http
            .request(method, at.url(path))
            .basic_auth(&at.username, Some(at.password.expose()))
            .header(ACCEPT, HeaderValue::from_static("application/json"))
            .header(CONNECTION, HeaderValue::from_static("close"))
    }
}

/// Reads the whole answer, up to a limit.
async fn read(request: reqwest::RequestBuilder) -> Result<Answer, String> {
    let mut response = request.send().await.map_err(|error| chain(&error))?;
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| chain(&error))? {
        if body.len() + chunk.len() > LONGEST {
            return Err(format!("the service API's answer is longer than {} MiB", LONGEST / 1024 / 1024));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Answer { status: response.status(), body })
}

/// An error and what caused it, in one line.
fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

impl ClientError {
    fn network(prefix: &str, cause: String) -> Self {
        let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}: ") };
        Self::Network { prefix, cause }
    }
}

/// What a bind answered (contract 4.7): an object of texts; what follows it is ignored.
fn variables(answer: &Answer, prefix: &str) -> Result<BTreeMap<String, Secret>, ClientError> {
    match answer.status {
        StatusCode::NOT_FOUND => return Err(ClientError::NotFound),
        StatusCode::PRECONDITION_FAILED => return Err(ClientError::NotReady),
        _ if answer.is_success() => {}
        _ => return Err(answer.refused(prefix)),
    }
    match first_value(&answer.body)? {
        Value::Null => Ok(BTreeMap::new()),
        Value::Object(members) => {
            members.into_iter().map(|(name, value)| Ok((name.clone(), Secret::from(text(&name, value)?)))).collect()
        }
        other => Err(undecodable(&format!("{} instead of an object of variables", kind(&other)))),
    }
}

fn plans_in(body: &[u8]) -> Result<Vec<(String, String)>, ClientError> {
    let plans = match first_value(body)? {
        Value::Null => Vec::new(),
        Value::Array(plans) => plans,
        other => return Err(undecodable(&format!("{} instead of a list of plans", kind(&other)))),
    };
    plans.into_iter().map(plan_in).collect()
}

fn plan_in(plan: Value) -> Result<(String, String), ClientError> {
    let Value::Object(members) = plan else {
        return Err(undecodable(&format!("{} as a plan", kind(&plan))));
    };
    let (mut name, mut description) = (String::new(), String::new());
    for (key, value) in members {
        match key.to_ascii_lowercase().as_str() {
            "name" => name = text(&key, value)?,
            "description" => description = text(&key, value)?,
            _ => {}
        }
    }
    Ok((name, description))
}

fn info_in(body: &[u8]) -> Result<BTreeMap<String, String>, ClientError> {
    let items = match first_value(body)? {
        Value::Null => Vec::new(),
        Value::Array(items) => items,
        other => return Err(undecodable(&format!("{} instead of a list", kind(&other)))),
    };
    items.into_iter().map(info_item).collect()
}

/// All members have to be texts, also those that nobody reads (contract 4.4).
fn info_item(item: Value) -> Result<(String, String), ClientError> {
    let Value::Object(members) = item else {
        return Err(undecodable(&format!("{} in its list", kind(&item))));
    };
    let texts = members.into_iter().map(|(key, value)| Ok((key.clone(), text(&key, value)?)));
    let mut texts: BTreeMap<String, String> = texts.collect::<Result<_, ClientError>>()?;
    Ok((texts.remove("label").unwrap_or_default(), texts.remove("value").unwrap_or_default()))
}

fn names_missing_cluster(body: &[u8]) -> bool {
    let named = serde_json::from_slice::<Value>(body).ok();
    let missing = named.as_ref().and_then(|body| body.get("missing_params")?.as_array());
    missing.is_some_and(|missing| missing.iter().any(|parameter| parameter == "cluster"))
}

fn first_value(body: &[u8]) -> Result<Value, ClientError> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Err(ClientError::Undecodable("EOF".to_owned()));
    }
    let mut stream = serde_json::Deserializer::from_slice(body);
    Value::deserialize(&mut stream).map_err(|error| undecodable(&format!("something that is not JSON ({error})")))
}

/// `null` is the empty text. The value itself may be a credential, so it is not shown.
fn text(name: &str, value: Value) -> Result<String, ClientError> {
    match value {
        Value::String(text) => Ok(text),
        Value::Null => Ok(String::new()),
        other => {
            let name = cut(name, LONGEST_NAME);
            Err(undecodable(&format!("{} as \"{name}\", where a text is wanted", kind(&other))))
        }
    }
}

/// How a body is refused as each of the answers that it could be.
#[cfg(feature = "fuzzing")]
pub(crate) fn misreadings(body: &[u8]) -> Vec<ClientError> {
    let _ = names_missing_cluster(body);
    let answer = Answer { status: StatusCode::OK, body: body.to_vec() };
    let refused = [plans_in(body).err(), info_in(body).err(), variables(&answer, "").err()];
    refused.into_iter().flatten().collect()
}

fn undecodable(what: &str) -> ClientError {
    ClientError::Undecodable(format!("invalid response: the service API answered with {what}"))
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        Answer { status: StatusCode::from_u16(status).unwrap(), body: body.as_bytes().to_vec() }
    }

    fn bound(status: u16, body: &str) -> Result<Vec<(String, String)>, String> {
        let variables = variables(&answer(status, body), "Failed to bind");
        let plain = |(name, value): (String, Secret)| (name, value.expose().to_owned());
        variables.map(|all| all.into_iter().map(plain).collect()).map_err(|error| error.to_string())
    }

    #[test] // B2
    fn endpoint_and_path_are_joined_by_one_slash() {
        for (endpoint, url) in [
            ("10.0.0.7:80", "http://10.0.0.7:80/resources/x"),
            ("https://h/v2/", "https://h/v2/resources/x"),
            ("http://h//", "http://h/resources/x"),
            ("HTTP://h", "http://HTTP://h/resources/x"),
        ] {
            assert_eq!(Access::new("redis".parse().unwrap(), endpoint, "u", "p").url("/resources/x/"), url);
        }
    }

    #[test] // B39, B42, B43, B46, B47
    fn a_binds_answer_means_what_the_contract_says() {
        let none = Ok(Vec::new());
        assert_eq!(
            bound(201, r#"{"A":"1","B":null} trailing"#),
            Ok(vec![("A".into(), "1".into()), ("B".into(), String::new())])
        );
        assert_eq!(bound(200, "{}"), none);
        assert_eq!(bound(200, "null"), none);
        assert_eq!(bound(201, ""), Err("EOF".into()));
        assert_eq!(bound(204, ""), Err("EOF".into()));
        assert_eq!(bound(404, ""), Err("instance does not exist in the service API".into()));
        assert_eq!(bound(412, "x"), Err("instance is not ready yet".into()));
        assert_eq!(bound(500, "no quota"), Err("Failed to bind: invalid response: no quota (code: 500)".into()));
        assert_eq!(bound(302, ""), Err("Failed to bind: invalid response:  (code: 302)".into()));
        let number = bound(201, r#"{"PORT":6379}"#).unwrap_err();
        assert_eq!(
            number,
            "invalid response: the service API answered with a number as \"PORT\", where a text is wanted"
        );
        assert!(bound(201, "[]").is_err() && bound(201, "<html>").is_err());
        let strange = bound(201, &format!(r#"{{"\u001b[31m{}":6379}}"#, "x".repeat(5000))).unwrap_err();
        assert!(strange.len() < 250 && !strange.contains('\u{1b}'), "{strange}");
    }

    #[test] // B75, B76, B77, B78
    fn plans_and_info_are_read_leniently_where_the_contract_is_lenient() {
        let plans = plans_in(br#"[{"Name":"small","description":"256 MB","schemas":{}}]"#).unwrap();
        assert_eq!(plans, [("small".to_owned(), "256 MB".to_owned())]);
        assert!(plans_in(b"null").unwrap().is_empty() && plans_in(b"{}").is_err());
        let info = info_in(br#"[{"label":"a","value":"1"},{"label":"a","value":"2"},{"value":null}]"#).unwrap();
        assert_eq!(info, BTreeMap::from([("a".to_owned(), "2".to_owned()), (String::new(), String::new())]));
        assert!(info_in(br#"[{"label":"a","value":1}]"#).is_err());
        assert!(names_missing_cluster(br#"{"msg":"","missing_params":["cluster"]}"#));
        assert!(!names_missing_cluster(b"no"));
    }
}
