//! Dumps of a database and their way back, through the servers' own programs.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::Context as _;
use broker_backup::output_of;
use broker_core::{BrokerError, Result};
use broker_hosting::{Trusted, find_program};
use secrecy::ExposeSecret as _;
use tempfile::TempDir;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    process::{Child, Command},
};

use crate::{Config, definers::Definers, link::Reach, tenant::Database};

/// The programs that copy.
#[derive(Clone, Debug)]
pub(crate) struct Copier {
    dump: PathBuf,
    load: PathBuf,
}

impl Copier {
    pub(crate) fn find(config: &Config) -> anyhow::Result<Self> {
        let (dump, load) = (find_program(&config.mariadb_dump)?, find_program(&config.mariadb)?);
        Ok(Self { dump, load })
    }

    /// Copies what a database holds into an empty one of the same name, without its events: those run from when they are
    /// there.
    pub(crate) async fn copy(&self, database: &Database, from: &Reach, to: &Reach) -> Result<()> {
        let copied = self.pipe(database, from, to, &["--routines", "--triggers"]).await;
        copied.map_err(|cause| failure("the database could not be copied", &cause))
    }

    /// Copies its events.
    pub(crate) async fn copy_events(&self, database: &Database, from: &Reach, to: &Reach) -> Result<()> {
        let events = ["--events", "--skip-triggers", "--no-create-info", "--no-data", "--no-create-db"];
        let copied = self.pipe(database, from, to, &events).await;
        copied.map_err(|cause| failure("the events of the database could not be copied", &cause))
    }

    async fn pipe(&self, database: &Database, from: &Reach, to: &Reach, what: &[&str]) -> anyhow::Result<()> {
        let (source, target) = (login(from)?, login(to)?);
        let mut dump = self
            .dumping(database, &source, what)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("{} cannot be started", self.dump.display()))?;
        let data: Stdio = dump.stdout.take().context("the dump has no output")?.try_into()?;
        let mut load = self.loading(database, &target, data)?;
        let (dumped, loaded) = tokio::join!(ended(&mut dump), ended(&mut load));
        // A load that failed ends the dump: it is the cause.
        loaded.context("loading failed")?;
        dumped.context("dumping failed")
    }

    /// All that a database holds but for some views, as a stream that fails when the dump does. The file is needed until
    /// its end.
    pub(crate) fn dump(
        &self,
        database: &Database,
        from: &Reach,
        without: &[String],
    ) -> anyhow::Result<(impl AsyncRead + use<>, Login)> {
        let source = login(from)?;
        let mut dumping = self.dumping(database, &source, &["--routines", "--events", "--triggers"]);
        dumping.args(without.iter().map(|view| format!("--ignore-table={}.{view}", database.as_str())));
        Ok((output_of(dumping)?, source))
    }

    /// Loads a dump into an empty database.
    pub(crate) async fn load(
        &self,
        database: &Database,
        to: &Reach,
        definers: &Definers,
        dump: impl AsyncRead + Unpin,
    ) -> Result<()> {
        let load = async {
            let target = login(to)?;
            let mut load = self.loading(database, &target, Stdio::piped())?;
            let mut input = load.stdin.take().context("the program has no input")?;
            let feed = async {
                let fed = definers.copy(dump, &mut input).await;
                drop(input);
                fed
            };
            let (fed, loaded) = tokio::join!(feed, ended(&mut load));
            loaded?;
            fed.map_err(anyhow::Error::from)
        };
        load.await.map_err(|cause| failure("the dump could not be loaded", &cause))
    }

    fn dumping(&self, database: &Database, login: &Login, what: &[&str]) -> Command {
        let mut dump = command(&self.dump, login);
        dump.args(["--single-transaction", "--skip-lock-tables", "--quick"])
            .args(what)
            .args(["--hex-blob", "--no-tablespaces", "--skip-comments", "--max-allowed-packet=1G"])
            .args(["--default-character-set=utf8mb4", database.as_str()]);
        dump
    }

    /// The dump holds what tenants wrote: in the sandbox no command of the client's own is run from it.
    fn loading(&self, database: &Database, login: &Login, data: Stdio) -> anyhow::Result<Child> {
        command(&self.load, login)
            .args(["--loose-sandbox", "--max-allowed-packet=1G", "--default-character-set=utf8mb4", database.as_str()])
            .stdin(data)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("{} cannot be started", self.load.display()))
    }
}

/// What the tenant can change is said to the tenant.
fn failure(what: &str, cause: &anyhow::Error) -> BrokerError {
    let text = format!("{what}: {cause:#}");
    let unknown = text.split_once("Unknown collation: '").and_then(|(_, rest)| rest.split_once('\''));
    match unknown {
        Some((collation, _)) if collation.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_') => {
            BrokerError::Conflict(format!(
                "{what}: it uses the collation {collation}, which the other server does not know; convert its tables to \
                 utf8mb4_unicode_ci, and make its views and routines again after SET NAMES utf8mb4 COLLATE \
                 utf8mb4_unicode_ci"
            ))
        }
        _ => BrokerError::failed(text),
    }
}

/// A program that is told where to log in by a file: its arguments are for everybody to see.
fn command(program: &PathBuf, login: &Login) -> Command {
    let mut defaults = std::ffi::OsString::from("--defaults-file=");
    defaults.push(login.0.path().join(LOGIN));
    let mut command = Command::new(program);
    command.env_clear().env("LANG", "C.UTF-8").arg(defaults).kill_on_drop(true);
    command
}

/// Files of mode 0600 in a folder that goes with its value.
pub(crate) struct Login(TempDir);

const LOGIN: &str = "login.cnf";

fn login(reach: &Reach) -> anyhow::Result<Login> {
    let folder = tempfile::Builder::new().permissions(private(0o700)).tempdir()?;
    let opts = &reach.opts;
    let mut text = format!(
        "[client]\nprotocol=tcp\nhost={}\nport={}\nuser={}\npassword={}\n",
        quoted(opts.ip_or_hostname()),
        opts.tcp_port(),
        quoted(opts.user().unwrap_or_default()),
        quoted(opts.pass().unwrap_or_default()),
    );
    if let Some(trusted) = &reach.trusted {
        text.push_str(&by_tls(folder.path(), trusted)?);
    }
    write(folder.path(), LOGIN, &text)?;
    Ok(Login(folder))
}

/// The options for TLS, and the files that they name.
fn by_tls(folder: &Path, trusted: &Trusted) -> anyhow::Result<String> {
    let mut options = String::from("ssl\n");
    let mut name = |option: &str, file: &str, text: &str| -> anyhow::Result<()> {
        let path = write(folder, file, text)?;
        options.push_str(&format!("{option}={}\n", quoted(&path.to_string_lossy())));
        Ok(())
    };
    if let Some(ca) = &trusted.ca {
        name("ssl-ca", "ca.pem", ca)?;
    }
    if let Some((certificate, key)) = &trusted.identity {
        name("ssl-cert", "certificate.pem", certificate)?;
        name("ssl-key", "key.pem", key.expose_secret())?;
    }
    options.push_str(if trusted.accepts_any { "skip-ssl-verify-server-cert\n" } else { "ssl-verify-server-cert\n" });
    Ok(options)
}

fn write(folder: &Path, name: &str, text: &str) -> anyhow::Result<PathBuf> {
    use std::{io::Write as _, os::unix::fs::OpenOptionsExt as _};
    let path = folder.join(name);
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
    file.write_all(text.as_bytes())?;
    Ok(path)
}

fn private(mode: u32) -> std::fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(mode)
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Waits for a program's end; one that fails says why.
async fn ended(child: &mut Child) -> anyhow::Result<()> {
    let said = match child.stderr.take() {
        Some(output) => first_words(output).await,
        None => String::new(),
    };
    let status = child.wait().await?;
    anyhow::ensure!(status.success(), "{status}: {said}");
    Ok(())
}

/// The beginning of what a program says; the rest is read and dropped, so that it never waits for a reader.
async fn first_words(mut output: impl AsyncRead + Unpin) -> String {
    let mut words = Vec::new();
    let read = (&mut output).take(500).read_to_end(&mut words).await;
    if read.is_ok() {
        let rest = tokio::io::copy(&mut output, &mut tokio::io::sink()).await;
        if let Err(cause) = rest {
            tracing::debug!("the rest of a program's output was not read: {cause}");
        }
    }
    String::from_utf8_lossy(&words).trim().replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test] // SPEC M-9
    fn a_collation_that_the_other_server_does_not_know_is_named() {
        let cause =
            anyhow::anyhow!("exit status: 1: ERROR 1273 (HY000) at line 60: Unknown collation: 'utf8mb4_0900_ai_ci'")
                .context("loading failed");

        let refusal = failure("the database could not be copied", &cause).to_string();

        assert!(refusal.contains("it uses the collation utf8mb4_0900_ai_ci, which the other server"), "{refusal}");
        let other = failure("the database could not be copied", &anyhow::anyhow!("Unknown collation: '`x"));
        assert!(!other.to_string().contains("collation"), "{other}");
    }
}
