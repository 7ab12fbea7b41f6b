//! Encryption of the server's connections (SPEC T-7).

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject as _},
    },
    server::WebPkiClientVerifier,
};

use crate::BoxError;

/// Where a server's certificate and key are. Both files, and the one with the authorities, are read again when
/// they change; connections that are there already go on with what they began with.
///
/// ```no_run
/// # use broker_core::{BrokerServer, Tls};
/// # fn with(server: BrokerServer) -> BrokerServer {
/// server.tls(Tls::new("tls.crt", "tls.key").client_ca("platform-ca.crt"))
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    certificate: PathBuf,
    key: PathBuf,
    client_ca: Option<PathBuf>,
}

impl Tls {
    /// With the file of the certificate and those that vouch for it, and the file of its key; both in PEM.
    #[must_use]
    pub fn new(certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        Self { certificate: certificate.into(), key: key.into(), client_ca: None }
    }

    /// Only for clients with a certificate of one of the authorities in this file. They need the user name and
    /// password all the same.
    #[must_use]
    pub fn client_ca(mut self, file: impl Into<PathBuf>) -> Self {
        self.client_ca = Some(file.into());
        self
    }

    /// Whether the files can be used, and fit each other.
    ///
    /// # Errors
    /// When one can't be read, holds nothing of the kind, or the key is not the certificate's.
    pub fn check(&self) -> Result<(), TlsError> {
        self.read().map(drop)
    }

    pub(super) fn files(&self) -> Vec<PathBuf> {
        [&self.certificate, &self.key].into_iter().chain(&self.client_ca).cloned().collect()
    }

    /// TLS 1.2 or 1.3, with what the files hold now.
    pub(super) fn read(&self) -> Result<Arc<ServerConfig>, TlsError> {
        let certificates = certificates(&self.certificate)?;
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(|cause| TlsError::in_pem(&self.key, "key", cause))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let versions = [&rustls::version::TLS13, &rustls::version::TLS12];
        let config = ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(&versions);
        let config = config.map_err(|cause| TlsError::unusable(&self.certificate, "certificate", cause))?;
        let config = match &self.client_ca {
            None => config.with_no_client_auth(),
            Some(file) => {
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(authorities(file)?), provider);
                let verifier = verifier.build().map_err(|cause| TlsError::unusable(file, "authority", cause))?;
                config.with_client_cert_verifier(verifier)
            }
        };
        let config = config.with_single_cert(certificates, key);
        let mut config = config.map_err(|cause| self.unfit(cause))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    /// Why certificate and key, each of which could be read, can't be used together.
    fn unfit(&self, cause: rustls::Error) -> TlsError {
        match cause {
            rustls::Error::InconsistentKeys(_) => {
                TlsError::Strangers { certificate: self.certificate.clone(), key: self.key.clone() }
            }
            rustls::Error::InvalidCertificate(_) => TlsError::unusable(&self.certificate, "certificate", cause),
            _ => TlsError::unusable(&self.key, "key", cause),
        }
    }
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let read = read.map_err(|cause| TlsError::in_pem(file, "certificate", cause))?;
    if read.is_empty() {
        return Err(TlsError::in_pem(file, "certificate", pem::Error::NoItemsFound));
    }
    Ok(read)
}

fn authorities(file: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file)? {
        roots.add(certificate).map_err(|cause| TlsError::unusable(file, "authority", cause))?;
    }
    Ok(roots)
}

/// Why a server's certificate, key or authorities can't be used. No text of the files is in it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file can't be read.
    #[error("cannot read the {what} in {}: {cause}", file.display())]
    Unreadable {
        /// Which file.
        file: PathBuf,
        /// What is wanted of it.
        what: &'static str,
        /// What the system says.
        cause: io::Error,
    },
    /// A file holds nothing of the kind.
    #[error("there is no {what} in {}, put one there in PEM, not encrypted", file.display())]
    Missing {
        /// Which file.
        file: PathBuf,
        /// What is wanted of it.
        what: &'static str,
    },
    /// A file holds one that is damaged, or of a kind that is not known.
    #[error("the {what} in {} cannot be used, replace it: {cause}", file.display())]
    Unusable {
        /// Which file.
        file: PathBuf,
        /// What is wanted of it.
        what: &'static str,
        /// What is wrong with it.
        cause: BoxError,
    },
    /// The key is another certificate's.
    #[error(
        "the key in {} is not that of the first certificate in {}, name the two that were made together",
        key.display(), certificate.display()
    )]
    Strangers {
        /// The file of the certificate.
        certificate: PathBuf,
        /// The file of the key.
        key: PathBuf,
    },
}

impl TlsError {
    fn in_pem(file: &Path, what: &'static str, cause: pem::Error) -> Self {
        let file = file.to_owned();
        match cause {
            pem::Error::Io(cause) => Self::Unreadable { file, what, cause },
            pem::Error::NoItemsFound => Self::Missing { file, what },
            // Its text may quote the file.
            _ => Self::Unusable { file, what, cause: "this is no PEM".into() },
        }
    }

    fn unusable(file: &Path, what: &'static str, cause: impl Into<BoxError>) -> Self {
        Self::Unusable { file: file.to_owned(), what, cause: cause.into() }
    }
}
