//! How a server is reached: by TLS or not, and whom the broker trusts there.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::Context as _;
use broker_core::Secret;
use broker_hosting::{Given, Trusted};
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _,
    ProtocolVersion, PushInfo, RedisError, RedisResult, TlsCertificates,
    aio::{ConnectionManager, ConnectionManagerConfig, MultiplexedConnection, SendError},
};
use secrecy::ExposeSecret as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::tls::Encryption;

/// How long the server may take for one command. `SCAN` and `ACL` commands stay far below it.
const COMMAND_WITHIN: Duration = Duration::from_secs(5);
/// How long values may take, which are as large as apps make them.
const VALUES_WITHIN: Duration = Duration::from_secs(60);
const CONNECT_WITHIN: Duration = Duration::from_secs(2);

/// The ways to a server: one, or to a server of the broker's own both, with and without TLS.
#[derive(Clone)]
pub(super) struct Ways {
    plain: Way,
    by_tls: Option<ByTls>,
}

/// A way to a server, with one connection for all callers.
#[derive(Clone)]
struct Way {
    info: ConnectionInfo,
    connection: ConnectionManager,
}

/// A server of the broker's own is reached by TLS or not as its plan says, and otherwise for as long as a change of
/// that takes, however often that is interrupted: so it is asked which.
#[derive(Clone)]
struct ByTls {
    way: Way,
    port: u16,
    /// Whether that is the way now, as far as is known.
    is_way: Arc<Mutex<Option<bool>>>,
}

/// How a given server is reached.
pub(crate) struct Reach {
    pub(crate) info: ConnectionInfo,
    pub(crate) host: String,
    pub(crate) port: u16,
    /// Whom the broker trusts there, when it is reached by TLS.
    pub(crate) trusted: Option<Trusted>,
    /// What its tenants are told of that.
    pub(crate) encryption: Option<Encryption>,
}

/// A given server, and the administrator's credentials there. Says what is wrong with the URL without repeating it: it
/// holds a password.
pub(crate) fn at_given(given: &Given) -> anyhow::Result<Reach> {
    const WANTED: &str = "the shared server's URL is not like redis://USER:PASSWORD@HOST:PORT, or rediss:// for TLS";
    let url = given.url.expose_secret();
    let by_tls = url.starts_with("rediss://");
    anyhow::ensure!(by_tls || url.starts_with("redis://"), WANTED);
    let info = url.into_connection_info().map_err(|_| anyhow::anyhow!(WANTED))?;
    let first_database = info.redis_settings().clone().set_db(0);
    let info = info.set_redis_settings(first_database);
    let (host, port) = match info.addr() {
        ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => (host.clone(), *port),
        _ => anyhow::bail!(WANTED),
    };
    if !by_tls {
        anyhow::ensure!(
            !given.trust.is_some(),
            "whom to trust at the shared server is for TLS: write its URL as rediss://USER:PASSWORD@HOST:PORT"
        );
        return Ok(Reach { info, host, port, trusted: None, encryption: None });
    }
    let trusted = given.trust.read().map_err(anyhow::Error::msg)?;
    let encryption = Some(Encryption { ca: trusted.ca.clone() });
    let trusted = trusted.with_authorities().map_err(anyhow::Error::msg)?;
    let info = with_tls(info, (&host, port), &trusted).context("the files of the shared server's `trust`")?;
    Ok(Reach { info, host, port, trusted: Some(trusted), encryption })
}

/// The same address by TLS. The authorities are always said: else the client would read the system's, with whatever is
/// wrong there, for each connection.
fn with_tls(info: ConnectionInfo, (host, port): (&str, u16), trusted: &Trusted) -> RedisResult<ConnectionInfo> {
    // Set here: the URL could ask for no verification, in its fragment.
    let addr = ConnectionAddr::TcpTls { host: host.to_owned(), port, insecure: trusted.accepts_any, tls_params: None };
    let client_tls = trusted.identity.as_ref().map(|(certificate, key)| ClientTlsConfig {
        client_cert: certificate.clone().into_bytes(),
        client_key: key.expose_secret().as_bytes().to_vec(),
    });
    let root_cert = trusted.ca.clone().map(String::into_bytes);
    let client = Client::build_with_tls(info.set_addr(addr), TlsCertificates { client_tls, root_cert })?;
    Ok(client.get_connection_info().clone())
}

/// Whether what listens there speaks TLS, which answers nothing to a command in clear; none when nothing listens.
async fn speaks_tls(port: u16) -> Option<bool> {
    let asked = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
        let mut first = [0];
        let answered = match stream.write_all(b"PING\r\n").await {
            Ok(()) => stream.read(&mut first).await.is_ok_and(|read| read == 1),
            Err(_) => false,
        };
        Some(!answered || !matches!(first[0], b'+' | b'-'))
    };
    timeout(CONNECT_WITHIN, asked).await.ok().flatten()
}

impl Ways {
    /// The way that an address says, taken when it is first used.
    pub(super) fn to(info: ConnectionInfo) -> RedisResult<Self> {
        Ok(Self { plain: Way::new(info, COMMAND_WITHIN)?, by_tls: None })
    }

    /// Both ways to a server of the broker's own, whose certificate is signed by one of these authorities.
    pub(super) fn to_own(port: u16, user: &str, password: &Secret, roots: &str) -> RedisResult<Self> {
        const HOST: &str = "127.0.0.1";
        let info = ConnectionAddr::Tcp(HOST.to_owned(), port).into_connection_info()?;
        let login = info.redis_settings().clone().set_username(user).set_password(password.expose());
        let info = info.set_redis_settings(login);
        let trusted = Trusted { ca: Some(roots.to_owned()), ..Trusted::default() };
        let way = Way::new(with_tls(info.clone(), (HOST, port), &trusted)?, COMMAND_WITHIN)?;
        let by_tls = Some(ByTls { way, port, is_way: Arc::default() });
        Ok(Self { plain: Way::new(info, COMMAND_WITHIN)?, by_tls })
    }

    /// The same ways to one of the server's databases, for values.
    pub(super) fn apart(&self, database: u16) -> RedisResult<Self> {
        let by_tls = self.by_tls.as_ref().map(|by_tls| by_tls.apart(database)).transpose()?;
        Ok(Self { plain: self.plain.apart(database)?, by_tls })
    }

    /// The connection by the way that it is now.
    pub(super) async fn connection(&self) -> ConnectionManager {
        self.way().await.connection.clone()
    }

    /// A connection of its own by the way that it is now, on which the server may say something by itself.
    pub(super) async fn listening(
        &self,
        hear: impl Fn(PushInfo) + Send + Sync + 'static,
    ) -> RedisResult<MultiplexedConnection> {
        let info = self.way().await.info.clone();
        let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_WITHIN))
            .set_response_timeout(Some(COMMAND_WITHIN))
            .set_push_sender(move |push| {
                hear(push);
                Ok::<_, SendError>(())
            });
        Client::open(info.set_redis_settings(settings))?.get_multiplexed_async_connection_with_config(&config).await
    }

    async fn way(&self) -> &Way {
        let Some(by_tls) = &self.by_tls else { return &self.plain };
        let is_way = match by_tls.known() {
            Some(known) => Some(known),
            None => by_tls.look().await,
        };
        if is_way == Some(true) { &by_tls.way } else { &self.plain }
    }

    /// Looks which way it is now.
    pub(super) async fn look(&self) {
        if let Some(by_tls) = &self.by_tls {
            by_tls.look().await;
        }
    }

    /// Whether another try makes sense: a connection that broke is only noticed when it is used, and the server may
    /// be reached the other way by now.
    pub(super) async fn may_repeat(&self, error: &RedisError) -> bool {
        if let (Some(by_tls), None) = (&self.by_tls, error.code()) {
            let before = by_tls.known();
            let now = by_tls.look().await;
            if now.is_some() && now != before {
                return true;
            }
        }
        error.is_connection_dropped()
    }
}

impl Way {
    /// A way that is taken when it is first used.
    fn new(info: ConnectionInfo, within: Duration) -> RedisResult<Self> {
        let config = ConnectionManagerConfig::new()
            .set_number_of_retries(1)
            .set_min_delay(Duration::from_millis(10))
            .set_max_delay(Duration::from_millis(100))
            .set_connection_timeout(Some(CONNECT_WITHIN))
            .set_response_timeout(Some(within));
        let connection = ConnectionManager::new_lazy_with_config(Client::open(info.clone())?, config)?;
        Ok(Self { info, connection })
    }

    /// The same to one of the server's databases, for values.
    fn apart(&self, database: u16) -> RedisResult<Self> {
        let login = self.info.redis_settings().clone().set_db(database.into());
        Self::new(self.info.clone().set_redis_settings(login), VALUES_WITHIN)
    }
}

impl ByTls {
    fn apart(&self, database: u16) -> RedisResult<Self> {
        Ok(Self { way: self.way.apart(database)?, port: self.port, is_way: self.is_way.clone() })
    }

    fn known(&self) -> Option<bool> {
        *self.is_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks which way it is.
    async fn look(&self) -> Option<bool> {
        let seen = speaks_tls(self.port).await;
        *self.is_way.lock().unwrap_or_else(PoisonError::into_inner) = seen;
        seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_url_is_refused_without_its_password() {
        for bad in ["", "localhost:6379", "http://a:s3cret@b/", "redis://", "rediss://", "redis://a:s3cret@b:port"] {
            let refusal = at_given(&bad.into()).err().unwrap().to_string();
            assert!(refusal.starts_with("the shared server's URL"), "{bad}: {refusal}");
            assert!(!refusal.contains("s3cret"), "{refusal}");
        }
    }

    #[test] // SPEC K-16
    fn verification_is_turned_off_by_its_own_setting_alone() {
        let is_off = |given: &Given| match at_given(given).unwrap().info.addr() {
            ConnectionAddr::TcpTls { insecure, .. } => *insecure,
            _ => panic!("not by TLS"),
        };
        let mut given: Given = "rediss://a:b@c/#insecure".into();
        assert!(!is_off(&given));
        given.trust.insecure_accept_any_certificate = true;
        assert!(is_off(&given));
        given.url = "redis://a:b@c".to_owned().into();
        assert!(at_given(&given).err().unwrap().to_string().contains("write its URL as rediss://"));
    }
}
