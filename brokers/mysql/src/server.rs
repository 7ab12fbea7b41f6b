//! The broker's own server: how a `mariadbd` is set up.

use std::{
    collections::HashSet,
    error::Error,
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use async_trait::async_trait;
use broker_core::Secret;
use broker_hosting::{Certificate, Certifier, Container, Image, Limits, Place, Program, find_program};

use crate::{
    Config,
    link::{self, Link},
    tenant::plain,
};

/// Where the image has its programs.
const SERVER: &str = "/usr/sbin/mariadbd";
const INSTALLER: &str = "/usr/bin/mariadb-install-db";

/// The broker's own account on its server.
pub(crate) const ADMIN: &str = "broker";

/// The installed programs.
#[derive(Clone, Debug)]
pub(crate) struct Installed {
    executable: PathBuf,
    installer: PathBuf,
}

impl Installed {
    /// Finds the programs that the configuration names.
    pub(crate) fn find(config: &Config) -> anyhow::Result<Self> {
        let (executable, installer) = (find_program(&config.mariadbd)?, find_program(&config.mariadb_install_db)?);
        Ok(Self { executable, installer })
    }
}

/// A server and its settings.
#[derive(Clone, Debug)]
pub(crate) struct MariaDb {
    pub(crate) installed: Installed,
    pub(crate) admin: Secret,
    /// In MiB.
    pub(crate) buffer_pool: u32,
    pub(crate) max_connections: u32,
    pub(crate) is_contained: bool,
    pub(crate) limits: Limits,
    /// Whether events of its databases run.
    pub(crate) runs_events: bool,
    /// Who certifies it, when it speaks TLS.
    pub(crate) certifier: Option<Certifier>,
    /// Its modes, where they are not the usual ones.
    pub(crate) sql_mode: Option<String>,
}

/// The modes of a server that is told none, in MariaDB.
pub(crate) const USUAL_MODES: &str =
    "STRICT_TRANS_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_AUTO_CREATE_USER,NO_ENGINE_SUBSTITUTION";

/// The modes in a list with commas, in no order.
pub(crate) fn modes(list: &str) -> HashSet<String> {
    list.split(',').filter(|mode| !mode.is_empty()).map(str::to_owned).collect()
}

impl MariaDb {
    /// The broker's link to the server.
    pub(crate) fn link(&self, port: u16) -> Link {
        Link::new(link::at_own(port, ADMIN, &self.admin))
    }

    /// A new data folder, made beside its place and moved there when it is whole.
    async fn install(&self, place: &Place, data: &Path) -> io::Result<()> {
        let unfinished = place.path().join("install");
        match fs::remove_dir_all(&unfinished) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let unfinished = place.folder("install")?;
        let mut args = vec![
            OsString::from("--no-defaults"),
            OsString::from("--auth-root-authentication-method=socket"),
            OsString::from("--skip-test-db"),
            OsString::from("--skip-name-resolve"),
            option("datadir", &unfinished),
            // A server that starts clears the temporary tables of others away from a folder that they share.
            option("tmpdir", &place.folder("tmp")?),
        ];
        if place.runs_as_root() {
            args.push("--user=root".into());
        }
        let installer = if place.is_contained() { Path::new(INSTALLER) } else { &self.installed.installer };
        place.run(installer, &args, Duration::from_secs(120)).await?;
        fs::rename(&unfinished, data)?;
        fs::File::open(place.path())?.sync_all()
    }

    fn settings(
        &self,
        place: &Place,
        data: &Path,
        init: &Path,
        certificate: Option<&Certificate>,
    ) -> io::Result<String> {
        let tls = match certificate {
            Some(certificate) => {
                let file = value(&certificate.file)?;
                format!("ssl-cert={file}\nssl-key={file}\n")
            }
            None => String::new(),
        };
        let addresses: Vec<_> = place.addresses.iter().map(ToString::to_string).collect();
        // The socket is named from the data folder: a whole path is often too long for one.
        Ok(format!(
            "[mariadbd]\n\
             {user}\
             datadir={data}\n\
             tmpdir={tmp}\n\
             socket=mariadbd.sock\n\
             pid-file=mariadbd.pid\n\
             init-file={init}\n\
             secure-file-priv={files}\n\
             bind-address={addresses}\n\
             port={port}\n\
             character-set-server=utf8mb4\n\
             collation-server=utf8mb4_unicode_ci\n\
             skip-name-resolve\n\
             skip-symbolic-links\n\
             enforce-storage-engine=InnoDB\n\
             local-infile=0\n\
             {tls}\
             event-scheduler={events}\n\
             {sql_mode}\
             max-connections={max_connections}\n\
             innodb-buffer-pool-size={buffer_pool}M\n\
             innodb-log-file-size=32M\n\
             innodb-log-buffer-size=4M\n\
             key-buffer-size=64K\n\
             aria-pagecache-buffer-size=8M\n\
             table-open-cache=1000\n\
             performance-schema=OFF\n",
            user = if place.runs_as_root() { "user=root\n" } else { "" },
            data = value(data)?,
            tmp = value(&place.folder("tmp")?)?,
            init = value(init)?,
            files = value(&place.folder("files")?)?,
            addresses = addresses.join(","),
            port = place.port,
            events = if self.runs_events { "ON" } else { "OFF" },
            sql_mode = format_args!("sql-mode=\"{}\"\n", self.sql_mode.as_deref().unwrap_or(USUAL_MODES)),
            max_connections = self.max_connections,
            buffer_pool = self.buffer_pool,
        ))
    }

    /// Run at each start, a statement a line. The broker's account has what it needs and not more;
    /// root gets in by the socket alone, and nobody without a name.
    fn init(&self, place: &Place) -> Result<String, Box<dyn Error + Send + Sync>> {
        // The engine brings the broker's connections into a container from an address of its own.
        let from = if place.is_contained() { "%" } else { "127.0.0.1" };
        let account = format!("'{ADMIN}'@'{from}'");
        // To have a certificate read again.
        let reload = if self.certifier.is_some() { ", RELOAD" } else { "" };
        Ok(format!(
            "DELETE FROM mysql.global_priv WHERE User='';\n\
             FLUSH PRIVILEGES;\n\
             CREATE OR REPLACE USER {account} IDENTIFIED BY '{}';\n\
             GRANT CREATE USER, PROCESS, CONNECTION ADMIN, SHOW DATABASES, SET USER{reload} ON *.* TO {account};\n\
             GRANT SELECT ON `mysql`.* TO {account};\n\
             GRANT ALL PRIVILEGES ON `tb%`.* TO {account} WITH GRANT OPTION;\n",
            plain(&self.admin)?
        ))
    }
}

#[async_trait]
impl Program for MariaDb {
    fn executable(&self) -> &Path {
        &self.installed.executable
    }

    fn container(&self) -> Option<Container> {
        let image = Image::new("mysql-broker/server", include_str!("../image/Dockerfile"));
        self.is_contained.then(|| Container { image, executable: SERVER.to_owned(), health: None })
    }

    fn limits(&self) -> Limits {
        self.limits.clone()
    }

    async fn prepare(&self, place: &Place) -> Result<Vec<OsString>, Box<dyn Error + Send + Sync>> {
        let data = place.path().join("data");
        if !data.exists() {
            self.install(place, &data).await?;
        }
        place.folder("data")?;
        let init = place.write("init.sql", &self.init(place)?)?;
        let certificate = self.certifier.as_ref().map(|certifier| certifier.certify(place)).transpose()?;
        let settings = place.write("my.cnf", &self.settings(place, &data, &init, certificate.as_ref())?)?;
        Ok(vec![option("defaults-file", &settings)])
    }

    async fn ready(&self, place: &Place) -> Result<(), Box<dyn Error + Send + Sync>> {
        self.link(place.port).dialect().await?;
        Ok(())
    }

    /// After a crash it works through its log first.
    fn start_within(&self) -> Duration {
        Duration::from_secs(120)
    }

    fn stop_within(&self) -> Duration {
        Duration::from_secs(30)
    }
}

fn option(name: &str, path: &Path) -> OsString {
    let mut option = OsString::from(format!("--{name}="));
    option.push(path);
    option
}

/// A path as a value in a settings file.
fn value(path: &Path) -> io::Result<String> {
    match path.to_str() {
        Some(text) if !text.contains(['"', '\'', '\\', '#']) && !text.contains(char::is_control) => {
            Ok(format!("\"{text}\""))
        }
        _ => Err(io::Error::other(format!("MariaDB cannot use the path {}: choose another folder", path.display()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_would_end_a_value_are_refused() {
        assert_eq!(value(Path::new("/a b")).unwrap(), "\"/a b\"");
        for bad in ["/a\nport=1", "/a\"b", "/a#b", "/a\\nb"] {
            assert!(value(Path::new(bad)).is_err(), "{bad}");
        }
    }
}
