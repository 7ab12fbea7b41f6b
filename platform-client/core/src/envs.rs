//! Setting and unsetting variables.

use std::sync::Arc;

use broker_core::{AppName, EnvName};

use crate::{App, Error, OwnVar, Platform, Progress, RESERVED, Result, User, records::Kept};

impl Platform {
    /// Sets variables: all of them or none. Units are replaced unless `no_restart`.
    ///
    /// # Errors
    /// When a name is the platform's or a binding's own, or units do not become ready with them.
    pub async fn set_env(
        self: &Arc<Self>,
        user: &User,
        name: &AppName,
        vars: Vec<(EnvName, OwnVar)>,
        no_restart: bool,
        progress: &Progress,
    ) -> Result<()> {
        if vars.is_empty() {
            return Err(Error::invalid("You must provide the list of environment variables"));
        }
        if let Some((reserved, _)) = vars.iter().find(|(var, _)| RESERVED.contains(&var.as_str())) {
            return Err(Error::invalid(format!(
                "cannot change an environment variable that tsuru manages: {reserved}"
            )));
        }
        let operation = self.begin_on_app(user, name, "app.update.env.set", progress).await?;
        let outcome = self.insert_env(user, name, vars, no_restart, progress).await;
        operation.end(outcome).await
    }

    async fn insert_env(
        &self,
        user: &User,
        name: &AppName,
        vars: Vec<(EnvName, OwnVar)>,
        no_restart: bool,
        progress: &Progress,
    ) -> Result<()> {
        let mut app = self.kept_app(user, name).await?;
        for (var, _) in &vars {
            if let Some(owner) = app.service_env.iter().find(|bound| bound.name == *var) {
                return Err(Error::invalid(format!(
                    "Environment variable \"{var}\" is already in use by service bind \"{}/{}\"",
                    owner.service, owner.instance
                )));
            }
        }
        progress.section(format!("Setting {} new environment variables", vars.len()));
        app.env.extend(vars);
        self.apply_env(&mut app, no_restart, progress).await
    }

    /// Unsets variables; unknown ones are no error. Units are replaced unless `no_restart`.
    ///
    /// # Errors
    /// When units do not become ready without them.
    pub async fn unset_env(
        self: &Arc<Self>,
        user: &User,
        name: &AppName,
        vars: Vec<EnvName>,
        no_restart: bool,
        progress: &Progress,
    ) -> Result<()> {
        if vars.is_empty() {
            return Err(Error::invalid("You must provide the list of environment variables."));
        }
        let operation = self.begin_on_app(user, name, "app.update.env.unset", progress).await?;
        let outcome = self.delete_env(user, name, &vars, no_restart, progress).await;
        operation.end(outcome).await
    }

    async fn delete_env(
        &self,
        user: &User,
        name: &AppName,
        vars: &[EnvName],
        no_restart: bool,
        progress: &Progress,
    ) -> Result<()> {
        let mut app = self.kept_app(user, name).await?;
        progress.section(format!("Unsetting {} environment variables", vars.len()));
        let before = app.env.len();
        app.env.retain(|known, _| !vars.contains(known));
        let unchanged = app.env.len() == before;
        self.apply_env(&mut app, no_restart || unchanged, progress).await
    }

    async fn apply_env(&self, app: &mut Kept<App>, no_restart: bool, progress: &Progress) -> Result<()> {
        if no_restart || app.wanted_units() == 0 {
            return self.records.save(app).await;
        }
        progress.section(format!("Restarting the app \"{}\"", app.name));
        self.replace_units(app, Vec::new(), progress).await
    }
}
