//! Certificates for the hosted servers: a small authority in the broker's folder.
//!
//! Tenants get the authority's certificate once, and with it trust every server that the broker starts, over all
//! renewals. A key and its certificate are one file, which is replaced as a whole: they always fit (SPEC H-9).

use std::{
    fs, io,
    net::IpAddr,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use broker_core::cli::Findings;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use time::OffsetDateTime;
use x509_parser::{extensions::GeneralName, pem::Pem, prelude::X509Certificate};

use crate::{Place, files};

/// The authority, with its key in the broker's folder and without in those of its servers.
pub(crate) const FILE: &str = "authority.pem";
const DAY: Duration = Duration::from_secs(24 * 3600);
/// How long the authority is valid.
const AUTHORITY_FOR: Duration = Duration::from_secs(3650 * 24 * 3600);
/// How long a server's certificate is valid, and how long before its end it is renewed.
const SERVER_FOR: Duration = Duration::from_secs(365 * 24 * 3600);
const RENEWED_BEFORE: Duration = Duration::from_secs(120 * 24 * 3600);

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file could not be used.
    #[error("cannot use {}: {cause}", path.display())]
    Io {
        /// Which one.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// A file holds something else than a key and its certificate.
    #[error("{} holds no key with its certificate: restore it from a backup, or remove it to begin anew: {cause}", path.display())]
    Broken {
        /// Which one.
        path: PathBuf,
        /// What is wrong.
        cause: String,
    },
    /// A name can't be in a certificate.
    #[error("no certificate can be issued for {names}: {cause}")]
    Names {
        /// The names, with commas.
        names: String,
        /// What is wrong.
        cause: String,
    },
    /// The authority's own certificate ends.
    #[error("the authority in {} has expired: remove the file, restart the broker, and hand out its new certificate", path.display())]
    Expired {
        /// Its file.
        path: PathBuf,
    },
}

/// A certificate authority of the broker's own: signs for the servers that the broker starts, and for nothing else.
///
/// ```
/// # let folder = tempfile::tempdir().unwrap();
/// let authority = broker_hosting::Authority::open(folder.path(), "redis-broker").unwrap();
/// assert!(authority.certificate().starts_with("-----BEGIN CERTIFICATE-----"));
/// ```
pub struct Authority {
    path: PathBuf,
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
    expires: SystemTime,
}

/// A server's certificate, in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The file with the certificate and its key, of mode 0600, for settings of either.
    pub file: PathBuf,
    /// The file with the authority's certificate.
    pub authority: PathBuf,
    /// When it ends.
    pub expires: SystemTime,
    /// When it is due for renewal: then [`Authority::keep`] makes another.
    pub renew_at: SystemTime,
    /// Whether it was made just now: a server that runs has to be told to read it.
    pub is_new: bool,
}

impl Authority {
    /// Opens the authority in `folder`, making it when there is none: `authority.pem`, of mode 0600.
    ///
    /// # Errors
    /// When the file can't be used or holds something else.
    pub fn open(folder: &Path, broker: &str) -> Result<Self, TlsError> {
        Self::at(folder.join(FILE), broker, |path, made| files::replace(path, made.as_bytes(), None))
    }

    /// Opens the authority in `folder`; when there is none, it is one that no file has.
    pub(crate) fn look(folder: &Path, broker: &str) -> Result<Self, TlsError> {
        Self::at(folder.join(FILE), broker, |_, _| Ok(()))
    }

    fn at(path: PathBuf, broker: &str, keep: impl FnOnce(&Path, &str) -> io::Result<()>) -> Result<Self, TlsError> {
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => {
                let made = make_authority(broker).map_err(|cause| TlsError::Broken { path: path.clone(), cause })?;
                keep(&path, &made).map_err(|cause| TlsError::Io { path: path.clone(), cause })?;
                made
            }
            Err(cause) => return Err(TlsError::Io { path, cause }),
        };
        let broken = |cause: String| TlsError::Broken { path: path.clone(), cause };
        let certificate = certificates_in(&text).ok_or_else(|| broken("it has no certificate".to_owned()))?;
        let key = KeyPair::from_pem(&text).map_err(|cause| broken(cause.to_string()))?;
        let issuer = Issuer::from_ca_cert_pem(&certificate, key).map_err(|cause| broken(cause.to_string()))?;
        let expires = look_into(&certificate, end_of).map_err(broken)?;
        Ok(Self { path, certificate, issuer, expires })
    }

    /// The authority's certificate as PEM, for tenants: the value of `*_CA` variables.
    #[must_use]
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// When the authority's own certificate ends.
    #[must_use]
    pub fn expires(&self) -> SystemTime {
        self.expires
    }

    /// Sees to it that a server has a certificate for `names`, which are names and addresses: the one it has, while
    /// that is not due for renewal and fits, else a new one. To be called when the place is prepared and, for a
    /// server that runs, now and then; it is told when the certificate is new.
    ///
    /// # Errors
    /// When files can't be used, a name can't be in a certificate, or the authority has expired.
    pub fn keep(&self, place: &Place, names: &[String]) -> Result<Certificate, TlsError> {
        self.keep_at(place, names, SystemTime::now())
    }

    pub(crate) fn keep_at(&self, place: &Place, names: &[String], now: SystemTime) -> Result<Certificate, TlsError> {
        let (file, authority) = (place.path().join("server.pem"), place.path().join(FILE));
        if let Some(expires) = self.fitting(&file, names)
            && now < self.renew_at(expires)
        {
            return Ok(Certificate { file, authority, expires, renew_at: self.renew_at(expires), is_new: false });
        }
        let (pem, expires) = self.issue(names, now)?;
        let wrote =
            |done: io::Result<PathBuf>| done.map_err(|cause| TlsError::Io { path: place.path().to_owned(), cause });
        wrote(place.write(FILE, &self.certificate))?;
        wrote(place.write("server.pem", &pem))?;
        Ok(Certificate { file, authority, expires, renew_at: self.renew_at(expires), is_new: true })
    }

    /// A certificate that ends with its authority is not renewed before: the next one would end with it, too.
    fn renew_at(&self, expires: SystemTime) -> SystemTime {
        if expires >= self.expires { expires } else { expires - RENEWED_BEFORE }
    }

    /// A key and its certificate as PEM, and when it ends.
    fn issue(&self, names: &[String], now: SystemTime) -> Result<(String, SystemTime), TlsError> {
        let expires = whole_seconds(now + SERVER_FOR).min(self.expires);
        if expires <= now {
            return Err(TlsError::Expired { path: self.path.clone() });
        }
        let issued = || -> Result<String, rcgen::Error> {
            let mut params = CertificateParams::new(names)?;
            params.distinguished_name.push(DnType::CommonName, names.first().map_or("server", String::as_str));
            // Clocks differ.
            params.not_before = OffsetDateTime::from(now - DAY);
            params.not_after = OffsetDateTime::from(expires);
            params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            params.use_authority_key_identifier_extension = true;
            let key = KeyPair::generate()?;
            let certificate = params.signed_by(&key, &self.issuer)?;
            Ok(format!("{}{}", key.serialize_pem(), certificate.pem()))
        };
        let pem = issued().map_err(|cause| TlsError::Names { names: names.join(", "), cause: cause.to_string() })?;
        Ok((pem, expires))
    }

    /// The end of the certificate in a file, when it is ours and for these names.
    fn fitting(&self, file: &Path, names: &[String]) -> Option<SystemTime> {
        let own = fs::read_to_string(file).ok()?;
        let own = certificates_in(&own)?;
        look_into(&self.certificate, |authority| {
            look_into(&own, |found| {
                let is_ours = found.verify_signature(Some(authority.public_key())).is_ok();
                (is_ours && has_names(found, names)).then(|| end_of(found))
            })
        })
        .ok()?
        .ok()?
    }
}

/// Says in a `doctor` when the authority that a broker keeps in `folder` ends. It makes none.
pub fn look_at_authority(folder: &Path, findings: &mut Findings) {
    const WHAT: &str = "authority";
    if !folder.join(FILE).exists() {
        return findings.found(WHAT, "it is made when the broker starts");
    }
    match Authority::open(folder, "") {
        Ok(authority) => match authority.expires.duration_since(SystemTime::now()) {
            Ok(left) if left > SERVER_FOR => {
                findings.found(WHAT, format!("valid for {} more days", left.as_secs() / DAY.as_secs()));
            }
            Ok(left) => findings.warning(
                WHAT,
                format!(
                    "it ends in {} days, and every server's certificate with it: remove {}, restart the broker, and \
                     bind the apps again",
                    left.as_secs() / DAY.as_secs(),
                    authority.path.display()
                ),
            ),
            Err(_) => findings.problem(WHAT, TlsError::Expired { path: authority.path }.to_string()),
        },
        Err(why) => findings.problem(WHAT, why.to_string()),
    }
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").field("path", &self.path).field("expires", &self.expires).finish_non_exhaustive()
    }
}

fn make_authority(broker: &str) -> Result<String, String> {
    let made = || -> Result<String, rcgen::Error> {
        let mut params = CertificateParams::new(Vec::<String>::new())?;
        let now = SystemTime::now();
        params.distinguished_name.push(DnType::CommonName, format!("{broker} servers"));
        params.not_before = OffsetDateTime::from(now - DAY);
        params.not_after = OffsetDateTime::from(now + AUTHORITY_FOR);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?;
        Ok(format!("{}{}", key.serialize_pem(), certificate.pem()))
    };
    made().map_err(|cause| cause.to_string())
}

/// The certificates among what a PEM file holds.
pub(crate) fn certificates_in(text: &str) -> Option<String> {
    const END: &str = "-----END CERTIFICATE-----";
    let (mut found, mut rest) = (String::new(), text);
    while let Some(begin) = rest.find("-----BEGIN CERTIFICATE-----")
        && let Some(length) = rest[begin..].find(END)
    {
        let end = begin + length + END.len();
        found.push_str(&rest[begin..end]);
        found.push('\n');
        rest = &rest[end..];
    }
    (!found.is_empty()).then_some(found)
}

fn look_into<T>(pem: &str, look: impl FnOnce(&X509Certificate<'_>) -> T) -> Result<T, String> {
    let (pem, _) = Pem::read(io::Cursor::new(pem)).map_err(|cause| cause.to_string())?;
    let found = pem.parse_x509().map_err(|cause| cause.to_string())?;
    Ok(look(&found))
}

fn end_of(found: &X509Certificate<'_>) -> SystemTime {
    let seconds = u64::try_from(found.validity().not_after.timestamp()).unwrap_or(0);
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

/// Certificates know no parts of seconds.
fn whole_seconds(at: SystemTime) -> SystemTime {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    SystemTime::UNIX_EPOCH + Duration::from_secs(since.as_secs())
}

/// Whether a certificate is for exactly these names.
fn has_names(found: &X509Certificate<'_>, names: &[String]) -> bool {
    let Ok(Some(listed)) = found.subject_alternative_name() else { return false };
    let listed = &listed.value.general_names;
    listed.len() == names.len()
        && names.iter().all(|name| {
            let address = name.parse::<IpAddr>().ok().map(|address| match address {
                IpAddr::V4(four) => four.octets().to_vec(),
                IpAddr::V6(six) => six.octets().to_vec(),
            });
            listed.iter().any(|known| match (known, &address) {
                (GeneralName::IPAddress(bytes), Some(address)) => bytes == address,
                (GeneralName::DNSName(known), None) => known == name,
                _ => false,
            })
        })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn place(folder: &Path) -> Place {
        let (addresses, published) = (Vec::new(), Vec::new());
        Place { port: 1, addresses, published, folder: folder.to_owned(), owner: None, lock: None, container: None }
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test] // SPEC H-9
    fn a_certificate_is_kept_until_it_is_due_or_its_names_change() {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::open(folder.path(), "test").unwrap();
        let server = tempfile::tempdir().unwrap();
        let (place, wanted) = (place(server.path()), names(&["redis.example", "127.0.0.1", "::1"]));

        let first = authority.keep(&place, &wanted).unwrap();
        let again = authority.keep(&place, &wanted).unwrap();
        let due = authority.keep_at(&place, &wanted, first.renew_at + Duration::from_secs(1)).unwrap();
        let renamed = authority.keep(&place, &names(&["other.example"])).unwrap();

        assert!(first.is_new && !again.is_new && due.is_new && renamed.is_new);
        assert_eq!(first.expires, again.expires);
        assert!(due.expires > first.expires);
        let mode = |file: &Path| fs::metadata(file).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&first.file), mode(&folder.path().join("authority.pem"))), (0o600, 0o600));
    }

    #[test] // SPEC H-9
    fn the_next_broker_has_the_same_authority_and_another_ones_certificates_are_replaced() {
        let (folder, other, server) =
            (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let authority = Authority::open(folder.path(), "test").unwrap();
        let (place, wanted) = (place(server.path()), names(&["127.0.0.1"]));
        authority.keep(&place, &wanted).unwrap();

        let next = Authority::open(folder.path(), "test").unwrap();
        assert_eq!(next.certificate(), authority.certificate());
        assert!(!next.keep(&place, &wanted).unwrap().is_new);
        assert!(Authority::open(other.path(), "test").unwrap().keep(&place, &wanted).unwrap().is_new);
    }

    #[test] // SPEC H-9
    fn a_certificate_that_ends_with_its_authority_is_kept_until_then() {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::open(folder.path(), "test").unwrap();
        let server = tempfile::tempdir().unwrap();
        let (place, wanted) = (place(server.path()), names(&["127.0.0.1"]));
        let late = authority.expires - Duration::from_secs(24 * 3600);

        let last = authority.keep_at(&place, &wanted, late).unwrap();
        let again = authority.keep_at(&place, &wanted, late + Duration::from_secs(3600)).unwrap();
        let refusal = authority.keep_at(&place, &wanted, authority.expires).unwrap_err().to_string();

        assert!(last.is_new && !again.is_new);
        assert_eq!(last.expires, authority.expires);
        assert!(refusal.contains("has expired: remove the file"), "{refusal}");
    }

    #[test] // SPEC H-11
    fn a_doctor_says_when_the_authority_ends_and_makes_none() {
        let folder = tempfile::tempdir().unwrap();
        let said = || {
            let mut findings = Findings::default();
            look_at_authority(folder.path(), &mut findings);
            findings.to_string()
        };

        assert!(said().contains("made when the broker starts"), "{}", said());
        assert!(!folder.path().join(FILE).exists());
        Authority::open(folder.path(), "test").unwrap();
        assert!(said().starts_with("ok") && said().contains("more days"), "{}", said());
        fs::write(folder.path().join(FILE), "nothing").unwrap();
        assert!(said().starts_with("error"), "{}", said());
    }

    #[test] // SPEC H-9
    fn a_servers_names_are_those_that_apps_and_the_broker_reach_it_by() {
        let addresses = |text: &[&str]| text.iter().map(|address| address.parse().unwrap()).collect();
        let of = |published: &[&str], host: &str| {
            Place { published: addresses(published), ..place(Path::new("/nowhere")) }.names(host)
        };
        assert_eq!(of(&["127.0.0.1", "10.0.0.5"], "10.0.0.5"), ["10.0.0.5", "127.0.0.1"]);
        assert_eq!(of(&["0.0.0.0"], "redis.example"), ["redis.example", "127.0.0.1"]);
        assert_eq!(of(&["127.0.0.1", "fd00::1"], "[fd00::1]"), ["fd00::1", "127.0.0.1"]);
    }

    #[test]
    fn a_file_that_is_no_authority_is_named_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("authority.pem"), "nothing").unwrap();

        let refusal = Authority::open(folder.path(), "test").unwrap_err().to_string();

        assert!(refusal.contains("authority.pem holds no key with its certificate"), "{refusal}");
        assert_eq!(fs::read_to_string(folder.path().join("authority.pem")).unwrap(), "nothing");
    }

    #[test] // SPEC H-9
    fn a_client_that_trusts_the_authority_trusts_the_server_by_its_name_and_by_no_other() {
        use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::open(folder.path(), "test").unwrap();
        let server = tempfile::tempdir().unwrap();
        let kept = authority.keep(&place(server.path()), &names(&["redis.example", "127.0.0.1"])).unwrap();
        let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
        let chain = vec![CertificateDer::from_pem_file(&kept.file).unwrap()];
        let key = PrivateKeyDer::from_pem_file(&kept.file).unwrap();
        let serves =
            rustls::ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
        let serves = serves.unwrap().with_no_client_auth().with_single_cert(chain, key).unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(&kept.authority).unwrap()).unwrap();
        let trusts = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let trusts = std::sync::Arc::new(trusts.unwrap().with_root_certificates(roots).with_no_client_auth());
        let serves = std::sync::Arc::new(serves);

        let handshake = |name: &str| {
            let name = name.to_owned().try_into().unwrap();
            let mut client = rustls::ClientConnection::new(trusts.clone(), name).unwrap();
            let mut server = rustls::ServerConnection::new(serves.clone()).unwrap();
            while client.is_handshaking() || server.is_handshaking() {
                let mut wire = Vec::new();
                client.write_tls(&mut wire).unwrap();
                server.read_tls(&mut wire.as_slice()).unwrap();
                server.process_new_packets()?;
                let mut wire = Vec::new();
                server.write_tls(&mut wire).unwrap();
                let mut rest = wire.as_slice();
                while !rest.is_empty() {
                    client.read_tls(&mut rest).unwrap();
                    client.process_new_packets()?;
                }
            }
            Ok::<_, rustls::Error>(())
        };

        handshake("redis.example").unwrap();
        handshake("127.0.0.1").unwrap();
        assert!(matches!(handshake("other.example"), Err(rustls::Error::InvalidCertificate(_))));
    }
}
