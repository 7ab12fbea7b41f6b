//! Encrypted connections, as the broker's callers and its operator see them (SPEC T-7).

use std::{fs, io, path::PathBuf, sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use broker_core::testing::eventually;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{
    ClientConfig, RootCertStore, SupportedProtocolVersion,
    crypto::ring::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName},
    version::{TLS12, TLS13},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::running::{PASSWORD, Running, run};

const PATIENCE: Duration = Duration::from_secs(20);

/// Who vouches for certificates.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        Self(CertifiedIssuer::self_signed(Self::params(), KeyPair::generate().unwrap()).unwrap())
    }

    /// One that this one vouches for.
    fn deputy(&self) -> Self {
        Self(CertifiedIssuer::signed_by(Self::params(), KeyPair::generate().unwrap(), &self.0).unwrap())
    }

    fn params() -> CertificateParams {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
    }

    fn issue(&self) -> Issued {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        Issued { certificate: params.signed_by(&key, &self.0).unwrap(), key }
    }
}

/// A certificate with its key.
struct Issued {
    certificate: rcgen::Certificate,
    key: KeyPair,
}

/// The files that a broker is told of.
struct Files {
    folder: TempDir,
    has_client_ca: bool,
}

impl Files {
    fn of(issued: &Issued) -> Self {
        let files = Self { folder: tempfile::tempdir().unwrap(), has_client_ca: false };
        files.hold(issued);
        files
    }

    fn for_clients_of(mut self, authority: &Authority) -> Self {
        self.has_client_ca = true;
        self.write("ca.crt", &authority.0.pem());
        self
    }

    fn hold(&self, issued: &Issued) {
        self.write("tls.crt", &issued.certificate.pem());
        self.write("tls.key", &issued.key.serialize_pem());
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn data(&self) -> PathBuf {
        self.path("data")
    }

    /// Whole or not at all, as operators' tools do it.
    fn write(&self, name: &str, text: &str) {
        fs::write(self.path("new"), text).unwrap();
        fs::rename(self.path("new"), self.path(name)).unwrap();
    }

    fn flags(&self) -> Vec<String> {
        let mut flags = vec![("--tls-cert", "tls.crt"), ("--tls-key", "tls.key")];
        if self.has_client_ca {
            flags.push(("--tls-client-ca", "ca.crt"));
        }
        let text = |(flag, name): (&str, &str)| [flag.to_owned(), self.path(name).to_str().unwrap().to_owned()];
        flags.into_iter().flat_map(text).collect()
    }

    async fn serve(&self) -> Running {
        let flags = self.flags();
        Running::start(&flags.iter().map(String::as_str).collect::<Vec<_>>(), &self.data()).await
    }

    fn run(&self, subcommand: &str) -> crate::running::Ended {
        let flags = self.flags();
        let flags = flags.iter().map(String::as_str);
        run(&[subcommand, "--listen", "127.0.0.1:0"].into_iter().chain(flags).collect::<Vec<_>>(), &self.data())
    }
}

/// A platform that believes one authority, and may have a certificate of its own.
struct Client(TlsConnector);

impl Client {
    fn of(authority: &Authority) -> Self {
        Self::with(authority, None, &[&TLS13, &TLS12])
    }

    fn known_by(authority: &Authority, own: &Issued) -> Self {
        Self::with(authority, Some(own), &[&TLS13, &TLS12])
    }

    fn with(authority: &Authority, own: Option<&Issued>, versions: &[&'static SupportedProtocolVersion]) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(authority.0.der().clone()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()));
        let config = config.with_protocol_versions(versions).unwrap().with_root_certificates(roots);
        let config = match own {
            None => config.with_no_client_auth(),
            Some(own) => {
                let key = PrivateKeyDer::try_from(own.key.serialize_der()).unwrap();
                config.with_client_auth_cert(vec![own.certificate.der().clone()], key).unwrap()
            }
        };
        Self(TlsConnector::from(Arc::new(config)))
    }

    async fn connect(&self, broker: &Running) -> io::Result<Connection> {
        let stream = TcpStream::connect(address(broker)).await?;
        let stream = timeout(PATIENCE, self.0.connect(ServerName::try_from("localhost").unwrap(), stream)).await??;
        Ok(Connection(BufReader::new(stream)))
    }

    /// The status of an answer on a connection of its own.
    async fn asks(&self, broker: &Running) -> io::Result<u16> {
        self.connect(broker).await?.ask(PASSWORD).await
    }

    /// The certificate that the broker shows.
    async fn sees(&self, broker: &Running) -> CertificateDer<'static> {
        self.connect(broker).await.unwrap().certificate()
    }
}

/// A connection that stays open.
struct Connection(BufReader<TlsStream<TcpStream>>);

impl Connection {
    fn certificate(&self) -> CertificateDer<'static> {
        self.0.get_ref().get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
    }

    async fn ask(&mut self, password: &str) -> io::Result<u16> {
        timeout(PATIENCE, async {
            let request = request(password);
            self.0.write_all(request.as_bytes()).await?;
            self.0.flush().await?;
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                if self.0.read_line(&mut head).await? == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
            self.0.read_exact(&mut vec![0; length.parse().unwrap()]).await?;
            Ok(head.split(' ').nth(1).unwrap().parse().unwrap())
        })
        .await?
    }
}

fn request(password: &str) -> String {
    let pair = STANDARD.encode(format!("fake:{password}"));
    format!("GET /resources/plans HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic {pair}\r\n\r\n")
}

fn address(broker: &Running) -> &str {
    broker.url.strip_prefix("https://").expect("an encrypted address")
}

// SPEC T-7
pub(crate) async fn connections_are_encrypted_and_nothing_else() {
    let root = Authority::new();
    let deputy = root.deputy();
    let issued = deputy.issue();
    let files = Files::of(&issued);
    files.write("tls.crt", &(issued.certificate.pem() + &deputy.0.pem()));
    let broker = files.serve().await;

    for version in [&TLS13, &TLS12] {
        let client = Client::with(&root, None, &[version]);
        assert_eq!(client.asks(&broker).await.unwrap(), 200, "{version:?}");
    }
    let mut known = Client::of(&root).connect(&broker).await.unwrap();
    assert_eq!(known.ask("wrong").await.unwrap(), 401);
    assert!(Client::of(&Authority::new()).asks(&broker).await.is_err());

    let told = said_to(&broker, request(PASSWORD).as_bytes()).await;
    assert!(!String::from_utf8_lossy(&told).contains("HTTP"), "{told:?}");
    let (older, known) = (said_to(&broker, &hello([3, 2])).await, said_to(&broker, &hello([3, 3])).await);
    assert!(matches!(older[..], [21, 3, _, 0, 2, 2, 70]), "no alert about the version: {older:?}");
    assert_eq!(known[0], 22, "the same hello, but for its version, is answered: {known:?}");
    broker.stop();
}

/// The hello of a client that knows a version and those before it: 3.2 is TLS 1.1, 3.3 is TLS 1.2.
fn hello(version: [u8; 2]) -> Vec<u8> {
    let (random, no_session, cipher, no_compression) = ([7; 32], 0, [0, 2, 0xc0, 0x2b], [1, 0]);
    let curve = [0, 10, 0, 4, 0, 2, 0, 0x1d];
    let signature = [0, 13, 0, 4, 0, 2, 4, 3];
    let point = [0, 11, 0, 2, 1, 0];
    let head = [22, 3, 1, 0, 69, 1, 0, 0, 65];
    let extensions = [&[0, 22][..], &curve, &signature, &point].concat();
    [&head[..], &version, &random, &[no_session], &cipher, &no_compression, &extensions].concat()
}

/// What the broker answers to bytes, until it closes the connection.
async fn said_to(broker: &Running, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address(broker)).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut told = Vec::new();
    // One that was reset is closed too.
    let _ = timeout(PATIENCE, stream.read_to_end(&mut told)).await.expect("the broker closes the connection");
    told
}

// SPEC T-7
pub(crate) async fn with_authorities_only_clients_they_vouch_for_are_served() {
    let (authority, ours, others) = (Authority::new(), Authority::new(), Authority::new());
    let files = Files::of(&authority.issue()).for_clients_of(&ours);
    let broker = files.serve().await;
    let (vouched, stranger) = (ours.issue(), others.issue());
    let (vouched, stranger) = (Client::known_by(&authority, &vouched), Client::known_by(&authority, &stranger));

    assert_eq!(vouched.asks(&broker).await.unwrap(), 200);
    let mut open = vouched.connect(&broker).await.unwrap();
    assert_eq!(open.ask("wrong").await.unwrap(), 401, "they need their password all the same");
    assert!(Client::of(&authority).asks(&broker).await.is_err(), "a client without a certificate is served");
    assert!(stranger.asks(&broker).await.is_err(), "a client of another authority is served");

    files.write("ca.crt", &others.0.pem());
    broker.signal("HUP");

    eventually("the other authority counts", async || stranger.asks(&broker).await.is_ok()).await;
    assert!(vouched.asks(&broker).await.is_err(), "a client of the authority from before is served");
    assert_eq!(open.ask(PASSWORD).await.unwrap(), 200, "a connection that is there goes on");
    broker.stop();
}

// SPEC T-6, T-7
pub(crate) async fn a_new_certificate_is_served_on_a_hangup_or_by_itself_and_connections_go_on() {
    let authority = Authority::new();
    let (first, second, third) = (authority.issue(), authority.issue(), authority.issue());
    let files = Files::of(&first);
    let (broker, client) = (files.serve().await, Client::of(&authority));
    let mut open = client.connect(&broker).await.unwrap();
    assert_eq!(open.certificate(), *first.certificate.der());

    for (issued, is_told) in [(&second, true), (&third, false)] {
        files.hold(issued);
        if is_told {
            broker.signal("HUP");
        }

        eventually("the new one is served", async || client.sees(&broker).await == *issued.certificate.der()).await;
        assert_eq!(client.asks(&broker).await.unwrap(), 200);
        assert_eq!(open.ask(PASSWORD).await.unwrap(), 200, "a connection that is there goes on");
    }
    let log = broker.output();
    assert_eq!(log.matches("told to read credentials and certificates again").count(), 1, "{log}");
    assert!(log.contains("read the certificate and its key again"), "{log}");
    broker.stop();
}

// SPEC T-6, T-7, S-5
pub(crate) async fn files_that_cannot_be_used_change_nothing_and_are_logged() {
    let (authority, platforms) = (Authority::new(), Authority::new());
    let (first, second) = (authority.issue(), authority.issue());
    let files = Files::of(&first).for_clients_of(&platforms);
    let (broker, client) = (files.serve().await, Client::known_by(&authority, &platforms.issue()));

    for (name, text, why) in [
        ("tls.crt", Some("no certificate"), "there is no certificate in "),
        ("tls.crt", None, "cannot read the certificate in "),
        ("tls.crt", Some("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), "the certificate in "),
        ("tls.key", Some(&second.key.serialize_pem()), "is not that of the first certificate in "),
        ("tls.key", Some("-----BEGIN planted-key"), "the key in "),
        ("tls.key", Some(""), "there is no key in "),
        ("tls.key", None, "cannot read the key in "),
        ("ca.crt", Some(""), "there is no certificate in "),
        ("ca.crt", None, "cannot read the certificate in "),
    ] {
        let kept = fs::read_to_string(files.path(name)).unwrap();
        let logged = broker.output().len();
        match text {
            Some(text) => files.write(name, text),
            None => fs::remove_file(files.path(name)).unwrap(),
        }
        broker.signal("HUP");

        eventually(why, async || {
            let log = broker.output();
            let mut new = log[logged..].lines();
            new.any(|line| line.contains("stay as they are") && line.contains(why) && line.contains(name))
        })
        .await;
        assert_eq!(client.sees(&broker).await, *first.certificate.der(), "{name}: {why}");
        assert_eq!(client.asks(&broker).await.unwrap(), 200, "{name}: {why}");
        files.write(name, &kept);
    }

    files.hold(&second);
    broker.signal("HUP");

    eventually("what is mended is served", async || client.sees(&broker).await == *second.certificate.der()).await;
    assert!(!broker.output().contains("planted-key"), "{}", broker.output());
    broker.stop();
}

// SPEC T-7, X-3, X-4
pub(crate) async fn a_key_that_does_not_fit_keeps_serve_from_starting() {
    let authority = Authority::new();
    let files = Files::of(&authority.issue());
    files.write("tls.key", &authority.issue().key.serialize_pem());
    let (certificate, key) = (files.path("tls.crt"), files.path("tls.key"));

    let said = files.run("serve").fails(1);

    let sentence = format!(
        "the key in {} is not that of the first certificate in {}, name the two that were made together\n",
        key.display(),
        certificate.display()
    );
    assert_eq!(said, format!("error: {sentence}"));
    let checked = files.run("check");
    assert!(
        checked.out.lines().any(|line| line.starts_with("error ") && line.ends_with(sentence.trim_end())),
        "{}",
        checked.out
    );
    checked.fails(1);
    assert!(!files.data().exists());

    for (settings, wanted) in [
        ("tls-cert = \"tls.crt\"", "tls-cert and tls-key go together"),
        ("tls-client-ca = \"ca.crt\"", "tls-client-ca needs tls-cert and tls-key"),
    ] {
        files.write("broker.toml", settings);
        let said = run(&["serve", "--config", "broker.toml"], &files.data()).fails(1);
        assert!(said.contains(wanted), "{said}");
    }
}
