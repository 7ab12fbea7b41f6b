//! `check`: whether `serve` would work, found out without changing anything (SPEC X-4).

use std::{fmt::Display, io::Write as _, net::SocketAddr, path::Path, rc::Rc};

use anyhow::Context as _;
use tokio::net::TcpListener;

use super::{
    About, Cli,
    login::{Guests, Login, Password},
    openapi::offer_of_started,
    records::{Place, Records},
    serve::{Serve, Settings},
    show::{output, plain},
};
use crate::{Broker, Catalog, Credentials, Secret, ServeError, State, lifecycle::Schemas};

#[derive(Debug, clap::Args)]
#[group(skip)]
pub(super) struct Check<C: clap::Args> {
    #[command(flatten)]
    serve: Serve<C>,
}

/// What a check found: a line each, good or wrong.
#[derive(Debug, Default)]
pub struct Findings(Vec<Finding>);

#[derive(Debug)]
struct Finding {
    what: String,
    text: String,
    is_problem: bool,
}

impl Findings {
    /// Something that works, in a few words: `findings.found("server", "Redis 8.0 at 10.0.0.9")`.
    pub fn found(&mut self, what: impl Display, text: impl Display) {
        self.add(what.to_string(), text.to_string(), false);
    }

    /// Something that keeps the broker from working, in a sentence that says what to do. Never put a secret into it.
    pub fn problem(&mut self, what: impl Display, sentence: impl Display) {
        self.add(what.to_string(), sentence.to_string(), true);
    }

    /// The one or the other.
    pub fn add_result(&mut self, what: impl Display, outcome: anyhow::Result<impl Display>) {
        match outcome {
            Ok(text) => self.found(what, text),
            Err(problem) => self.problem(what, format!("{problem:#}")),
        }
    }

    fn add(&mut self, what: String, text: String, is_problem: bool) {
        self.0.push(Finding { what: plain(&what), text: plain(&text), is_problem });
    }

    /// The table on standard output, the problems on standard error; whether there were none.
    fn print(&self) -> anyhow::Result<bool> {
        let width = self.0.iter().map(|finding| finding.what.chars().count()).max().unwrap_or_default();
        let mut out = output();
        for Finding { what, text, is_problem } in &self.0 {
            let (mark, text) = if *is_problem { ("WRONG", "see below") } else { ("ok   ", text.as_str()) };
            writeln!(out, "{mark}  {what:<width$}  {text}").context("cannot print")?;
        }
        out.flush().context("cannot print")?;
        drop(out);
        let problems = self.0.iter().filter(|finding| finding.is_problem);
        let number = problems.map(|problem| eprintln!("error: {}: {}", problem.what, problem.text)).count();
        Ok(number == 0)
    }
}

impl<C: clap::Args> Check<C> {
    /// Whether all is well.
    pub(super) async fn run<B: Broker, X: clap::Subcommand>(
        self,
        cli: Cli<C, X>,
        start: impl AsyncFnOnce(C) -> anyhow::Result<B>,
    ) -> anyhow::Result<bool> {
        let Serve { settings, config } = self.serve;
        let (about, config) = (cli.about, Rc::new(config));
        let mut findings = Findings::default();
        settings.check(about, &mut findings).await;
        if let Some(check) = cli.check {
            findings = check(config.clone(), findings).await;
        }
        let catalog = match cli.catalog {
            Some(catalog) => catalog(config).await,
            None => {
                let config = Rc::into_inner(config).context("a check keeps the configuration")?;
                start(config).await.and_then(|broker| offer_of_started(about, broker)).map(|(catalog, _)| catalog)
            }
        };
        findings.add_result("catalog", catalog.and_then(|catalog| offered(about, &catalog)));
        findings.print()
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
        let is_running = records(&self.records, about, findings).await;
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
}

/// Whether a broker runs on them.
async fn records(records: &Records, about: About, findings: &mut Findings) -> bool {
    let place = match records.place(about) {
        Ok(place) => place,
        Err(problem) => {
            findings.problem("records", format!("{problem:#}"));
            return false;
        }
    };
    let is_running = matches!(&place, Place::Folder(folder) if State::is_in_use(folder));
    let outcome = match &place {
        Place::Folder(folder) => folder_of_records(folder).await,
        #[cfg(feature = "postgres")]
        Place::Database(url, key_file) => database(url, key_file).await,
    };
    let note = if is_running { "; a broker runs on them" } else { "" };
    findings.add_result("records", outcome.map(|found| format!("{found}{note}")));
    is_running
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
async fn database(url: &Secret, key_file: &Path) -> anyhow::Result<String> {
    if !State::has_records(url).await? {
        return Ok("none yet in the database, serve makes its tables".to_owned());
    }
    let look = State::inspect_database(url, key_file).await?;
    Ok(format!("{} in the database, key in {}", look.counted().await?, key_file.display()))
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
