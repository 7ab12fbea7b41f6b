//! Dumps of a database and their way back, through the servers' own programs.

use std::{io::Write as _, path::PathBuf, process::Stdio, time::Duration};

use anyhow::Context as _;
use broker_backup::output_of;
use broker_core::{BrokerError, Result};
use broker_hosting::find_program;
use mysql_async::Opts;
use tempfile::NamedTempFile;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    process::{Child, Command},
    time::timeout,
};

use crate::{Config, tenant::Database};

/// How long a copy may take: less than the framework gives to a whole update.
const WITHIN: Duration = Duration::from_secs(240);

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

    /// Copies all that a database holds into an empty one of the same name.
    pub(crate) async fn copy(&self, database: &Database, from: &Opts, to: &Opts) -> Result<()> {
        let outcome = timeout(WITHIN, self.pipe(database, from, to)).await;
        let outcome = outcome.unwrap_or_else(|_| Err(anyhow::anyhow!("it took longer than {}s", WITHIN.as_secs())));
        outcome.map_err(|cause| BrokerError::failed(format!("the database could not be copied: {cause:#}")))
    }

    async fn pipe(&self, database: &Database, from: &Opts, to: &Opts) -> anyhow::Result<()> {
        let (source, target) = (login(from)?, login(to)?);
        let mut dump = self
            .dumping(database, &source)
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

    /// All that a database holds, as a stream that fails when the dump does. The file is needed until its end.
    pub(crate) fn dump(
        &self,
        database: &Database,
        from: &Opts,
    ) -> anyhow::Result<(impl AsyncRead + use<>, NamedTempFile)> {
        let source = login(from)?;
        Ok((output_of(self.dumping(database, &source))?, source))
    }

    /// Loads a dump into an empty database.
    pub(crate) async fn load(&self, database: &Database, to: &Opts, mut dump: impl AsyncRead + Unpin) -> Result<()> {
        let load = async {
            let target = login(to)?;
            let mut load = self.loading(database, &target, Stdio::piped())?;
            let mut input = load.stdin.take().context("the program has no input")?;
            let feed = async {
                let fed = tokio::io::copy(&mut dump, &mut input).await;
                drop(input);
                fed
            };
            let (fed, loaded) = tokio::join!(feed, ended(&mut load));
            loaded?;
            fed.map(drop).map_err(anyhow::Error::from)
        };
        let outcome = timeout(WITHIN, load).await;
        let outcome = outcome.unwrap_or_else(|_| Err(anyhow::anyhow!("it took longer than {}s", WITHIN.as_secs())));
        outcome.map_err(|cause| BrokerError::failed(format!("the dump could not be loaded: {cause:#}")))
    }

    fn dumping(&self, database: &Database, login: &NamedTempFile) -> Command {
        let mut dump = command(&self.dump, login);
        dump.args(["--single-transaction", "--skip-lock-tables", "--quick", "--routines", "--events", "--triggers"])
            .args(["--hex-blob", "--no-tablespaces", "--skip-comments", "--max-allowed-packet=1G"])
            .args(["--default-character-set=utf8mb4", database.as_str()]);
        dump
    }

    /// The dump holds what tenants wrote: in the sandbox no command of the client's own is run from it.
    fn loading(&self, database: &Database, login: &NamedTempFile, data: Stdio) -> anyhow::Result<Child> {
        command(&self.load, login)
            .args(["--loose-sandbox", "--max-allowed-packet=1G", "--default-character-set=utf8mb4", database.as_str()])
            .stdin(data)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("{} cannot be started", self.load.display()))
    }
}

/// A program that is told where to log in by a file: its arguments are for everybody to see.
fn command(program: &PathBuf, login: &NamedTempFile) -> Command {
    let mut defaults = std::ffi::OsString::from("--defaults-file=");
    defaults.push(login.path());
    let mut command = Command::new(program);
    command.env_clear().env("LANG", "C.UTF-8").arg(defaults).kill_on_drop(true);
    command
}

/// A file of mode 0600 that goes with its value.
fn login(opts: &Opts) -> anyhow::Result<NamedTempFile> {
    let quoted = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
    let mut file = NamedTempFile::new()?;
    write!(
        file,
        "[client]\nprotocol=tcp\nhost={}\nport={}\nuser={}\npassword={}\n",
        quoted(opts.ip_or_hostname()),
        opts.tcp_port(),
        quoted(opts.user().unwrap_or_default()),
        quoted(opts.pass().unwrap_or_default()),
    )?;
    file.flush()?;
    Ok(file)
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
