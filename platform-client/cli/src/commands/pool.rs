//! Where units run (contract section 6.3).

use anyhow::Result;
use clap::{ArgAction, Args, Subcommand};
use platform_wire::Pool;
use serde_json::{Map, Value, json};

use super::{AssumeYes, key_value};
use crate::{
    client::Call,
    render::{Facts, Table},
    session::Tsuru,
};

/// `pool …`
#[derive(Debug, Subcommand)]
pub(crate) enum PoolCommand {
    /// List pools
    List(List),
    /// Show a pool
    Info {
        /// Its name
        pool: String,
        /// JSON for programs
        #[arg(long)]
        json: bool,
    },
    /// Add a pool
    Add(Add),
    /// Change a pool
    Update(Update),
    /// Remove a pool
    Remove {
        /// Its name
        pool: String,
        #[command(flatten)]
        yes: AssumeYes,
    },
}

impl PoolCommand {
    pub(crate) async fn run(&self, tsuru: &Tsuru) -> Result<()> {
        match self {
            Self::List(command) => command.run(tsuru).await,
            Self::Info { pool, json } => info(tsuru, pool, *json).await,
            Self::Add(command) => command.run(tsuru).await,
            Self::Update(command) => command.run(tsuru).await,
            Self::Remove { pool, yes } => remove(tsuru, pool, *yes).await,
        }
    }
}

/// `pool list`
#[derive(Args, Debug)]
pub(crate) struct List {
    /// Pools whose name holds this
    #[arg(short, long)]
    name: Option<String>,
    /// Pools of this team
    #[arg(short, long)]
    team: Option<String>,
    /// Only names
    #[arg(short = 'q')]
    simplified: bool,
    /// JSON for programs
    #[arg(long)]
    json: bool,
}

impl List {
    async fn run(&self, tsuru: &Tsuru) -> Result<()> {
        let mut pools: Vec<Pool> = tsuru.api()?.list(Call::get("1.0", &["pools"])).await?;
        pools.retain(|pool| self.name.as_ref().is_none_or(|name| pool.name.contains(name)));
        pools.retain(|pool| self.team.as_ref().is_none_or(|team| pool.teams.contains(team)));
        pools.sort_by(|a, b| (kind(a), &a.name).cmp(&(kind(b), &b.name)));
        if self.json {
            return tsuru.screen.json(&pools);
        }
        if self.simplified {
            return pools.iter().try_for_each(|pool| tsuru.screen.say(&pool.name));
        }
        let mut table = Table::new(["Pool", "Kind", "Provisioner", "Teams", "Routers"]).ruled();
        for pool in &pools {
            let teams = if pool.public || pool.default { String::new() } else { pool.teams.join("\n") };
            let routers = pool.allowed.get("router").map(|routers| routers.join("\n")).unwrap_or_default();
            table.row([pool.name.clone(), kind(pool).to_owned(), provisioner(pool), teams, routers]);
        }
        tsuru.screen.table(&table)
    }
}

fn kind(pool: &Pool) -> &'static str {
    match pool {
        Pool { public: true, .. } => "public",
        Pool { default: true, .. } => "default",
        _ => "",
    }
}

fn provisioner(pool: &Pool) -> String {
    if pool.provisioner.is_empty() { "default".to_owned() } else { pool.provisioner.clone() }
}

async fn info(tsuru: &Tsuru, name: &str, json: bool) -> Result<()> {
    let call = Call::get("", &["pools", name]);
    let api = tsuru.api()?;
    if json {
        return tsuru.screen.json(&api.read::<Value>(call).await?);
    }
    let pool: Pool = api.read(call).await?;
    let mut facts = Facts::default();
    facts.add("Name", &pool.name);
    facts.add("Provisioner", provisioner(&pool));
    facts.add("Default", pool.default.to_string());
    facts.add("Public", pool.public.to_string());
    facts.add("Teams", pool.teams.join(", "));
    let mut shown = facts.to_string();
    if !pool.labels.is_empty() {
        let mut table = Table::new(["Name", "Value"]);
        pool.labels.iter().for_each(|(name, value)| table.row([name, value]));
        shown.push_str(&format!("\nLabels:\n{}\n", table.render(tsuru.screen)));
    }
    if !pool.allowed.is_empty() {
        let mut table = Table::new(["Kind", "Values"]);
        pool.allowed.iter().for_each(|(kind, values)| table.row([kind.clone(), values.join("\n")]));
        shown.push_str(&format!("\nAllowed:\n{}\n", table.render(tsuru.screen)));
    }
    tsuru.screen.write(&shown)
}

/// `pool add POOL`
#[derive(Args, Debug)]
pub(crate) struct Add {
    /// Its name
    pool: String,
    /// Every team may use it
    #[arg(short, long)]
    public: bool,
    /// Apps get it that ask for none
    #[arg(short, long)]
    default: bool,
    /// Although another one is the default
    #[arg(short, long)]
    force: bool,
    /// Engine that runs its units
    #[arg(long)]
    provisioner: Option<String>,
    /// A label for the engine (may be repeated)
    #[arg(long = "labels", value_name = "KEY=VALUE", value_parser = key_value)]
    labels: Vec<(String, String)>,
}

impl Add {
    async fn run(&self, tsuru: &Tsuru) -> Result<()> {
        let labels: Map<_, _> = self.labels.iter().cloned().map(|(key, value)| (key, Value::String(value))).collect();
        let body = json!({
            "name": self.pool,
            "public": self.public,
            "default": self.default,
            "force": self.force,
            "provisioner": self.provisioner.as_deref().unwrap_or_default(),
            "labels": labels,
        });
        tsuru.api()?.tell(Call::post("1.0", &["pools"]).json(&body)).await?;
        tsuru.screen.say("Pool successfully registered.")
    }
}

/// `pool update POOL`
#[derive(Args, Debug)]
pub(crate) struct Update {
    /// Its name
    pool: String,
    /// Whether every team may use it
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    public: Option<bool>,
    /// Whether apps get it that ask for none
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    default: Option<bool>,
    /// Although another one is the default
    #[arg(short, long)]
    force: bool,
}

impl Update {
    async fn run(&self, tsuru: &Tsuru) -> Result<()> {
        let mut body = Map::new();
        let flags = [("public", self.public), ("default", self.default), ("force", self.force.then_some(true))];
        for (name, value) in flags {
            if let Some(value) = value {
                body.insert(name.to_owned(), value.into());
            }
        }
        tsuru.api()?.tell(Call::put("1.0", &["pools", &self.pool]).json(&body)).await?;
        tsuru.screen.say("Pool successfully updated.")
    }
}

async fn remove(tsuru: &Tsuru, pool: &str, yes: AssumeYes) -> Result<()> {
    let api = tsuru.api()?;
    if !tsuru.screen.confirm(yes.assume_yes, format!("Are you sure you want to remove \"{pool}\" pool?"))? {
        return Ok(());
    }
    api.tell(Call::delete("1.0", &["pools", pool])).await?;
    tsuru.screen.say("Pool successfully removed.")
}
