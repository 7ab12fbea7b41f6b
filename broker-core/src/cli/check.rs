//! `check`: whether `serve` would work, found out without changing anything (SPEC X-4).

#[cfg(feature = "postgres")]
use std::time::Duration;
use std::{net::SocketAddr, path::Path, rc::Rc};

use anyhow::Context as _;
use tokio::net::TcpListener;

use super::{
    About, Cli,
    author::CheckOf,
    findings::Findings,
    login::{Guests, Login, Password},
    openapi::offer_of_started,
    records::Place,
    serve::{Serve, Settings},
};
use crate::{Broker, Catalog, Credentials, Secret, ServeError, State, lifecycle::Schemas};

#[derive(Debug, clap::Args)]
#[group(skip)]
pub(super) struct Check<C: clap::Args> {
    /// An object a line, with `level`, `what` and `text`
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    serve: Serve<C>,
}

impl<C: clap::Args> Check<C> {
    pub(super) async fn run<B: Broker, X: clap::Subcommand>(
        self,
        cli: Cli<C, X>,
        start: impl AsyncFnOnce(C) -> anyhow::Result<B>,
    ) -> anyhow::Result<()> {
        self.examine(cli, None, start).await
    }

    /// Prints what it looks at, then what the doctor does. What started the broker has no configuration left for a
    /// doctor, who is asked before that and heard after it.
    pub(super) async fn examine<B: Broker, X: clap::Subcommand>(
        self,
        cli: Cli<C, X>,
        doctor: Option<CheckOf<C>>,
        start: impl AsyncFnOnce(C) -> anyhow::Result<B>,
    ) -> anyhow::Result<()> {
        let Serve { settings, config } = self.serve;
        let (about, config) = (cli.about, Rc::new(config));
        let mut findings = Findings::default();
        settings.check(about, &mut findings).await;
        if let Some(authorizer) = cli.authorizer {
            findings.add_result("callers", authorizer(&config).map(|_| "the broker has a check of its own"));
        }
        if let Some(check) = cli.check {
            findings = check(config.clone(), findings).await;
        }
        let further = match doctor {
            Some(doctor) => doctor(config.clone(), Findings::default()).await,
            None => Findings::default(),
        };
        let catalog = match cli.catalog {
            Some(catalog) => catalog(config).await,
            None => {
                let config = Rc::into_inner(config).context("a check keeps the configuration")?;
                start(config).await.and_then(|broker| offer_of_started(about, broker)).map(|(catalog, _)| catalog)
            }
        };
        findings.add_result("catalog", catalog.and_then(|catalog| offered(about, &catalog)));
        findings.append(further);
        findings.print(self.json)
    }
}

fn offered(about: About, catalog: &Catalog) -> anyhow::Result<String> {
    let service = &catalog.service;
    anyhow::ensure!(service.as_str() == about.service, "the binary is for {}, its broker for {service}", about.service);
    Schemas::of(catalog).map_err(ServeError::Catalog)?;
    let plans: Vec<&str> = catalog.plans().iter().map(|plan| plan.name.as_str()).collect();
    Ok(match plans.as_slice() {
        [] => format!("{service}, without plans"),
        plans => format!("{service}: {}", plans.join(", ")),
    })
}

impl Settings {
    async fn check(&self, about: About, findings: &mut Findings) {
        let is_running = self.check_records(about, findings).await;
        address(self.address.listen, is_running, findings).await;
        password(&self.login, &self.records.folder(about), findings);
        guests(&self.guests, findings);
        match self.network.tls() {
            Ok(None) => findings.found("tls", "none: connections are not encrypted"),
            Ok(Some(tls)) => {
                findings
                    .add_result("tls", tls.check().map(|()| "certificate and key fit").map_err(anyhow::Error::from));
            }
            Err(problem) => findings.problem("tls", problem),
        }
    }

    /// Whether a broker runs on them.
    async fn check_records(&self, about: About, findings: &mut Findings) -> bool {
        let outcome = match self.records.place(about) {
            Ok(Place::Folder(folder)) => {
                folder_of_records(&folder).await.map(|found| (found, State::is_in_use(&folder)))
            }
            #[cfg(feature = "postgres")]
            Ok(Place::Database(url, key_file)) => database(&url, &key_file, self.timing.lease()).await,
            Err(problem) => Err(problem),
        };
        let is_running = outcome.as_ref().is_ok_and(|(_, is_running)| *is_running);
        let note = if is_running { "; a broker runs on them" } else { "" };
        findings.add_result("records", outcome.map(|(found, _)| format!("{found}{note}")));
        is_running
    }
}

async fn folder_of_records(folder: &Path) -> anyhow::Result<String> {
    if folder.join("state.db").exists() {
        let look = State::inspect(folder).await?;
        return Ok(format!("{} in {}", look.counted().await?, folder.display()));
    }
    let mut above = folder.ancestors().map(|one| if one.as_os_str().is_empty() { Path::new(".") } else { one });
    match above.find_map(|one| std::fs::metadata(one).ok().map(|found| (one, found))) {
        Some((_, found)) if found.is_dir() && !found.permissions().readonly() => {
            Ok(format!("none yet, serve makes them in {}", folder.display()))
        }
        Some((one, _)) => {
            anyhow::bail!("cannot make {}: {} is no folder that can be written to", folder.display(), one.display())
        }
        None => anyhow::bail!("cannot make {}", folder.display()),
    }
}

#[cfg(feature = "postgres")]
async fn database(url: &Secret, key_file: &Path, lease: Duration) -> anyhow::Result<(String, bool)> {
    if !State::has_records(url).await? {
        return Ok(("none yet in the database, serve makes its tables".to_owned(), false));
    }
    let look = State::inspect_database(url, key_file).await?;
    let found = format!("{} in the database, key in {}", look.counted().await?, key_file.display());
    Ok((found, State::database_is_in_use(url, lease).await?))
}

/// A port that the broker itself has is no problem.
async fn address(listen: SocketAddr, is_running: bool, findings: &mut Findings) {
    match TcpListener::bind(listen).await {
        Ok(_) => findings.found("listen", format!("{listen} is free")),
        Err(_) if is_running => findings.found("listen", format!("{listen} is taken, a broker runs")),
        Err(cause) => findings.problem("listen", ServeError::Listen { address: listen, cause }),
    }
}

fn password(login: &Login, folder: &Path, findings: &mut Findings) {
    match login.place(folder) {
        Ok(Password::Given(_)) => findings.found("password", "from BROKER_PASSWORD"),
        Ok(Password::Kept(file)) if !file.exists() => {
            findings.found("password", format!("none yet, serve makes one in {}", file.display()));
        }
        Ok(Password::Kept(file)) => {
            let read = Secret::kept_in(&file, Secret::generate);
            let read = read.with_context(|| format!("cannot use the password file {}", file.display()));
            findings.add_result("password", read.map(|_| format!("in {}", file.display())));
        }
        Err(problem) => findings.problem("password", problem),
    }
}

fn guests(guests: &Guests, findings: &mut Findings) {
    let lists = [("credentials", &guests.credentials_file), ("operators", &guests.operator_credentials_file)];
    for (what, file) in lists.into_iter().filter_map(|(what, file)| Some((what, file.as_deref()?))) {
        let found = Credentials::read(file).map(|read| format!("{} in {}", read.len(), file.display()));
        findings.add_result(what, found.map_err(anyhow::Error::from));
    }
}
