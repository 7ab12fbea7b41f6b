//! Whom a broker trusts when it reaches a given server by TLS, and what is wrong when it does not.

use std::{
    error::Error,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use rustls::{AlertDescription, CertificateError, RootCertStore};
use secrecy::SecretString;
use serde::Deserialize;

use crate::tls::certificates_in;

/// How a given server's certificate is verified, and what the broker shows of its own. Without any of it, the
/// server's certificate has to be signed by an authority that the system trusts, and be for the host of its URL
/// (SPEC H-12).
///
/// ```toml
/// trust = { ca-file = "ca.pem", certificate-file = "broker.pem", key-file = "broker.key" }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Trust {
    /// File of the authorities that are trusted instead of the system's, in PEM.
    pub ca_file: Option<PathBuf>,
    /// File of the broker's own certificate, where the server wants one, in PEM.
    pub certificate_file: Option<PathBuf>,
    /// File of its key, in PEM.
    pub key_file: Option<PathBuf>,
    /// Whether any certificate will do: then whoever is on the way reads and changes everything.
    #[serde(default)]
    pub insecure_accept_any_certificate: bool,
}

/// What [`Trust`] names, read.
#[derive(Clone, Default)]
pub struct Trusted {
    /// The authorities in PEM; none for those of the system.
    pub ca: Option<String>,
    /// The broker's own certificate and its key, in PEM.
    pub identity: Option<(String, SecretString)>,
    /// Whether any certificate will do.
    pub accepts_any: bool,
}

impl Trust {
    /// With relative paths taken from a folder.
    #[must_use]
    pub fn within(self, folder: &Path) -> Self {
        let within = |file: Option<PathBuf>| file.map(|file| folder.join(file));
        Self {
            ca_file: within(self.ca_file),
            certificate_file: within(self.certificate_file),
            key_file: within(self.key_file),
            ..self
        }
    }

    /// Whether it says anything at all.
    #[must_use]
    pub fn is_some(&self) -> bool {
        *self != Self::default()
    }

    /// Reads the files.
    ///
    /// # Errors
    /// When one can't be read or holds something else, or they contradict each other, in a sentence.
    pub fn read(&self) -> Result<Trusted, String> {
        if self.insecure_accept_any_certificate && self.ca_file.is_some() {
            return Err("`ca-file` and `insecure-accept-any-certificate` exclude each other".to_owned());
        }
        let ca = self.ca_file.as_deref().map(certificates_of).transpose()?;
        let identity = match (&self.certificate_file, &self.key_file) {
            (Some(certificate), Some(key)) => Some((certificates_of(certificate)?, key_of(key)?)),
            (None, None) => None,
            _ => return Err("`certificate-file` and `key-file` belong together: name both".to_owned()),
        };
        Ok(Trusted { ca, identity, accepts_any: self.insecure_accept_any_certificate })
    }
}

impl Trusted {
    /// With the authorities of the system where it names none, for clients that know none by themselves.
    ///
    /// # Errors
    /// When the system has none, in a sentence.
    pub fn with_authorities(self) -> Result<Self, String> {
        if self.ca.is_some() || self.accepts_any {
            return Ok(self);
        }
        Ok(Self { ca: Some(system_authorities()?), ..self })
    }
}

impl std::fmt::Debug for Trusted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trusted").field("accepts_any", &self.accepts_any).finish_non_exhaustive()
    }
}

/// The certificates in a file, and nothing else of it: tenants are told them.
fn certificates_of(file: &Path) -> Result<String, String> {
    certificates_in(&text_of(file)?)
        .ok_or_else(|| format!("there is no certificate in {}, put one there in PEM", file.display()))
}

fn key_of(file: &Path) -> Result<SecretString, String> {
    let text = text_of(file)?;
    let is_key = |line: &str| line.starts_with("-----BEGIN ") && line.trim_end().ends_with(" PRIVATE KEY-----");
    if text.lines().any(|line| is_key(line) && !line.contains("ENCRYPTED")) {
        Ok(text.into())
    } else {
        Err(format!("there is no key in {}, put one there in PEM, not encrypted", file.display()))
    }
}

fn text_of(file: &Path) -> Result<String, String> {
    fs::read_to_string(file).map_err(|cause| format!("cannot read {}: {cause}", file.display()))
}

/// The authorities that the system trusts, in PEM.
fn system_authorities() -> Result<String, String> {
    const LINE: usize = 64;
    let mut found = String::new();
    for authority in rustls_native_certs::load_native_certs().certs {
        // Old stores have some that nobody can use.
        if RootCertStore::empty().add(authority.clone()).is_err() {
            continue;
        }
        found.push_str("-----BEGIN CERTIFICATE-----\n");
        let text = BASE64_STANDARD.encode(&authority);
        for begin in (0..text.len()).step_by(LINE) {
            found.push_str(&text[begin..text.len().min(begin + LINE)]);
            found.push('\n');
        }
        found.push_str("-----END CERTIFICATE-----\n");
    }
    if found.is_empty() {
        return Err("the system trusts no authority: install its certificates (ca-certificates), or name one as \
                    `ca-file`"
            .to_owned());
    }
    Ok(found)
}

/// What is wrong when a server can't be reached by TLS, in a sentence that begins with "its"; none when TLS is not
/// what is wrong.
///
/// ```
/// use broker_hosting::wrong_with_tls;
/// use rustls::{CertificateError, Error};
///
/// let expired = Error::InvalidCertificate(CertificateError::Expired);
/// assert_eq!(wrong_with_tls(&expired).unwrap(), "its certificate has expired: renew it");
/// ```
#[must_use]
pub fn wrong_with_tls(error: &(dyn Error + 'static)) -> Option<String> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<rustls::Error>() {
            return Some(sentence(found));
        }
        next = inner(error).or_else(|| error.source());
    }
    None
}

/// What wrappers hide from `source`.
fn inner<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    if let Some(shared) = error.downcast_ref::<Arc<dyn Error + Send + Sync>>() {
        return Some(&**shared);
    }
    let wrapped = error.downcast_ref::<io::Error>()?.get_ref()?;
    Some(wrapped)
}

fn sentence(error: &rustls::Error) -> String {
    let certificate = match error {
        rustls::Error::InvalidCertificate(certificate) => certificate,
        rustls::Error::AlertReceived(
            AlertDescription::CertificateRequired
            | AlertDescription::HandshakeFailure
            | AlertDescription::BadCertificate
            | AlertDescription::UnknownCA,
        ) => {
            return "it wants a certificate of the broker's that it knows: name one with its key, as \
                    `certificate-file` and `key-file`"
                .to_owned();
        }
        rustls::Error::InvalidMessage(_) => {
            return "it does not speak TLS there: give its port for TLS, or a URL without it".to_owned();
        }
        other => return format!("its TLS cannot be used: {other}"),
    };
    match certificate {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "its certificate is not signed by a trusted authority: name its authority's certificate as `ca-file`"
                .to_owned()
        }
        CertificateError::NotValidForNameContext { expected, presented } => {
            let names: Vec<_> = presented.iter().map(|name| name_in(name)).collect();
            let (host, names) = (expected.to_str(), names.join(", "));
            format!("its certificate is for {names} and not for {host}: use a host in the URL that it is for")
        }
        CertificateError::NotValidForName => {
            "its certificate is for another host: use one in the URL that it is for".to_owned()
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "its certificate has expired: renew it".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "its certificate is not valid yet: look at the clocks".to_owned()
        }
        other => format!("its certificate cannot be trusted: {other}"),
    }
}

/// The name in `DnsName("redis.example")`, as rustls shows it.
fn name_in(shown: &str) -> &str {
    let inner = shown.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')'));
    inner.map_or(shown, |name| name.trim_matches('"'))
}

/// Where apps find a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// A name or an address.
    pub host: String,
    /// Its port there.
    pub port: u16,
    /// None when it is reached in clear.
    pub encryption: Option<Encryption>,
}

/// That a server is reached by TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Encryption {
    /// The authorities to trust, in PEM; none for those that systems know.
    pub ca: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test] // SPEC H-12
    fn files_that_cannot_be_used_are_named() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("empty.pem"), "nothing").unwrap();
        let file = |name: &str| Some(PathBuf::from(name));
        let usual = Trust::default;
        for (trust, sentence) in [
            (Trust { ca_file: file("none.pem"), ..usual() }, "none.pem: No such file"),
            (Trust { ca_file: file("empty.pem"), ..usual() }, "there is no certificate in "),
            (Trust { key_file: file("empty.pem"), ..usual() }, "belong together"),
            (
                Trust { ca_file: file("empty.pem"), insecure_accept_any_certificate: true, ..usual() },
                "exclude each other",
            ),
        ] {
            let refusal = trust.within(folder.path()).read().unwrap_err();
            assert!(refusal.contains(sentence), "{refusal}");
        }
        assert!(!usual().is_some() && usual().read().unwrap().ca.is_none());
    }

    #[test] // SPEC H-12
    fn what_is_wrong_is_found_in_what_wraps_it() {
        let unknown = || rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer);
        let wrapped = io::Error::other(unknown());
        let shared: Arc<dyn Error + Send + Sync> = Arc::new(io::Error::other(unknown()));
        for error in [&wrapped as &(dyn Error + 'static), &shared] {
            assert!(wrong_with_tls(error).unwrap().contains("not signed by a trusted authority"));
        }
        assert_eq!(wrong_with_tls(&io::Error::other("no TLS")), None);
    }
}
