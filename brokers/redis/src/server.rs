//! The broker's own servers: how a `redis-server` is set up.

use std::{
    error::Error,
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::Context as _;
use async_trait::async_trait;
use broker_core::Secret;
use broker_hosting::{Certificate, Certifier, Container, Limits, Place, Program, TlsError, find_program};
use tokio::{process::Command, task::spawn_blocking, time::timeout};

use crate::{
    account::{ADMIN, Dialect},
    link::{Link, version_of},
    roster::{ACCOUNTS, Roster, Rules},
    settings::{Backend, Persistence, Settings},
    tls::Tls,
};

/// The installed `redis-server`.
#[derive(Clone, Debug)]
pub(crate) struct Installed {
    executable: PathBuf,
    version: (u16, u16),
}

impl Installed {
    /// Finds the program and asks for its version.
    pub(crate) async fn find(name: &str) -> anyhow::Result<Self> {
        let executable = find_program(name)?;
        let asked = Command::new(&executable).arg("--version").stdin(Stdio::null()).kill_on_drop(true).output();
        let answer = timeout(Duration::from_secs(5), asked).await.context("it does not tell its version")??;
        let text = String::from_utf8_lossy(&answer.stdout).into_owned();
        let version = text.split_whitespace().find_map(|word| version_of(word.strip_prefix("v=")?));
        let version = version.with_context(|| format!("{} is no redis-server", executable.display()))?;
        anyhow::ensure!(
            version >= (7, 0),
            "{} is version {}.{}, and 7.0 is the oldest that keeps tenants apart: install a newer one",
            executable.display(),
            version.0,
            version.1
        );
        Ok(Self { executable, version })
    }
}

const SETTINGS: &str = "redis.conf";

/// One server, with its settings.
#[derive(Clone, Debug)]
pub(crate) struct RedisServer {
    installed: Installed,
    admin: Secret,
    certifier: Certifier,
    pub(crate) settings: Settings,
    /// Who is let in.
    pub(crate) roster: Roster,
    /// Tenants of one server get a single logical database, one tenant the customary 16.
    databases: u8,
}

/// The version in the image of this broker.
const CONTAINED: (u16, u16) = (7, 0);

impl RedisServer {
    /// A server of these settings.
    ///
    /// # Errors
    /// When it would be a process, and the program is not there.
    pub(crate) fn new(
        installed: Option<&Installed>,
        admin: Secret,
        certifier: Certifier,
        settings: Settings,
        databases: u8,
    ) -> anyhow::Result<Self> {
        let installed = match settings.backend {
            Backend::Container => Installed { executable: "/usr/bin/redis-server".into(), version: CONTAINED },
            Backend::Process => installed.context("no redis-server is installed on this machine")?.clone(),
        };
        Ok(Self { installed, admin, certifier, settings, roster: Roster::default(), databases })
    }

    /// The same, for who is let in by a server that was set up otherwise before.
    pub(crate) fn in_place_of(self, before: &Self) -> Self {
        Self { roster: before.roster.clone(), ..self }
    }

    /// Why a server like this does not go on with the data of one that was set up otherwise (SPEC K-23).
    pub(crate) fn refusal_of_data(&self, before: &Self) -> Option<String> {
        let (ours, theirs) = (self.installed.version, before.installed.version);
        (ours < theirs).then(|| {
            format!(
                "servers of that plan are version {}.{} and do not read the data of the instance's, which is {}.{}: \
                 choose another plan",
                ours.0, ours.1, theirs.0, theirs.1
            )
        })
    }

    pub(crate) fn dialect(&self) -> Dialect {
        Dialect { version: self.installed.version, many_databases: self.databases > 1 }
    }

    pub(crate) fn rules(&self) -> Rules {
        Rules { admin: self.admin.clone(), dialect: self.dialect() }
    }

    /// The broker's link to the server.
    pub(crate) fn link(&self, place: &Place) -> anyhow::Result<Link> {
        Link::to_own(place.port, ADMIN, &self.admin, &self.certifier.roots(place)?)
    }

    /// The server's certificate, made or renewed when it is time; none when it speaks no TLS.
    pub(crate) fn certificate(&self, place: &Place) -> Result<Option<Certificate>, TlsError> {
        match self.settings.tls {
            Tls::Off => Ok(None),
            Tls::Required => self.certifier.certify(place).map(Some),
        }
    }

    /// Has a server that runs in a container find accounts and settings as they are now when the engine starts it again,
    /// which asks nobody. A process is started by the broker alone, which prepares it.
    pub(crate) async fn keep_prepared(&self, place: &Place) -> io::Result<()> {
        if !place.is_contained() {
            return Ok(());
        }
        self.roster.keep_handed_over(place, &self.rules()).await?;
        let (server, place) = (self.clone(), place.clone());
        spawn_blocking(move || {
            let accounts = place.path().join(ACCOUNTS);
            server.write(&place, &place.folder("data")?, &accounts).map(drop).map_err(io::Error::other)
        })
        .await?
    }

    /// Writes the settings file, if it is to be another one.
    fn write(&self, place: &Place, data: &Path, accounts: &Path) -> Result<PathBuf, Box<dyn Error + Send + Sync>> {
        let settings = self.settings(place, data, accounts, self.certificate(place)?.as_ref())?;
        let path = place.path().join(SETTINGS);
        if fs::read_to_string(&path).is_ok_and(|there| there == settings) {
            return Ok(path);
        }
        Ok(place.write(SETTINGS, &settings)?)
    }

    fn settings(
        &self,
        place: &Place,
        data: &Path,
        accounts: &Path,
        certificate: Option<&Certificate>,
    ) -> io::Result<String> {
        let mut live: String = self.settings.live().iter().map(|(name, value)| format!("{name} {value}\n")).collect();
        if let Some(connections) = self.settings.connections {
            live.push_str(&format!("maxclients {connections}\n"));
        }
        for (name, port) in self.settings.tls.ports(place.port) {
            live.push_str(&format!("{name} {port}\n"));
        }
        if let Some(certificate) = certificate {
            let file = quoted(&certificate.file)?;
            live.push_str(&format!("tls-cert-file {file}\ntls-key-file {file}\ntls-auth-clients no\n"));
        }
        let addresses: Vec<_> = place.addresses.iter().map(ToString::to_string).collect();
        Ok(format!(
            "bind {addresses}\n\
             protected-mode no\n\
             daemonize no\n\
             set-proc-title no\n\
             dir {data}\n\
             aclfile {accounts}\n\
             databases {databases}\n\
             {live}\
             maxmemory-clients 20%\n\
             client-output-buffer-limit normal 1gb 32mb 60\n\
             save \"\"\n\
             lua-time-limit 5000\n\
             tcp-keepalive 60\n\
             hz 5\n\
             enable-debug-command no\n\
             enable-module-command no\n\
             enable-protected-configs no\n",
            addresses = addresses.join(" "),
            data = quoted(data)?,
            accounts = quoted(accounts)?,
            databases = self.databases,
            live = live,
        ))
    }
}

#[async_trait]
impl Program for RedisServer {
    fn executable(&self) -> &Path {
        &self.installed.executable
    }

    fn container(&self) -> Option<Container> {
        self.settings.container()
    }

    fn limits(&self) -> Limits {
        self.settings.limits.clone()
    }

    async fn prepare(&self, place: &Place) -> Result<Vec<OsString>, Box<dyn Error + Send + Sync>> {
        let data = place.folder("data")?;
        if self.settings.persistence == Persistence::None {
            // What an earlier choice left there would come back with a later one.
            forget(&data.join("appendonlydir"))?;
        }
        let (server, place) = (self.clone(), place.clone());
        let written = spawn_blocking(move || {
            // The server itself is never asked to write its accounts down: that stops one with many of them for seconds.
            let accounts = server.roster.hand_over(&place, &server.rules())?;
            server.write(&place, &data, &accounts)
        });
        Ok(vec![written.await??.into()])
    }

    async fn ready(&self, place: &Place) -> Result<(), Box<dyn Error + Send + Sync>> {
        Ok(self.link(place)?.ping().await?)
    }
}

fn forget(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// A path as a word of a settings file.
fn quoted(path: &Path) -> io::Result<String> {
    match path.to_str() {
        Some(text) if !text.contains(char::is_control) => {
            Ok(format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")))
        }
        _ => Err(io::Error::other(format!("Redis cannot use the path {}: choose another folder", path.display()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(version: (u16, u16), backend: Backend) -> RedisServer {
        let installed = Installed { executable: "/usr/bin/redis-server".into(), version };
        let folder = tempfile::tempdir().unwrap();
        let certifier = Certifier::look(folder.path(), "redis-broker", "127.0.0.1").unwrap();
        let settings = Settings { backend, ..Settings::new(crate::Size(1 << 20)) };
        RedisServer::new(Some(&installed), Secret::from("s3cret"), certifier, settings, 16).unwrap()
    }

    #[test] // SPEC K-23
    fn an_older_server_does_not_take_a_newer_ones_data() {
        let contained = server((8, 0), Backend::Container);

        let refusal = contained.refusal_of_data(&server((8, 0), Backend::Process)).unwrap();

        assert!(refusal.starts_with("servers of that plan are version 7.0 and do not read the data"), "{refusal}");
        assert_eq!(server((8, 0), Backend::Process).refusal_of_data(&contained), None);
        assert_eq!(contained.refusal_of_data(&server((7, 0), Backend::Process)), None);
    }

    #[test]
    fn paths_are_one_word_whatever_is_in_them() {
        assert_eq!(quoted(Path::new("/a b/\"c\"")).unwrap(), r#""/a b/\"c\"""#);
        assert!(quoted(Path::new("/a\nport 1")).is_err());
    }
}
