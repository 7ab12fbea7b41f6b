//! An author's own answer to who may call.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use axum::http::{HeaderMap, HeaderName, HeaderValue};

use crate::{Result, Secret};

/// Says who may call, beside the lists of passwords and tokens, for callers that are known elsewhere: to an identity
/// provider, to a directory, by a signature (SPEC T-14).
///
/// It is asked about every request but those that need no credentials, before anything of the request is read. It has as
/// long as a [question](crate::BrokerServer::look_timeout) has; a request about which it fails, panics or is too slow is
/// refused with 503, and its caller hears no cause. The password or token of [`Attempt::credential`] is in no line of the
/// log, even where its errors and panics have it; what it takes from other headers it has to keep to itself.
///
/// ```
/// use async_trait::async_trait;
/// use broker_core::{Access, Attempt, Authorizer, Credential, Result};
///
/// /// Knows the machines of one team by their tokens, and leaves all others to the lists.
/// struct Machines;
///
/// #[async_trait]
/// impl Authorizer for Machines {
///     async fn authorize(&self, attempt: &Attempt) -> Result<Access> {
///         Ok(match attempt.credential() {
///             Some(Credential::Bearer(token)) if token.expose().starts_with("machine-") => {
///                 Access::Granted("machines".to_owned())
///             }
///             _ => Access::NotMine,
///         })
///     }
/// }
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let token = Credential::Bearer("machine-7".into());
/// let access = Machines.authorize(&Attempt::new("GET", "/v2/catalog", Some(token))).await;
/// assert_eq!(access.unwrap(), Access::Granted("machines".to_owned()));
/// # })
/// ```
#[async_trait]
pub trait Authorizer: Send + Sync + 'static {
    /// Whether a request may go on.
    ///
    /// # Errors
    /// When that can't be found out: the request is refused with 503.
    async fn authorize(&self, attempt: &Attempt) -> Result<Access>;
}

#[async_trait]
impl Authorizer for Arc<dyn Authorizer> {
    async fn authorize(&self, attempt: &Attempt) -> Result<Access> {
        self.as_ref().authorize(attempt).await
    }
}

/// What an [`Authorizer`] says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Access {
    /// The request goes on. The text says who it is, and is in the log's lines about the request: the first 128
    /// characters of it, in one line.
    Granted(String),
    /// The request is refused with 401, whatever the lists say.
    Refused,
    /// The lists decide.
    NotMine,
}

/// A request that somebody wants to make. Printing it shows no header.
#[derive(Clone)]
pub struct Attempt {
    method: String,
    path: String,
    credential: Option<Credential>,
    headers: HeaderMap,
}

impl Attempt {
    /// A request without headers, for an author's tests.
    pub fn new(method: impl Into<String>, path: impl Into<String>, credential: Option<Credential>) -> Self {
        Self { method: method.into(), path: path.into(), credential, headers: HeaderMap::new() }
    }

    /// With one more header, for an author's tests.
    ///
    /// # Panics
    /// When no request can have such a header.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        let name: HeaderName = name.parse().expect("a header's name");
        self.headers.append(name, value.parse::<HeaderValue>().expect("a header's value"));
        self
    }

    pub(crate) fn of(method: &str, path: &str, credential: Option<Credential>, headers: HeaderMap) -> Self {
        Self { method: method.to_owned(), path: path.to_owned(), credential, headers }
    }

    /// `GET`, `POST`, ...
    #[must_use]
    pub fn method(&self) -> &str {
        &self.method
    }

    /// The path as it came, with no query and nothing decoded.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What the request has in `Authorization`, if that is readable and there once.
    #[must_use]
    pub fn credential(&self) -> Option<&Credential> {
        self.credential.as_ref()
    }

    /// The first value of a header, where it is text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

impl fmt::Debug for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { method, path, .. } = self;
        f.debug_struct("Attempt").field("method", method).field("path", path).finish_non_exhaustive()
    }
}

/// What a caller shows.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Credential {
    /// A user name and a password.
    Basic {
        /// Who it says it is.
        username: String,
        /// What it knows.
        password: Secret,
    },
    /// A token.
    Bearer(Secret),
}

impl Credential {
    /// The part of it that nobody may see.
    pub(crate) fn secret(&self) -> &Secret {
        match self {
            Self::Basic { password, .. } => password,
            Self::Bearer(token) => token,
        }
    }
}
