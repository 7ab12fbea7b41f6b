//! The broker's own server: how a `mariadbd` is set up.

use std::{
    error::Error,
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use async_trait::async_trait;
use broker_core::Secret;
use broker_hosting::{Place, Program, find_program};

use crate::{
    Config,
    link::{self, Link},
    tenant::plain,
};

/// The broker's own account on its server.
pub(crate) const ADMIN: &str = "broker";

/// The installed programs.
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

    /// A server with the configuration's settings.
    pub(crate) fn with(self, config: &Config, admin: Secret) -> MariaDb {
        MariaDb { installed: self, admin, buffer_pool: config.buffer_pool, max_connections: config.max_connections }
    }
}

/// A server and its settings.
pub(crate) struct MariaDb {
    installed: Installed,
    admin: Secret,
    buffer_pool: u32,
    max_connections: u32,
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
        ];
        if place.runs_as_root() {
            args.push("--user=root".into());
        }
        place.run(&self.installed.installer, &args, Duration::from_secs(120)).await?;
        fs::rename(&unfinished, data)?;
        fs::File::open(place.path())?.sync_all()
    }

    fn settings(&self, place: &Place, data: &Path, init: &Path) -> io::Result<String> {
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
             event-scheduler=OFF\n\
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
            max_connections = self.max_connections,
            buffer_pool = self.buffer_pool,
        ))
    }

    /// Run at each start, a statement a line. The broker's account has what it needs and not more;
    /// root gets in by the socket alone, and nobody without a name.
    fn init(&self) -> Result<String, Box<dyn Error + Send + Sync>> {
        let account = format!("'{ADMIN}'@'127.0.0.1'");
        Ok(format!(
            "DELETE FROM mysql.global_priv WHERE User='';\n\
             FLUSH PRIVILEGES;\n\
             CREATE OR REPLACE USER {account} IDENTIFIED BY '{}';\n\
             GRANT CREATE USER, PROCESS, CONNECTION ADMIN, SHOW DATABASES ON *.* TO {account};\n\
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

    async fn prepare(&self, place: &Place) -> Result<Vec<OsString>, Box<dyn Error + Send + Sync>> {
        let data = place.path().join("data");
        if !data.exists() {
            self.install(place, &data).await?;
        }
        place.folder("data")?;
        let init = place.write("init.sql", &self.init()?)?;
        let settings = place.write("my.cnf", &self.settings(place, &data, &init)?)?;
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
