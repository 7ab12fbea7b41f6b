//! What units write, and commands that run in them.

use std::sync::Arc;

use broker_core::AppName;
use futures::stream::BoxStream;

use crate::{Error, Platform, Progress, Result, Target, TargetType, UnitId, UnitState, User, ports::LogLine};

/// Where a command runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunWhere {
    /// In every unit, one after the other.
    Everywhere,
    /// In one unit.
    Once,
    /// In a fresh unit that is removed afterwards.
    Isolated,
}

impl Platform {
    /// An app's last lines, and with `follow` what comes after.
    ///
    /// # Errors
    /// When the app is unknown, or the engine does not answer.
    pub async fn logs(
        &self,
        user: &User,
        name: &AppName,
        lines: usize,
        follow: bool,
    ) -> Result<BoxStream<'static, LogLine>> {
        self.app(user, name).await?;
        self.engine.logs(name, lines, follow).await
    }

    /// Runs a command with an app's code and environment.
    ///
    /// # Errors
    /// When there is no unit to run it in, or it exits with another status than 0.
    pub async fn run(
        self: &Arc<Self>,
        user: &User,
        name: &AppName,
        command: &str,
        place: RunWhere,
        progress: &Progress,
    ) -> Result<()> {
        if command.trim().is_empty() {
            return Err(Error::invalid("You must provide the command to run"));
        }
        let app = self.app(user, name).await?;
        if place == RunWhere::Isolated {
            return self.run_isolated(&app, command, progress).await;
        }
        let mut units: Vec<UnitId> = self
            .units(&app)
            .await?
            .into_iter()
            .filter(|unit| unit.state == UnitState::Started)
            .map(|unit| unit.id)
            .collect();
        if place == RunWhere::Once {
            units.truncate(1);
        }
        if units.is_empty() {
            return Err(Error::Precondition("App must be available to run non-isolated commands".to_owned()));
        }
        for unit in units {
            exited(self.engine.run_in(&unit, command, progress).await?)?;
        }
        Ok(())
    }

    async fn run_isolated(self: &Arc<Self>, app: &crate::App, command: &str, progress: &Progress) -> Result<()> {
        let release = app
            .current_release()
            .ok_or_else(|| Error::Precondition("App must be available to run non-isolated commands".to_owned()))?;
        let main =
            release.main_process().ok_or_else(|| Error::Precondition(format!("app {} has no process", app.name)))?;
        let plan = self.plan_of(app).await?;
        let id = UnitId(format!("{}.run.{:08x}", app.name, rand::random::<u32>()));
        let mut spec = app.unit_spec(release, main, id, &plan, &self.settings.api_url);
        spec.command = vec![
            "/bin/sh".to_owned(),
            "-lc".to_owned(),
            format!("[ -d {dir} ] && cd {dir}; {command}", dir = crate::APP_DIR),
        ];
        exited(self.engine.run_once(&spec, progress).await?)
    }

    /// Records that a command was run, so that it shows among the app's events.
    ///
    /// # Errors
    /// When the app is unknown, and whatever [`Platform::run`] says.
    pub async fn run_audited(
        self: &Arc<Self>,
        user: &User,
        name: &AppName,
        command: &str,
        place: RunWhere,
        progress: &Progress,
    ) -> Result<()> {
        self.app(user, name).await?;
        // The app is not locked: a command may take hours.
        let target = Target::new(TargetType::App, name);
        let operation = self.begin_beside(user, "app.run", target, progress).await?;
        let outcome = self.run(user, name, command, place, progress).await;
        operation.end(outcome).await
    }
}

fn exited(status: i64) -> Result<()> {
    if status == 0 { Ok(()) } else { Err(Error::Precondition(format!("the command exited with status {status}"))) }
}
