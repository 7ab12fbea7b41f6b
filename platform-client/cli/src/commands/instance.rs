//! Service instances (contract sections 12.3 and 12.4).

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use platform_wire::{InstanceInfo, InstanceUpdate};
use serde_json::Value;

use super::{AppFlag, AssumeYes, key_value, service};
use crate::{
    client::{Api, Call},
    render::Facts,
    session::Tsuru,
    stream,
};

/// `service instance …`
#[derive(Debug, Subcommand)]
pub(crate) enum InstanceCommand {
    /// Create an instance of a service
    Add(Add),
    /// List service instances
    List(service::List),
    /// Show an instance
    Info(Info),
    /// Change an instance
    Update(Update),
    /// Remove an instance and its data
    Remove(Remove),
    /// Give an app the instance: its environment will say how to reach it
    Bind(Bind),
    /// Take the instance from an app
    Unbind(Unbind),
    /// Let a team use an instance
    Grant(Access),
    /// Let a team not use an instance any more
    Revoke(Access),
    /// Show how an instance is doing
    Status(Named),
}

impl InstanceCommand {
    pub(crate) async fn run(&self, tsuru: &Tsuru) -> Result<()> {
        match self {
            Self::Add(command) => command.run(tsuru).await,
            Self::List(command) => command.run(tsuru).await,
            Self::Info(command) => command.run(tsuru).await,
            Self::Update(command) => command.run(tsuru).await,
            Self::Remove(command) => command.run(tsuru).await,
            Self::Bind(command) => command.run(tsuru).await,
            Self::Unbind(command) => command.run(tsuru).await,
            Self::Grant(command) => command.grant(tsuru).await,
            Self::Revoke(command) => command.revoke(tsuru).await,
            Self::Status(command) => command.status(tsuru).await,
        }
    }
}

/// An instance, named by its service and itself.
#[derive(Args, Debug)]
pub(crate) struct Named {
    /// The service
    service: String,
    /// The instance
    instance: String,
}

impl Named {
    fn path(&self) -> [&str; 4] {
        ["services", &self.service, "instances", &self.instance]
    }

    pub(super) async fn status(&self, tsuru: &Tsuru) -> Result<()> {
        tsuru.screen.say(status(&tsuru.api()?, &self.service, &self.instance).await?)
    }
}

async fn status(api: &Api, service: &str, instance: &str) -> Result<String> {
    let call = Call::get("1.0", &["services", service, "instances", instance, "status"]);
    Ok(api.send(call).await?.text().await?.trim_end().to_owned())
}

/// `service instance add SERVICE INSTANCE [PLAN]`
#[derive(Args, Debug)]
pub(crate) struct Add {
    /// The service
    service: String,
    /// What to call it
    instance: Option<String>,
    /// Its plan; the service's default one, when none is given
    plan: Option<String>,
    /// Team that owns it; yours, if you have only one
    #[arg(short, long)]
    team_owner: Option<String>,
    /// What it is for
    #[arg(short, long)]
    description: Option<String>,
    /// A label (may be repeated)
    #[arg(short = 'g', long = "tag")]
    tags: Vec<String>,
    /// A parameter for the service (may be repeated)
    #[arg(long = "plan-param", value_name = "KEY=VALUE", value_parser = key_value)]
    params: Vec<(String, String)>,
    /// Pool to create it in, for services that have several clusters
    #[arg(long)]
    pool: Option<String>,
}

impl Add {
    /// The argument, when there is only one.
    pub(super) fn only_argument(&self) -> Option<&str> {
        self.instance.is_none().then_some(&self.service)
    }

    pub(super) async fn run(&self, tsuru: &Tsuru) -> Result<()> {
        let instance = self.instance.as_deref().context("the name of the instance is missing")?;
        let call = Call::post("1.0", &["services", &self.service, "instances"])
            .field("name", instance)
            .field_or_empty("plan", self.plan.as_deref())
            .field_or_empty("owner", self.team_owner.as_deref())
            .field_or_empty("description", self.description.as_deref())
            .field_or_empty("pool", self.pool.as_deref())
            .field_each("tag", &self.tags)
            .field_map("parameters", &self.params);
        tsuru.api()?.tell(call).await?;
        tsuru.screen.say(format!(
            "Service instance successfully added.\n\
             For additional information use: tsuru service instance info {} {instance}",
            self.service
        ))
    }
}

/// `service instance info SERVICE INSTANCE`
#[derive(Args, Debug)]
pub(crate) struct Info {
    #[command(flatten)]
    named: Named,
    /// JSON for programs
    #[arg(long)]
    json: bool,
}

impl Info {
    async fn run(&self, tsuru: &Tsuru) -> Result<()> {
        let api = tsuru.api()?;
        let call = Call::get("1.0", &self.named.path());
        if self.json {
            return tsuru.screen.json(&api.read::<Value>(call).await?);
        }
        let info: InstanceInfo = api.read(call).await?;
        let status = status(&api, &self.named.service, &self.named.instance).await?;
        tsuru.screen.write(&self.show(&info, &status))
    }

    /// Short information goes among the facts, long one into blocks below (contract section 17.6).
    fn show(&self, info: &InstanceInfo, status: &str) -> String {
        let (long, short): (Vec<_>, Vec<_>) = info.custom_info.iter().partition(|(_, value)| value.contains('\n'));
        let mut facts = Facts::default();
        facts.add("Service", &self.named.service);
        facts.add("Instance", &self.named.instance);
        facts.add("Apps", info.apps.join(", "));
        facts.add("Jobs", info.jobs.join(", "));
        facts.add("Pool", &info.pool);
        facts.add("Cluster", &info.cluster);
        facts.add("Teams", teams(info));
        facts.add("Description", &info.description);
        facts.add("Tags", info.tags.join(", "));
        facts.add("Plan", &info.plan_name);
        for (key, value) in short {
            facts.add(key, value);
        }
        facts.add("Status", status);
        let mut shown = facts.to_string();
        shown.push('\n');
        if !info.plan_description.is_empty() {
            shown.push_str(&block("Plan description", &info.plan_description));
        }
        if !info.parameters.is_empty() {
            let lines: Vec<_> =
                info.parameters.iter().map(|(key, value)| format!("{key} = {}", plain(value))).collect();
            shown.push_str(&block("Plan parameters", &lines.join("\n")));
        }
        for (key, value) in long {
            shown.push_str(&block(key, value));
        }
        shown
    }
}

fn block(title: &str, text: &str) -> String {
    let lines: String = text.trim_end().lines().map(|line| format!("  {line}\n")).collect();
    format!("{title}:\n{lines}\n")
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The owner first, then the others.
fn teams(info: &InstanceInfo) -> String {
    let owner = (!info.team_owner.is_empty()).then(|| format!("{} (owner)", info.team_owner));
    let others = info.teams.iter().filter(|team| **team != info.team_owner).cloned();
    owner.into_iter().chain(others).collect::<Vec<_>>().join(", ")
}

/// `service instance update SERVICE INSTANCE`
#[derive(Args, Debug)]
pub(crate) struct Update {
    #[command(flatten)]
    named: Named,
    /// Team that owns it
    #[arg(short, long)]
    team_owner: Option<String>,
    /// What it is for
    #[arg(short, long)]
    description: Option<String>,
    /// Its plan
    #[arg(short, long)]
    plan: Option<String>,
    /// Add a label (may be repeated)
    #[arg(short = 'g', long = "tag")]
    tags: Vec<String>,
    /// Take a label away (may be repeated)
    #[arg(long = "remove-tag", value_name = "TAG")]
    remove_tags: Vec<String>,
    /// Set a parameter for the service (may be repeated)
    #[arg(long = "add-param", visible_alias = "plan-param", value_name = "KEY=VALUE", value_parser = key_value)]
    params: Vec<(String, String)>,
    /// Take a parameter away (may be repeated)
    #[arg(long = "remove-param", value_name = "KEY")]
    remove_params: Vec<String>,
}

impl Update {
    async fn run(&self, tsuru: &Tsuru) -> Result<()> {
        let api = tsuru.api()?;
        let info: InstanceInfo = api.read(Call::get("1.0", &self.named.path())).await?;
        api.tell(Call::put("1.0", &self.named.path()).json(&self.apply(info))).await?;
        tsuru.screen.say("Service successfully updated.")
    }

    /// The whole instance as it should be: the platform wants it all.
    fn apply(&self, info: InstanceInfo) -> InstanceUpdate {
        let mut tags = info.tags;
        tags.retain(|tag| !self.remove_tags.contains(tag));
        tags.extend(self.tags.iter().cloned());
        tags.sort();
        tags.dedup();
        let mut parameters = info.parameters;
        parameters.retain(|key, _| !self.remove_params.contains(key));
        parameters.extend(self.params.iter().map(|(key, value)| (key.clone(), Value::String(value.clone()))));
        InstanceUpdate {
            description: self.description.clone().unwrap_or(info.description),
            teamowner: self.team_owner.clone().unwrap_or(info.team_owner),
            plan: self.plan.clone().unwrap_or(info.plan_name),
            tags,
            parameters,
        }
    }
}

/// `service instance remove SERVICE INSTANCE`
#[derive(Args, Debug)]
pub(crate) struct Remove {
    /// The service
    service: String,
    /// The instance
    instance: Option<String>,
    /// Unbind it from all apps first
    #[arg(short, long)]
    force: bool,
    /// Although the service cannot be reached or refuses
    #[arg(long)]
    ignore_errors: bool,
    #[command(flatten)]
    yes: AssumeYes,
}

impl Remove {
    /// The argument, when there is only one.
    pub(super) fn only_argument(&self) -> Option<&str> {
        self.instance.is_none().then_some(&self.service)
    }

    pub(super) fn yes(&self) -> AssumeYes {
        self.yes
    }

    pub(super) async fn run(&self, tsuru: &Tsuru) -> Result<()> {
        let instance = self.instance.as_deref().context("the name of the instance is missing")?;
        let api = tsuru.api()?;
        let question = format!("Are you sure you want to remove the instance \"{instance}\"?");
        if !tsuru.screen.confirm(self.yes.assume_yes, question)? {
            return Ok(());
        }
        let call = Call::delete("1.0", &["services", &self.service, "instances", instance])
            .query("unbindall", self.force)
            .query("ignoreerrors", self.ignore_errors);
        stream::progress(tsuru.screen, api.send(call).await?).await
    }
}

/// `service instance bind SERVICE INSTANCE -a APP`
#[derive(Args, Debug)]
pub(crate) struct Bind {
    #[command(flatten)]
    named: Named,
    #[command(flatten)]
    app: AppFlag,
    /// Leave the units as they are until the next restart
    #[arg(long)]
    no_restart: bool,
}

impl Bind {
    async fn run(&self, tsuru: &Tsuru) -> Result<()> {
        bind(tsuru, &self.named.service, &self.named.instance, self.app.name()?, self.no_restart).await
    }
}

/// Binds an instance to an app.
pub(super) async fn bind(tsuru: &Tsuru, service: &str, instance: &str, app: &str, no_restart: bool) -> Result<()> {
    let call =
        Call::put("1.13", &["services", service, "instances", instance, "apps", app]).field("noRestart", no_restart);
    stream::progress(tsuru.screen, tsuru.api()?.send(call).await?).await
}

/// `service instance unbind SERVICE INSTANCE -a APP`
#[derive(Args, Debug)]
pub(crate) struct Unbind {
    #[command(flatten)]
    named: Named,
    #[command(flatten)]
    app: AppFlag,
    #[command(flatten)]
    how: HowToUnbind,
}

/// How to take an instance from an app.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct HowToUnbind {
    /// Leave the units as they are until the next restart
    #[arg(long)]
    no_restart: bool,
    /// Although the service cannot be reached or refuses
    #[arg(long)]
    force: bool,
}

impl Unbind {
    async fn run(&self, tsuru: &Tsuru) -> Result<()> {
        unbind(tsuru, &self.named.service, &self.named.instance, self.app.name()?, self.how).await
    }
}

/// Takes an instance from an app.
pub(super) async fn unbind(tsuru: &Tsuru, service: &str, instance: &str, app: &str, how: HowToUnbind) -> Result<()> {
    let call = Call::delete("1.13", &["services", service, "instances", instance, "apps", app])
        .query("noRestart", how.no_restart)
        .query("force", how.force);
    stream::progress(tsuru.screen, tsuru.api()?.send(call).await?).await
}

/// `service instance grant|revoke SERVICE INSTANCE TEAM`
#[derive(Args, Debug)]
pub(crate) struct Access {
    #[command(flatten)]
    named: Named,
    /// The team
    team: String,
}

impl Access {
    /// The order of the segments is the wire's, not a slip (contract section 12.3).
    fn path(&self) -> [&str; 6] {
        ["services", &self.named.service, "instances", "permission", &self.named.instance, &self.team]
    }

    async fn grant(&self, tsuru: &Tsuru) -> Result<()> {
        tsuru.api()?.tell(Call::put("1.0", &self.path())).await?;
        tsuru.screen.say(format!("Granted access to team {} in {} service instance.", self.team, self.named.instance))
    }

    async fn revoke(&self, tsuru: &Tsuru) -> Result<()> {
        tsuru.api()?.tell(Call::delete("1.0", &self.path())).await?;
        tsuru.screen.say(format!("Revoked access to team {} in {} service instance.", self.team, self.named.instance))
    }
}
