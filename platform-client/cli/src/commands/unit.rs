//! Units of an app (contract section 9).

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use platform_wire::{AppInfo, Unit};

use super::AppFlag;
use crate::{client::Call, session::Tsuru, stream};

/// `unit …`
#[derive(Debug, Subcommand)]
pub(crate) enum UnitCommand {
    /// Add units to an app
    Add(Change),
    /// Take units from an app
    Remove(Change),
    /// Set how many units an app has
    Set(Change),
    /// Kill a unit; another takes its place
    Kill(Kill),
}

impl UnitCommand {
    pub(crate) async fn run(&self, tsuru: &Tsuru) -> Result<()> {
        match self {
            Self::Add(command) => command.add(tsuru).await,
            Self::Remove(command) => command.remove(tsuru).await,
            Self::Set(command) => command.set(tsuru).await,
            Self::Kill(command) => command.run(tsuru).await,
        }
    }
}

/// `unit add N`, `unit remove N`, `unit set N`
#[derive(Args, Debug)]
pub(crate) struct Change {
    /// How many
    #[arg(allow_negative_numbers = true)]
    units: String,
    #[command(flatten)]
    app: AppFlag,
    /// The process, when the app has several
    #[arg(short, long)]
    process: Option<String>,
    /// The version, when several run
    #[arg(long)]
    version: Option<String>,
}

impl Change {
    async fn add(&self, tsuru: &Tsuru) -> Result<()> {
        let (process, version) = (self.process.as_deref(), self.version.as_deref());
        add(tsuru, self.app.name()?, &self.units, process.unwrap_or_default(), version.unwrap_or_default()).await
    }

    async fn remove(&self, tsuru: &Tsuru) -> Result<()> {
        let (process, version) = (self.process.as_deref(), self.version.as_deref());
        remove(tsuru, self.app.name()?, &self.units, process.unwrap_or_default(), version.unwrap_or_default()).await
    }

    /// Adds or removes the difference.
    async fn set(&self, tsuru: &Tsuru) -> Result<()> {
        let name = self.app.name()?;
        let wanted: i64 = self
            .units
            .parse()
            .ok()
            .filter(|wanted| *wanted >= 0)
            .with_context(|| format!("{:?} is no number of units: give 0 or more", self.units))?;
        let app: AppInfo = tsuru.api()?.read(Call::get("1.0", &["apps", name])).await?;
        let (process, version) = self.chosen(&app)?;
        let matching = |unit: &&Unit| unit.process_name == process && unit.version.to_string() == version;
        let now = i64::try_from(live(&app).filter(matching).count())?;
        let difference = wanted - now;
        match difference {
            0 if version.is_empty() => tsuru.screen.say(format!("The process {process} already has {now} units.")),
            0 => tsuru.screen.say(format!("The process {process}, version {version} already has {now} units.")),
            1.. => add(tsuru, name, &difference.to_string(), &process, &version).await,
            _ => remove(tsuru, name, &(-difference).to_string(), &process, &version).await,
        }
    }

    /// The process and version meant: those given, or the only ones there are.
    fn chosen(&self, app: &AppInfo) -> Result<(String, String)> {
        let process = match &self.process {
            Some(process) => process.clone(),
            None => only_process(app)?,
        };
        let version = match &self.version {
            Some(version) => version.clone(),
            None => only_version(app, &process)?,
        };
        Ok((process, version))
    }
}

/// Units that count: one without an identifier is none.
fn live(app: &AppInfo) -> impl Iterator<Item = &Unit> {
    app.units.iter().filter(|unit| !unit.id.is_empty())
}

fn only_process(app: &AppInfo) -> Result<String> {
    let running = live(app).map(|unit| unit.process_name.as_str());
    let declared = app.processes.iter().map(|process| process.name.as_str());
    let names: BTreeSet<_> = running.chain(declared).collect();
    let listed = names.iter().copied().collect::<Vec<_>>().join(", ");
    match names.first() {
        Some(name) if names.len() == 1 => Ok((*name).to_owned()),
        Some(_) => bail!("the app has several processes ({listed}): choose one with -p/--process"),
        None => bail!("the app has no units yet: deploy it first, or name a process with -p/--process"),
    }
}

/// The version whose units run; empty, which leaves the choice to the platform, when none does.
fn only_version(app: &AppInfo, process: &str) -> Result<String> {
    let running = live(app).filter(|unit| unit.process_name == process);
    let versions: BTreeSet<_> = running.map(|unit| unit.version).collect();
    if versions.len() > 1 {
        let listed: Vec<_> = versions.iter().map(ToString::to_string).collect();
        bail!("several versions run ({}): choose one with --version", listed.join(", "));
    }
    Ok(versions.first().map(ToString::to_string).unwrap_or_default())
}

async fn add(tsuru: &Tsuru, app: &str, units: &str, process: &str, version: &str) -> Result<()> {
    let call = Call::put("1.0", &["apps", app, "units"])
        .field("units", units)
        .field("process", process)
        .field("version", version);
    stream::progress(tsuru.screen, tsuru.api()?.send(call).await?).await
}

async fn remove(tsuru: &Tsuru, app: &str, units: &str, process: &str, version: &str) -> Result<()> {
    let call = Call::delete("1.0", &["apps", app, "units"])
        .query("units", units)
        .query("process", process)
        .query("version", version);
    stream::progress(tsuru.screen, tsuru.api()?.send(call).await?).await
}

/// `unit kill UNIT`
#[derive(Args, Debug)]
pub(crate) struct Kill {
    /// The unit, as `app info` names it
    unit: String,
    #[command(flatten)]
    app: AppFlag,
    /// Don't give it time to end by itself
    #[arg(short, long)]
    force: bool,
}

impl Kill {
    async fn run(&self, tsuru: &Tsuru) -> Result<()> {
        let mut call = Call::delete("1.12", &["apps", self.app.name()?, "units", &self.unit]);
        if self.force {
            call = call.query("force", true);
        }
        tsuru.api()?.tell(call).await?;
        tsuru.screen.say("Unit successfully killed.")
    }
}
