//! Who certifies a broker's servers, and under which names.

use std::{fs, io, path::Path, sync::Arc};

use crate::{Authority, Certificate, Place, TlsError};

/// An authority, and the host that apps are told: the names of every server's certificate follow from that.
///
/// ```
/// # let folder = tempfile::tempdir().unwrap();
/// let certifier = broker_hosting::Certifier::open(folder.path(), "redis-broker", "10.0.0.5").unwrap();
/// assert!(certifier.ca().starts_with("-----BEGIN CERTIFICATE-----"));
/// ```
#[derive(Clone, Debug)]
pub struct Certifier {
    authority: Arc<Authority>,
    advertised: Arc<str>,
}

impl Certifier {
    /// With the authority in a servers' folder, made when there is none.
    ///
    /// # Errors
    /// When its file can't be used.
    pub fn open(servers: &Path, broker: &str, advertised: &str) -> Result<Self, TlsError> {
        let authority = Arc::new(Authority::open(servers, broker)?);
        Ok(Self { authority, advertised: advertised.into() })
    }

    /// The same for a program that changes nothing: without an authority in the folder it has one for itself.
    ///
    /// # Errors
    /// When the file is there and can't be used.
    pub fn look(servers: &Path, broker: &str, advertised: &str) -> Result<Self, TlsError> {
        let authority = Arc::new(Authority::look(servers, broker)?);
        Ok(Self { authority, advertised: advertised.into() })
    }

    /// A server's certificate, made or renewed when it is time (SPEC H-9).
    ///
    /// # Errors
    /// When files can't be used, a name can't be in a certificate, or the authority has expired.
    pub fn certify(&self, place: &Place) -> Result<Certificate, TlsError> {
        self.authority.keep(place, &place.names(&self.advertised))
    }

    /// What apps have to trust, in PEM.
    #[must_use]
    pub fn ca(&self) -> &str {
        self.authority.certificate()
    }

    /// What the broker trusts at a server of its own: one that runs since before the authority was made anew shows a
    /// certificate of the last one until it is told.
    ///
    /// # Errors
    /// When a file is there and can't be read.
    pub fn roots(&self, place: &Place) -> io::Result<String> {
        match fs::read_to_string(place.path().join(crate::tls::FILE)) {
            Ok(last) => Ok(format!("{}{last}", self.ca())),
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => Ok(self.ca().to_owned()),
            Err(other) => Err(other),
        }
    }
}
