//! Units up and down, start, stop, restart.

use std::sync::Arc;

use broker_core::AppName;

use crate::{App, Error, Platform, ProcessName, Progress, Result, UnitId, User, ports::Write, records::Kept};

/// A change of the number of units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Units {
    /// So many more.
    Add(u32),
    /// So many less; all of them or more is a stop.
    Remove(u32),
}

/// What to do with an app's processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Power {
    /// Bring stopped processes back with as many units as they had.
    Start,
    /// Stop processes and remember their units.
    Stop,
    /// Replace all units, one round, without a gap.
    Restart,
}

/// Units an app may have in all: a slip of the finger must not bring a machine down.
const MOST_UNITS: u32 = 1000;

impl Platform {
    /// Adds or removes units of a process; the only one if none is named.
    ///
    /// # Errors
    /// Before the first deploy, for an unknown process, and when new units do not become ready.
    pub async fn scale(
        self: &Arc<Self>,
        user: &User,
        name: &AppName,
        process: Option<&ProcessName>,
        change: Units,
        progress: &Progress,
    ) -> Result<()> {
        let kind = match change {
            Units::Add(_) => "app.update.unit.add",
            Units::Remove(_) => "app.update.unit.remove",
        };
        let operation = self.begin_on_app(user, name, kind, progress).await?;
        let outcome = self.change_units(user, name, process, change, progress).await;
        operation.end(outcome).await
    }

    async fn change_units(
        &self,
        user: &User,
        name: &AppName,
        process: Option<&ProcessName>,
        change: Units,
        progress: &Progress,
    ) -> Result<()> {
        let mut app = self.kept_app(user, name).await?;
        let process = chosen_process(&app, process)?;
        let scale = app.formation.entry(process.clone()).or_insert(crate::Scale { units: 0, stopped: false });
        match change {
            Units::Add(_) if scale.stopped => {
                return Err(Error::Precondition("Cannot add units to an app that has stopped units".to_owned()));
            }
            Units::Add(more) => {
                let before = scale.units;
                scale.units = before.saturating_add(more);
                if scale.units > MOST_UNITS {
                    return Err(Error::invalid(format!(
                        "Quota exceeded. Available: {}, Requested: {more}.",
                        MOST_UNITS.saturating_sub(before)
                    )));
                }
                progress.section(format!("Patching from {before} to {} units", scale.units));
            }
            Units::Remove(less) if less >= scale.units => {
                progress.section("Calling app stop internally as the number of units is zero");
                scale.stopped = true;
            }
            Units::Remove(less) => {
                progress.section(format!("Patching from {} to {} units", scale.units, scale.units - less));
                scale.units -= less;
            }
        }
        self.settle(&mut app, Vec::new(), progress).await
    }

    /// Starts, stops or restarts a process, or all of them if none is named.
    ///
    /// # Errors
    /// For an unknown process, and when new units do not become ready.
    pub async fn power(
        self: &Arc<Self>,
        user: &User,
        name: &AppName,
        process: Option<&ProcessName>,
        power: Power,
        progress: &Progress,
    ) -> Result<()> {
        let kind = match power {
            Power::Start => "app.update.start",
            Power::Stop => "app.update.stop",
            Power::Restart => "app.update.restart",
        };
        let operation = self.begin_on_app(user, name, kind, progress).await?;
        let outcome = self.change_power(user, name, process, power, progress).await;
        operation.end(outcome).await
    }

    async fn change_power(
        &self,
        user: &User,
        name: &AppName,
        process: Option<&ProcessName>,
        power: Power,
        progress: &Progress,
    ) -> Result<()> {
        let mut app = self.kept_app(user, name).await?;
        let what = process.map_or_else(
            || format!("the app \"{name}\""),
            |process| format!("the process \"{process}\" of the app \"{name}\""),
        );
        progress.section(match power {
            Power::Start => format!("Starting {what}"),
            Power::Stop => format!("Stopping {what}"),
            Power::Restart => format!("Restarting {what}"),
        });
        if let Some(process) = process {
            chosen_process(&app, Some(process))?;
        }
        for (name, scale) in &mut app.formation {
            if process.is_none_or(|process| process == name) {
                scale.stopped = power == Power::Stop;
            }
        }
        match power {
            Power::Restart => self.replace_units(&mut app, Vec::new(), progress).await,
            Power::Start | Power::Stop => self.settle(&mut app, Vec::new(), progress).await,
        }
    }

    /// Kills one unit; the reconciler puts another in its place.
    ///
    /// # Errors
    /// When the app has no such unit.
    pub async fn kill_unit(self: &Arc<Self>, user: &User, name: &AppName, unit: &str) -> Result<()> {
        let app = self.app(user, name).await?;
        let unit = UnitId(unit.to_owned());
        if !self.units(&app).await?.iter().any(|known| known.id == unit) {
            return Err(Error::NotFound(format!("unit \"{unit}\" not found")));
        }
        let operation = self.begin_on_app(user, name, "app.update.unit.kill", &Progress::silent()).await?;
        let outcome = self.engine.stop(&unit, self.settings.stop_grace).await;
        operation.end(outcome).await
    }

    /// Replaces all units of `app` by a new generation, then writes it down with `others`.
    pub(crate) async fn replace_units(
        &self,
        app: &mut Kept<App>,
        others: Vec<Write>,
        progress: &Progress,
    ) -> Result<()> {
        app.generation += 1;
        self.stop_leftovers(app).await?;
        self.settle(app, others, progress).await
    }

    /// Makes `app`, as it is now wanted, come true: missing units first, then the record (together
    /// with `others`: all or nothing), then the switch. If it fails, everything is as it was.
    pub(crate) async fn settle(&self, app: &mut Kept<App>, others: Vec<Write>, progress: &Progress) -> Result<()> {
        let units = self.start_wanted(app, progress).await?;
        self.records.save_with(app, others).await?;
        self.switch_to(app, &units).await;
        Ok(())
    }
}

/// The process named, or the only one.
fn chosen_process(app: &App, asked: Option<&ProcessName>) -> Result<ProcessName> {
    let Some(release) = app.current_release() else {
        return Err(Error::Precondition("units can only be modified after the first deploy".to_owned()));
    };
    match (asked, release.processes.as_slice()) {
        (Some(asked), known) if known.iter().any(|process| process.name == *asked) => Ok(asked.clone()),
        (Some(asked), known) => {
            let names: Vec<&str> = known.iter().map(|process| process.name.as_str()).collect();
            Err(Error::invalid(format!(
                "process error: \"{asked}\" is not a process of app {}, which has: {}",
                app.name,
                names.join(", ")
            )))
        }
        (None, [only]) => Ok(only.name.clone()),
        (None, _) => Err(Error::invalid("no process name specified and more than one declared in Procfile")),
    }
}
