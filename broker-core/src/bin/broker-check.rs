//! Checks whether a broker, in any language, keeps tsuru's service API or the Open Service Broker API.

#[path = "shared/password.rs"]
mod password;

use std::{
    future::Future,
    io::{IsTerminal as _, Write as _},
    path::PathBuf,
    pin::Pin,
    process::ExitCode,
    process::Stdio,
    time::Duration,
};

use broker_core::conformance::{
    Case, Dialect, Format, Level, NoProbe, Options, Outcome, Probe, Report, Run, Selection, Variables, cases, document,
    list,
};
use clap::Parser;
use tokio::{process::Command, time::timeout};

/// Check whether a broker keeps tsuru's service API or the Open Service Broker API: numbered cases, run over HTTP.
///
/// Which of the two a broker speaks is found out, unless --dialect says it. Instances that the cases make are named
/// conf-..., and are removed in the end, also after a failure or Ctrl-C. The exit status is 0 when no MUST case failed
/// (with --strict: no case at all) and all that was made is removed, 1 when a case failed or something is left behind, 2
/// when the command line is wrong or the broker can't be reached, 130 after Ctrl-C.
#[derive(Debug, Parser)]
#[command(name = "broker-check", version)]
struct Arguments {
    /// The broker's base URL.
    #[arg(required_unless_present_any = ["list", "document"])]
    url: Option<String>,
    /// The user name the broker accepts.
    #[arg(long, env = "BROKER_USERNAME", default_value = "")]
    username: String,
    /// A file that holds the password; without it, the environment variable BROKER_PASSWORD does.
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// The dialect that is checked [default: what the broker answers in, both if both].
    #[arg(long, value_enum)]
    dialect: Option<DialectArgument>,
    /// The plan of the instances that are made, by name or id [default: the first that is listed].
    #[arg(long, value_name = "PLAN")]
    plan: Option<String>,
    /// A plan whose work takes a while, by name or id, for cases about work that goes on.
    #[arg(long, value_name = "PLAN")]
    slow_plan: Option<String>,
    /// A pool and its cluster, for a service of several clusters.
    #[arg(long, value_name = "POOL=CLUSTER", value_parser = pair)]
    pool: Option<(String, String)>,
    /// A parameter that every create needs; may be repeated.
    #[arg(long = "param", value_name = "NAME=VALUE", value_parser = pair)]
    parameters: Vec<(String, String)>,
    /// A parameter of create that is a whole number.
    #[arg(long, value_name = "NAME")]
    integer_parameter: Option<String>,
    /// A parameter of create that is a list of texts.
    #[arg(long, value_name = "NAME")]
    list_parameter: Option<String>,
    /// A parameter of create with a dot in its name.
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    dotted_parameter: Option<(String, String)>,
    /// A shell command that finds a bind's variables in its environment and exits 0 when they work.
    #[arg(long, value_name = "COMMAND")]
    probe: Option<String>,
    /// The cases that are run.
    #[arg(long, value_enum, default_value_t = LevelArgument::All)]
    level: LevelArgument,
    /// Only these cases: A64,A70-A75,O31.
    #[arg(long, value_name = "CASES", value_delimiter = ',')]
    only: Vec<String>,
    /// Not these cases.
    #[arg(long, value_name = "CASES", value_delimiter = ',')]
    skip: Vec<String>,
    /// List the cases that are selected, and run none.
    #[arg(long)]
    list: bool,
    /// Print all cases as a page in Markdown, and run none.
    #[arg(long, conflicts_with = "list")]
    document: bool,
    /// How the report is written.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    output: Format,
    /// Exit with 1 when any case failed, whatever its level.
    #[arg(long)]
    strict: bool,
    /// How many requests may be on their way at once, in the few cases that need several.
    #[arg(long, value_name = "N", default_value_t = 3)]
    parallel: usize,
    /// How many milliseconds to wait after each request.
    #[arg(long, value_name = "MS", default_value_t = 0)]
    delay: u64,
    /// How many seconds an answer may take.
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    timeout: u64,
    /// How many seconds an instance may take to be ready.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    ready_within: u64,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum LevelArgument {
    /// Those without which platforms do not work.
    Must,
    /// Also those that keep drift, leaks and bad messages away.
    Should,
    /// Also those about optional features and platforms of the past.
    All,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum DialectArgument {
    /// tsuru's service API: A1 to A114.
    Tsuru,
    /// The Open Service Broker API, version 2.17: O1 to O186.
    Osb,
    /// Both.
    All,
}

impl DialectArgument {
    fn dialects(self) -> Vec<Dialect> {
        match self {
            Self::Tsuru => vec![Dialect::Tsuru],
            Self::Osb => vec![Dialect::Osb],
            Self::All => Dialect::ALL.to_vec(),
        }
    }
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("there is no = in it")?;
    Ok((name.to_owned(), value.to_owned()))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match check(Arguments::parse()).await {
        Ok(code) => code,
        Err(sentence) => {
            eprintln!("broker-check: {sentence}");
            ExitCode::from(2)
        }
    }
}

async fn check(arguments: Arguments) -> Result<ExitCode, String> {
    let selected = selection(&arguments).of(&cases())?;
    if arguments.document {
        write(&document())?;
        return Ok(ExitCode::SUCCESS);
    }
    if arguments.list {
        write(&list(&of_dialects(&selected, arguments.dialect.map(DialectArgument::dialects))))?;
        return Ok(ExitCode::SUCCESS);
    }
    let options = options(&arguments)?;
    let command = arguments.probe.clone().map(|command| ShellProbe { command, patience: options.timeout });
    let probe: &dyn Probe = command.as_ref().map_or(&NoProbe, |probe| probe);
    let run = Run::new(options, probe).await.map_err(|error| error.to_string())?;
    let selected = of_dialects(&selected, dialects(&arguments, &run)?);
    let mut progress = Progress::new(&arguments, selected.len());
    let report = tokio::select! {
        report = run.cases(&selected, |outcome| progress.tell(outcome)) => report,
        _ = tokio::signal::ctrl_c() => {
            eprintln!("\nbroker-check: interrupted, removing what was made");
            run.clean_up().await.iter().for_each(|left| eprintln!("{left}"));
            return Ok(ExitCode::from(130));
        }
    };
    progress.end();
    write(&report.render(arguments.output))?;
    Ok(exit_code(&report, arguments.strict))
}

/// The dialects that are checked: those that are named, else what the cases are of that are, else what is spoken. None
/// when the selection has settled it.
fn dialects(arguments: &Arguments, run: &Run<'_>) -> Result<Option<Vec<Dialect>>, String> {
    if let Some(named) = arguments.dialect {
        return Ok(Some(named.dialects()));
    }
    if !arguments.only.is_empty() {
        return Ok(None);
    }
    let spoken = run.dialects().map_err(|unclear| unclear.to_string())?;
    let names: Vec<_> = spoken.iter().map(|dialect| dialect.name()).collect();
    eprintln!("broker-check: the broker speaks {}", names.join(" and "));
    Ok(Some(spoken))
}

fn of_dialects(cases: &[Case], dialects: Option<Vec<Dialect>>) -> Vec<Case> {
    let wanted = |case: &&Case| dialects.as_ref().is_none_or(|dialects| dialects.contains(&case.dialect()));
    cases.iter().filter(wanted).copied().collect()
}

fn exit_code(report: &Report, strict: bool) -> ExitCode {
    let failed = report.failed(if strict { None } else { Some(Level::Must) });
    ExitCode::from(u8::from(failed > 0 || !report.left_behind.is_empty()))
}

fn selection(arguments: &Arguments) -> Selection {
    let mut selection = Selection::default();
    (selection.only, selection.skip) = (arguments.only.clone(), arguments.skip.clone());
    selection.level = match arguments.level {
        LevelArgument::Must => Some(Level::Must),
        LevelArgument::Should => Some(Level::Should),
        LevelArgument::All => None,
    };
    selection
}

fn options(arguments: &Arguments) -> Result<Options, String> {
    let url = arguments.url.as_deref().unwrap_or_default();
    if !url.starts_with("http://") && !url.starts_with("https://") {
        return Err(format!("\"{url}\" is no base URL: it begins with http:// or https://"));
    }
    let mut options = Options::new(url, &arguments.username, password::read(arguments.password_file.as_deref())?);
    options.plan.clone_from(&arguments.plan);
    options.slow_plan.clone_from(&arguments.slow_plan);
    options.pool.clone_from(&arguments.pool);
    options.parameters.clone_from(&arguments.parameters);
    options.integer_parameter.clone_from(&arguments.integer_parameter);
    options.list_parameter.clone_from(&arguments.list_parameter);
    options.dotted_parameter.clone_from(&arguments.dotted_parameter);
    options.parallel = arguments.parallel;
    options.delay = Duration::from_millis(arguments.delay);
    options.timeout = Duration::from_secs(arguments.timeout);
    options.ready_within = Duration::from_secs(arguments.ready_within);
    Ok(options)
}

/// A line on a terminal's error stream, so that a slow broker is seen to be at work. Nothing where nobody looks.
struct Progress {
    shown: bool,
    all: usize,
    done: usize,
    failed: usize,
}

impl Progress {
    fn new(arguments: &Arguments, all: usize) -> Self {
        let shown = arguments.output == Format::Table && std::io::stderr().is_terminal();
        Self { shown, all, done: 0, failed: 0 }
    }

    fn tell(&mut self, outcome: &Outcome) {
        self.done += 1;
        self.failed += usize::from(outcome.failed());
        if self.shown {
            let (done, all, failed) = (self.done, self.all, self.failed);
            eprint!("\r\x1b[K{done}/{all} {} {}, {failed} failed", outcome.case.id, outcome.case.chapter);
        }
    }

    /// Takes the line away.
    fn end(&self) {
        if self.shown {
            eprint!("\r\x1b[K");
        }
    }
}

fn write(text: &str) -> Result<(), String> {
    let mut out = std::io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map_err(|error| format!("cannot write the report: {error}"))
}

/// Tries variables with a shell command.
struct ShellProbe {
    command: String,
    patience: Duration,
}

impl Probe for ShellProbe {
    fn opens<'c>(&'c self, variables: &'c Variables) -> Pin<Box<dyn Future<Output = Option<bool>> + 'c>> {
        Box::pin(async move {
            let mut command = Command::new("sh");
            command.arg("-c").arg(&self.command).env_remove("BROKER_PASSWORD").envs(variables);
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
            let status = timeout(self.patience, command.status()).await;
            Some(matches!(status, Ok(Ok(status)) if status.success()))
        })
    }
}
