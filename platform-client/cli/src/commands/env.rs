//! Environment variables (contract section 10).

use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use platform_wire::EnvVar;
use serde_json::Value;

use super::AppFlag;
use crate::{client::Call, session::Tsuru, stream};

/// Parts of names whose values should not be public.
const SECRET_NAMES: &[&str] = &["PASSWORD", "PASSWD", "SECRET", "TOKEN", "API_KEY", "PRIVATE_KEY", "CREDENTIAL"];

/// `env …`
#[derive(Debug, Subcommand)]
pub(crate) enum EnvCommand {
    /// Show variables of an app
    Get(Get),
    /// Set variables of an app
    Set(Set),
    /// Take variables from an app
    Unset(Unset),
}

impl EnvCommand {
    pub(crate) async fn run(&self, tsuru: &Tsuru) -> Result<()> {
        match self {
            Self::Get(command) => command.run(tsuru).await,
            Self::Set(command) => command.run(tsuru).await,
            Self::Unset(command) => command.run(tsuru).await,
        }
    }
}

/// `env get [NAME…]`
#[derive(Args, Debug)]
pub(crate) struct Get {
    /// Only these
    names: Vec<String>,
    #[command(flatten)]
    app: AppFlag,
    /// JSON for programs, private values included
    #[arg(long)]
    json: bool,
}

impl Get {
    async fn run(&self, tsuru: &Tsuru) -> Result<()> {
        let call = Call::get("1.0", &["apps", self.app.name()?, "env"]).query_each("env", &self.names);
        let api = tsuru.api()?;
        if self.json {
            return tsuru.screen.json(&api.list::<Value>(call).await?);
        }
        let mut lines: Vec<_> = api.list::<EnvVar>(call).await?.iter().map(line).collect();
        lines.sort();
        lines.iter().try_for_each(|line| tsuru.screen.say(line))
    }
}

/// A variable as a line; the value of a private one is not for the screen.
fn line(var: &EnvVar) -> String {
    let (value, mut notes) = if var.public { (var.value.as_str(), vec![]) } else { ("***", vec!["private variable"]) };
    let manager = format!("managed by {}", var.managed_by);
    if !var.managed_by.is_empty() {
        notes.push(&manager);
    }
    let notes = if notes.is_empty() { String::new() } else { format!(" ({})", notes.join(" ")) };
    format!("{}={value}{notes}", var.name)
}

/// `env set NAME=value…`
#[derive(Args, Debug)]
pub(crate) struct Set {
    /// Variables
    #[arg(required = true, value_name = "NAME=VALUE")]
    vars: Vec<String>,
    #[command(flatten)]
    app: AppFlag,
    /// Don't show the values to anybody
    #[arg(short, long)]
    private: bool,
    /// Leave the units as they are until the next restart
    #[arg(long)]
    no_restart: bool,
}

impl Set {
    async fn run(&self, tsuru: &Tsuru) -> Result<()> {
        let app = self.app.name()?;
        let vars = self.vars.iter().map(|var| parse(var)).collect::<Result<Vec<_>>>()?;
        if !self.private {
            warn_of_secrets(&vars);
        }
        let flag = |set: bool| if set { "true" } else { "" };
        let mut call = Call::post("1.0", &["apps", app, "env"]);
        for (index, (name, value)) in vars.iter().enumerate() {
            let key = |field: &str| format!("Envs.{index}.{field}");
            call = call
                .field(key("Alias"), "")
                .field(key("ManagedBy"), "")
                .field(key("Name"), name)
                .field(key("Private"), "")
                .field(key("Value"), value);
        }
        let call = call
            .field("ManagedBy", "")
            .field("NoRestart", flag(self.no_restart))
            .field("Private", flag(self.private))
            .field("PruneUnused", "");
        stream::progress(tsuru.screen, tsuru.api()?.send(call).await?).await
    }
}

/// A name and a value. The message does not repeat the text: it may be a secret.
fn parse(var: &str) -> Result<(&str, &str)> {
    match var.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name, value)),
        _ => bail!("environment variables must be in the form NAME=value: quote values that hold spaces"),
    }
}

fn warn_of_secrets(vars: &[(&str, &str)]) {
    for (name, _) in vars {
        let upper = name.to_uppercase();
        if SECRET_NAMES.iter().any(|part| upper.contains(part)) {
            eprintln!("Warning: {name} looks like a secret; set it with -p/--private to keep its value from view.");
        }
    }
}

/// `env unset NAME…`
#[derive(Args, Debug)]
pub(crate) struct Unset {
    /// Variables
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    #[command(flatten)]
    app: AppFlag,
    /// Leave the units as they are until the next restart
    #[arg(long)]
    no_restart: bool,
}

impl Unset {
    async fn run(&self, tsuru: &Tsuru) -> Result<()> {
        let call = Call::delete("1.0", &["apps", self.app.name()?, "env"])
            .query_each("env", &self.names)
            .query("noRestart", self.no_restart);
        stream::progress(tsuru.screen, tsuru.api()?.send(call).await?).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test] // contract section 10.1
    fn private_and_managed_variables_say_so() {
        let var = |public, managed_by: &str| EnvVar {
            name: "A".into(),
            value: "1".into(),
            public,
            managed_by: managed_by.into(),
            ..EnvVar::default()
        };
        assert_eq!(line(&var(true, "")), "A=1");
        assert_eq!(line(&var(false, "")), "A=*** (private variable)");
        assert_eq!(line(&var(true, "tsuru")), "A=1 (managed by tsuru)");
        assert_eq!(line(&var(false, "mysql/db")), "A=*** (private variable managed by mysql/db)");
    }
}
