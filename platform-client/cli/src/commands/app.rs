//! Apps (contract section 7).

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use platform_wire::{AppCreated, AppInfo, AppResume, AppRouter, AppUpdate, LogEntry, PlanOverride, Unit};
use serde_json::Value;

use super::{AppArgument, AppFlag, AssumeYes, deploy::Deploy, key_value, plan, router::AppRouterCommand};
use crate::{
    client::Call,
    render::{Table, http_address, stamp},
    session::Tsuru,
    stream,
};

mod info;

/// `app …`
#[derive(Debug, Subcommand)]
pub(crate) enum AppCommand {
    /// Create an app
    Create(Create),
    /// List apps
    List(List),
    /// Show an app: its units, addresses and services
    Info(Info),
    /// Change an app
    Update(Update),
    /// Remove an app and everything of it
    Remove(Remove),
    /// Deploy code, a Dockerfile or an image; or look at past deploys
    Deploy(Deploy),
    /// Show what an app writes
    Log(Log),
    /// Start an app
    Start(Lifecycle),
    /// Stop an app; its units are remembered
    Stop(Lifecycle),
    /// Restart an app
    Restart(Lifecycle),
    /// Run a command where an app runs
    Run(Run),
    /// Let a team use an app
    Grant(Access),
    /// Let a team not use an app any more
    Revoke(Access),
    /// Routers that lead to an app
    #[command(subcommand)]
    Router(AppRouterCommand),
}

impl AppCommand {
    pub(crate) async fn run(&self, tsuru: &Tsuru) -> Result<()> {
        match self {
            Self::Create(command) => command.run(tsuru).await,
            Self::List(command) => command.run(tsuru).await,
            Self::Info(command) => command.run(tsuru).await,
            Self::Update(command) => command.run(tsuru).await,
            Self::Remove(command) => command.run(tsuru).await,
            Self::Deploy(command) => command.run(tsuru).await,
            Self::Log(command) => command.run(tsuru).await,
            Self::Start(command) => command.run(tsuru, "start").await,
            Self::Stop(command) => command.run(tsuru, "stop").await,
            Self::Restart(command) => command.run(tsuru, "restart").await,
            Self::Run(command) => command.run(tsuru).await,
            Self::Grant(command) => command.grant(tsuru).await,
            Self::Revoke(command) => command.revoke(tsuru).await,
            Self::Router(command) => command.run(tsuru).await,
        }
    }
}

/// `app create APP [PLATFORM]`
#[derive(Args, Debug)]
pub(crate) struct Create {
    /// Its name
    app: String,
    /// What its code is built on, such as python; none for an app that takes only images
    platform: Option<String>,
    /// Size of its units
    #[arg(short, long)]
    plan: Option<String>,
    /// Router that leads to it
    #[arg(short, long)]
    router: Option<String>,
    /// Team that owns it; yours, if you have only one
    #[arg(short, long)]
    team: Option<String>,
    /// Where its units run
    #[arg(short = 'o', long)]
    pool: Option<String>,
    /// What it is for
    #[arg(short, long)]
    description: Option<String>,
    /// A label (may be repeated)
    #[arg(short = 'g', long = "tag")]
    tags: Vec<String>,
    /// An option for the router (may be repeated)
    #[arg(long = "router-opts", value_name = "KEY=VALUE", value_parser = key_value)]
    router_opts: Vec<(String, String)>,
}

impl Create {
    async fn run(&self, tsuru: &Tsuru) -> Result<()> {
        let call = Call::post("1.0", &["apps"])
            .field("name", &self.app)
            .field_or_empty("platform", self.platform.as_deref())
            .field_or_empty("plan", self.plan.as_deref())
            .field_or_empty("teamOwner", self.team.as_deref())
            .field_or_empty("pool", self.pool.as_deref())
            .field_or_empty("description", self.description.as_deref())
            .field_or_empty("router", self.router.as_deref())
            .field_each("tag", &self.tags)
            .field_map("routeropts", &self.router_opts);
        let _: AppCreated = tsuru.api()?.read(call).await?;
        tsuru.screen.say(format!(
            "App \"{}\" has been created!\nUse app info to check the status of the app and its units.",
            self.app
        ))
    }
}

/// `app list`
#[derive(Args, Debug)]
pub(crate) struct List {
    /// Apps whose name matches this regular expression
    #[arg(short, long)]
    name: Option<String>,
    /// Apps in this pool
    #[arg(short = 'o', long)]
    pool: Option<String>,
    /// Apps with units in this status; several are joined by commas
    #[arg(short, long)]
    status: Option<String>,
    /// Apps on this platform
    #[arg(short, long)]
    platform: Option<String>,
    /// Apps of this team
    #[arg(short, long)]
    team: Option<String>,
    /// Apps that this user created; `me` for yourself
    #[arg(short, long)]
    user: Option<String>,
    /// Apps with this label (may be repeated)
    #[arg(short = 'g', long = "tag")]
    tags: Vec<String>,
    /// Only names
    #[arg(short = 'q')]
    simplified: bool,
    /// JSON for programs
    #[arg(long)]
    json: bool,
}

impl List {
    async fn run(&self, tsuru: &Tsuru) -> Result<()> {
        let api = tsuru.api()?;
        let owner = match self.user.as_deref() {
            Some("me") => Some(super::user::myself(&api).await?.email),
            other => other.map(str::to_owned),
        };
        let mut call = Call::get("1.0", &["apps"])
            .query_some("name", self.name.as_deref())
            .query_some("platform", self.platform.as_deref())
            .query_some("teamOwner", self.team.as_deref())
            .query_some("owner", owner.as_deref())
            .query_some("pool", self.pool.as_deref())
            .query_some("status", self.status.as_deref())
            .query_each("tag", &self.tags);
        if self.simplified {
            call = call.query("simplified", true);
        }
        if self.json {
            return tsuru.screen.json(&api.list::<Value>(call).await?);
        }
        self.show(tsuru, api.list(call).await?)
    }

    fn show(&self, tsuru: &Tsuru, mut apps: Vec<AppResume>) -> Result<()> {
        apps.sort_by_key(|app| app.name.to_lowercase());
        if self.simplified {
            return apps.iter().try_for_each(|app| tsuru.screen.say(&app.name));
        }
        if apps.is_empty() {
            return Ok(());
        }
        let mut table = Table::new(["Application", "Units", "Address"]).ruled();
        for app in apps {
            let units = if app.units.is_empty() && !app.error.is_empty() {
                format!("error fetching units: {}", app.error)
            } else {
                count_by_status(&app.units)
            };
            table.row([app.name, units, addresses(&app.cname, &app.routers, &app.ip)]);
        }
        tsuru.screen.table(&table)
    }
}

/// `<count> <status>` lines, the highest count first, then by name.
fn count_by_status(units: &[Unit]) -> String {
    let mut counts = BTreeMap::<&str, usize>::new();
    for unit in units.iter().filter(|unit| !unit.id.is_empty()) {
        *counts.entry(status(unit)).or_default() += 1;
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let lines: Vec<_> = counts.iter().map(|(status, count)| format!("{count} {status}")).collect();
    lines.join("\n")
}

/// A unit's status: `ready` when it answers, whatever else is said.
fn status(unit: &Unit) -> &str {
    if unit.ready == Some(true) { "ready" } else { &unit.status }
}

/// An app's addresses, one per line: its own names first.
fn addresses(cnames: &[String], routers: &[AppRouter], ip: &str) -> String {
    let own = cnames.iter().map(|cname| format!("{} (cname)", http_address(cname)));
    let routed = routers.iter().flat_map(router_addresses);
    let fallback = (routers.is_empty() && !ip.is_empty()).then_some(ip).into_iter();
    let lines: Vec<_> = own.chain(routed.chain(fallback).map(http_address)).collect();
    lines.join("\n")
}

/// Addresses of an app at a router.
pub(super) fn router_addresses(router: &AppRouter) -> Vec<&str> {
    let single = std::slice::from_ref(&router.address);
    let all = if router.addresses.is_empty() { single } else { &router.addresses };
    all.iter().map(String::as_str).filter(|address| !address.is_empty()).collect()
}

/// `app info [APP]`
#[derive(Args, Debug)]
pub(crate) struct Info {
    #[command(flatten)]
    app: AppArgument,
    /// The short form
    #[arg(short = 's', long)]
    simplified: bool,
    /// JSON for programs
    #[arg(long)]
    json: bool,
}

impl Info {
    async fn run(&self, tsuru: &Tsuru) -> Result<()> {
        let call = Call::get("1.0", &["apps", self.app.name()?]);
        let api = tsuru.api()?;
        if self.json {
            return tsuru.screen.json(&api.read::<Value>(call).await?);
        }
        let app: AppInfo = api.read(call).await?;
        let shown = if self.simplified { info::short(&app, tsuru.screen) } else { info::full(&app, tsuru.screen) };
        tsuru.screen.write(&shown)
    }
}

/// `app update`
#[derive(Args, Debug)]
pub(crate) struct Update {
    #[command(flatten)]
    app: AppFlag,
    /// What it is for
    #[arg(short, long)]
    description: Option<String>,
    /// Size of its units
    #[arg(short, long)]
    plan: Option<String>,
    /// Where its units run
    #[arg(short = 'o', long)]
    pool: Option<String>,
    /// Team that owns it
    #[arg(short = 't', long = "team-owner")]
    team_owner: Option<String>,
    /// A label; the old ones go (may be repeated)
    #[arg(short = 'g', long = "tag")]
    tags: Vec<String>,
    /// What its code is built on
    #[arg(short = 'l', long)]
    platform: Option<String>,
    /// Build the next version on the platform's image, not on the last version's
    #[arg(short, long)]
    image_reset: bool,
    /// Leave the units as they are until the next restart
    #[arg(long)]
    no_restart: bool,
    /// Processor for each unit of this app: 10%, 100m or 0.1; 0 for the plan's
    #[arg(long, value_parser = plan::millicores)]
    cpu: Option<i64>,
    /// Memory for each unit of this app: 512Mi or 1G; 0 for the plan's
    #[arg(long, value_parser = plan::bytes)]
    memory: Option<i64>,
    /// How far above its share a unit may go; 0 for the plan's
    #[arg(long)]
    cpu_burst_factor: Option<f64>,
}

impl Update {
    async fn run(&self, tsuru: &Tsuru) -> Result<()> {
        let app = self.app.name()?;
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let update = AppUpdate {
            description: text(&self.description),
            plan: text(&self.plan),
            pool: text(&self.pool),
            team_owner: text(&self.team_owner),
            platform: text(&self.platform),
            tags: self.tags.clone(),
            no_restart: self.no_restart,
            image_reset: self.image_reset,
            planoverride: PlanOverride { memory: self.memory, cpumilli: self.cpu, cpu_burst: self.cpu_burst_factor },
            ..AppUpdate::default()
        };
        let answer = tsuru.api()?.send(Call::put("1.0", &["apps", app]).json(&update)).await?;
        stream::progress(tsuru.screen, answer).await?;
        tsuru.screen.say(format!("App \"{app}\" has been updated!"))
    }
}

/// `app remove`
#[derive(Args, Debug)]
pub(crate) struct Remove {
    #[command(flatten)]
    app: AppArgument,
    #[command(flatten)]
    yes: AssumeYes,
}

impl Remove {
    async fn run(&self, tsuru: &Tsuru) -> Result<()> {
        let app = self.app.name()?;
        let api = tsuru.api()?;
        let question = format!("Are you sure you want to remove app \"{app}\"?");
        if !tsuru.screen.confirm(self.yes.assume_yes, question)? {
            return Ok(());
        }
        stream::progress(tsuru.screen, api.send(Call::delete("1.0", &["apps", app])).await?).await
    }
}

/// `app start`, `app stop`, `app restart`
#[derive(Args, Debug)]
pub(crate) struct Lifecycle {
    #[command(flatten)]
    app: AppArgument,
    /// Only this process
    #[arg(short, long)]
    process: Option<String>,
    /// Only this version
    #[arg(long)]
    version: Option<String>,
}

impl Lifecycle {
    async fn run(&self, tsuru: &Tsuru, verb: &str) -> Result<()> {
        let call = Call::post("1.0", &["apps", self.app.name()?, verb])
            .field_or_empty("process", self.process.as_deref())
            .field_or_empty("version", self.version.as_deref());
        stream::progress(tsuru.screen, tsuru.api()?.send(call).await?).await
    }
}

/// `app run -- COMMAND`
#[derive(Args, Debug)]
#[command(after_help = "Put -- before a command that has dashes of its own:\n  tsuru app run -a blog -- ls -la")]
pub(crate) struct Run {
    #[command(flatten)]
    app: AppFlag,
    /// On one unit only
    #[arg(short, long)]
    once: bool,
    /// On a unit made for it
    #[arg(short, long)]
    isolated: bool,
    /// The command
    #[arg(required = true, trailing_var_arg = true)]
    command: Vec<String>,
}

impl Run {
    async fn run(&self, tsuru: &Tsuru) -> Result<()> {
        let call = Call::post("1.0", &["apps", self.app.name()?, "run"])
            .field("command", self.command.join(" "))
            .field("once", self.once)
            .field("isolated", self.isolated);
        stream::output(tsuru.screen, tsuru.api()?.send(call).await?).await
    }
}

/// `app grant TEAM`, `app revoke TEAM`
#[derive(Args, Debug)]
pub(crate) struct Access {
    /// The team
    team: String,
    #[command(flatten)]
    app: AppFlag,
}

impl Access {
    async fn grant(&self, tsuru: &Tsuru) -> Result<()> {
        let app = self.app.name()?;
        tsuru.api()?.tell(Call::put("1.0", &["apps", app, "teams", &self.team])).await?;
        tsuru.screen.say(format!("Team \"{}\" was added to the \"{app}\" app", self.team))
    }

    async fn revoke(&self, tsuru: &Tsuru) -> Result<()> {
        let app = self.app.name()?;
        tsuru.api()?.tell(Call::delete("1.0", &["apps", app, "teams", &self.team])).await?;
        tsuru.screen.say(format!("Team \"{}\" was removed from the \"{app}\" app", self.team))
    }
}

/// `app log [APP]`
#[derive(Args, Debug)]
pub(crate) struct Log {
    #[command(flatten)]
    app: AppArgument,
    /// How many lines
    #[arg(short, long, default_value_t = 10)]
    lines: u32,
    /// Only lines of this process; `tsuru` for the platform's own
    #[arg(short, long)]
    source: Option<String>,
    /// Only lines of this unit
    #[arg(short, long)]
    unit: Option<String>,
    /// Wait for more
    #[arg(short, long)]
    follow: bool,
    /// Without the time
    #[arg(long)]
    no_date: bool,
    /// Without process and unit
    #[arg(long)]
    no_source: bool,
}

impl Log {
    async fn run(&self, tsuru: &Tsuru) -> Result<()> {
        let mut call = Call::get("1.0", &["apps", self.app.name()?, "log"])
            .query("lines", self.lines)
            .query_some("source", self.source.as_deref())
            .query_some("unit", self.unit.as_deref());
        if self.follow {
            call = call.query("follow", 1);
        }
        let answer = tsuru.api()?.send(call).await?;
        stream::log(answer, |entry| tsuru.screen.say(self.line(tsuru, entry)?)).await
    }

    fn line(&self, tsuru: &Tsuru, entry: &LogEntry) -> Result<String> {
        let date = match entry.date.0 {
            _ if self.no_date => None,
            Some(date) => Some(stamp(date)),
            None => bail!("the server's log cannot be read: a line has no date"),
        };
        let source = (!self.no_source).then(|| {
            let unit = if entry.unit.is_empty() { String::new() } else { format!("[{}]", entry.unit) };
            format!("[{}]{unit}", entry.source)
        });
        let prefix: Vec<_> = date.into_iter().chain(source).collect();
        if prefix.is_empty() {
            return Ok(entry.message.clone());
        }
        Ok(format!("{} {}", tsuru.screen.blue(&format!("{}:", prefix.join(" "))), entry.message))
    }
}
