//! Encryption of the server's connections (SPEC T-7).

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
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
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(|cause| TlsError::new(&self.key, "key", cause))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let versions = [&rustls::version::TLS13, &rustls::version::TLS12];
        let config = ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(&versions);
        let config = config.map_err(|cause| TlsError::new(&self.certificate, "certificate", cause))?;
        let config = match &self.client_ca {
            None => config.with_no_client_auth(),
            Some(file) => {
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(authorities(file)?), provider);
                let verifier = verifier.build().map_err(|cause| TlsError::new(file, "authority", cause))?;
                config.with_client_cert_verifier(verifier)
            }
        };
        let config = config.with_single_cert(certificates, key);
        let mut config = config.map_err(|cause| TlsError::new(&self.certificate, "certificate for that key", cause))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let read = read.map_err(|cause| TlsError::new(file, "certificate", cause))?;
    if read.is_empty() {
        return Err(TlsError::new(file, "certificate", "there is none in PEM"));
    }
    Ok(read)
}

fn authorities(file: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file)? {
        roots.add(certificate).map_err(|cause| TlsError::new(file, "authority", cause))?;
    }
    Ok(roots)
}

/// Why a server's certificate, key or authorities can't be used.
#[derive(Debug, thiserror::Error)]
#[error("{} holds no usable {what}: {cause}", file.display())]
pub struct TlsError {
    file: PathBuf,
    what: &'static str,
    cause: BoxError,
}

impl TlsError {
    fn new(file: &Path, what: &'static str, cause: impl Into<BoxError>) -> Self {
        Self { file: file.to_owned(), what, cause: cause.into() }
    }
}
