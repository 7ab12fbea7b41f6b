//! Who may call.

use axum::{
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use secrecy::zeroize::Zeroizing;
use sha2::{Digest as _, Sha256};
use std::{
    fs, io,
    io::Read as _,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};
use subtle::ConstantTimeEq as _;

use super::reload::Current;
use crate::Secret;

/// More than this is no list of credentials.
const FILE: u64 = 1 << 20;
/// Permissions of users that have nothing to do with the file.
const OTHERS: u32 = 0o007;

/// User names and passwords that are accepted: several, so that a password can be changed without a
/// moment in which the platform is locked out.
///
/// Kept as digests: all have one length, so that comparing them takes one time.
#[derive(Clone, Default)]
pub(crate) struct Credentials(Vec<[u8; 32]>);

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "[{} credentials]", self.0.len())
    }
}

impl Credentials {
    pub(crate) fn accept(&mut self, username: &str, password: &Secret) {
        let pair = Zeroizing::new(format!("{username}:{}", password.expose()));
        self.0.push(digest(pair.as_bytes()));
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The pairs in a file: a line each, `user:password`; empty lines and those that begin with `#` are left out.
    pub(crate) fn read(path: &Path) -> Result<Self, CredentialsError> {
        let unreadable = |cause| CredentialsError::Unreadable { file: path.to_owned(), cause };
        let file = fs::File::open(path).map_err(unreadable)?;
        if file.metadata().map_err(unreadable)?.mode() & OTHERS != 0 {
            return Err(CredentialsError::Open(path.to_owned()));
        }
        let mut text = String::new();
        file.take(FILE).read_to_string(&mut text).map_err(unreadable)?;
        let text = Secret::from(text);
        let mut credentials = Self::default();
        for (line, number) in text.expose().lines().map(str::trim).zip(1..) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            match line.split_once(':') {
                Some((username, password)) if !username.is_empty() && !password.is_empty() => {
                    credentials.accept(username, &Secret::from(password));
                }
                _ => return Err(CredentialsError::Line { file: path.to_owned(), line: number }),
            }
        }
        if credentials.is_empty() {
            return Err(CredentialsError::Empty(path.to_owned()));
        }
        Ok(credentials)
    }

    /// Compares with every accepted pair, whether or not an earlier one matched.
    fn accepts(&self, presented: &[u8; 32]) -> bool {
        self.0.iter().fold(false, |accepted, known| accepted | bool::from(known.ct_eq(presented)))
    }
}

/// Why a file of credentials can't be used. No text of the file is in it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialsError {
    /// It can't be read.
    #[error("cannot read the credentials in {}: {cause}", file.display())]
    Unreadable {
        /// Which file.
        file: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// It has no pair in it, so that nobody could call.
    #[error("{} names nobody, write a line `user:password` into it", .0.display())]
    Empty(PathBuf),
    /// Everybody on the machine can read or change it.
    #[error("{file} is open to every user of this machine, take that away: chmod o= {file}", file = .0.display())]
    Open(PathBuf),
    /// A line is something else.
    #[error("line {line} of {} is not `user:password`", file.display())]
    Line {
        /// Which file.
        file: PathBuf,
        /// Counted from 1.
        line: usize,
    },
}

/// Whom the server lets in.
#[derive(Debug, Default)]
pub(super) struct Guard {
    /// Named by whoever made the server.
    pub(super) named: Credentials,
    /// Those in a file, as it is now.
    pub(super) listed: Option<Current<Credentials>>,
    /// Those who may look at what operators look at, and at nothing else.
    pub(super) operators: Credentials,
    /// Those of them in a file, as it is now.
    pub(super) listed_operators: Option<Current<Credentials>>,
    /// Whether everybody may see the measurements.
    pub(super) open_metrics: bool,
}

impl Guard {
    /// Every list is compared with, so that the time tells nothing.
    pub(super) fn lets_in(&self, path: &str, headers: &HeaderMap) -> bool {
        if path == "/metrics" && self.open_metrics {
            return true;
        }
        let Some(presented) = presented(headers) else { return false };
        let is_in =
            |list: &Option<Current<Credentials>>| list.as_ref().is_some_and(|list| list.get().accepts(&presented));
        let listed = is_in(&self.listed);
        let is_operator = self.operators.accepts(&presented) | is_in(&self.listed_operators);
        self.named.accepts(&presented) | listed | (is_operator & matches!(path, "/metrics" | "/openapi.json"))
    }
}

/// The digest of the pair that a request comes with.
fn presented(headers: &HeaderMap) -> Option<[u8; 32]> {
    let header = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    Some(digest(&basic(header)?))
}

/// The `user:password` of a `Basic` header; the scheme's case does not matter.
fn basic(header: &str) -> Option<Zeroizing<Vec<u8>>> {
    let (scheme, encoded) = header.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    STANDARD.decode(encoded.trim()).ok().map(Zeroizing::new)
}

fn digest(pair: &[u8]) -> [u8; 32] {
    Sha256::digest(pair).into()
}

/// What somebody hears who may not call.
pub(super) fn refusal() -> Response {
    let challenge = HeaderValue::from_static("Basic realm=\"service broker\", charset=\"UTF-8\"");
    let sentence = "you are not authorized: the user name or the password is wrong or missing";
    (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, challenge)], sentence).into_response()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn headers(value: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::from_str(value).unwrap())])
    }

    fn opens(guard: &Guard, path: &str, pair: &str) -> bool {
        guard.lets_in(path, &headers(&format!("Basic {}", STANDARD.encode(pair))))
    }

    #[test] // SPEC T-1
    fn every_accepted_pair_opens_and_nothing_else_does() {
        let mut guard = Guard::default();
        guard.named.accept("redis", &Secret::from("new:pass"));
        guard.named.accept("redis", &Secret::from("old"));

        for good in ["redis:new:pass", "redis:old"] {
            assert!(opens(&guard, "/", good), "{good}");
            assert!(guard.lets_in("/", &headers(&format!("bAsIc {}", STANDARD.encode(good)))), "{good}");
        }
        for bad in ["redis:", "redis:ol", "Redis:old", ":old", "redis"] {
            assert!(!opens(&guard, "/", bad), "{bad}");
        }
        for rubbish in ["Basic", "Basic %%%", "Bearer abc", ""] {
            assert!(!guard.lets_in("/", &headers(rubbish)), "{rubbish}");
        }
        assert!(!guard.lets_in("/", &HeaderMap::new()));
    }

    #[test] // SPEC T-6
    fn operators_see_what_is_theirs_and_nothing_else() {
        let mut guard = Guard::default();
        guard.operators.accept("prometheus", &Secret::from("watch"));

        assert!(opens(&guard, "/metrics", "prometheus:watch") && opens(&guard, "/openapi.json", "prometheus:watch"));
        assert!(!opens(&guard, "/resources", "prometheus:watch") && !opens(&guard, "/metrics/", "prometheus:watch"));
        assert!(!guard.lets_in("/metrics", &HeaderMap::new()));
        guard.open_metrics = true;
        assert!(guard.lets_in("/metrics", &HeaderMap::new()) && !guard.lets_in("/openapi.json", &HeaderMap::new()));
    }

    #[test] // SPEC T-6
    fn a_file_that_is_no_list_is_refused_without_its_text() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("credentials");
        let refusal = |text: &str, mode: u32| {
            fs::write(&file, text).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
            Credentials::read(&file).unwrap_err().to_string()
        };

        assert!(refusal("# nobody\n\n", 0o600).contains("names nobody"));
        let why = refusal("fake:good\ns3cret\n", 0o600);
        assert!(why.starts_with("line 2 of ") && !why.contains("s3cret"), "{why}");
        assert!(refusal("fake:good\n", 0o604).contains("chmod"));
        assert!(refusal(":empty\n", 0o600).contains("line 1"));
        fs::remove_file(&file).unwrap();
        assert!(Credentials::read(&file).unwrap_err().to_string().contains("cannot read"));
    }
}
