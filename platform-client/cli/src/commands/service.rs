//! Services: what can be asked for, and who offers it (contract sections 12.1 and 12.2).

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::OpenOptions,
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
};

use anyhow::{Context, Result, bail};
use broker_core::Secret;
use clap::{Args, Subcommand};
use platform_wire::{ServiceInstance, ServiceListing, ServicePlan};
use reqwest::StatusCode;
use serde::Deserialize;
use serde_json::Value;

use super::{
    AssumeYes,
    instance::{self, InstanceCommand},
    short_bind,
};
use crate::{
    client::{Api, Call},
    render::Table,
    session::Tsuru,
};

/// `service …`
#[derive(Debug, Subcommand)]
pub(crate) enum ServiceCommand {
    /// List service instances
    List(List),
    /// Show a service: its instances, plans and documentation
    Info(Info),
    /// Plans of a service
    #[command(subcommand)]
    Plan(ServicePlanCommand),
    /// Instances of services
    #[command(subcommand)]
    Instance(InstanceCommand),
    /// Give an app a service: APP INSTANCE
    Bind(short_bind::Bind),
    /// Take a service from an app: APP INSTANCE
    Unbind(short_bind::Unbind),
    /// Show how an instance is doing
    #[command(hide = true)]
    Status(instance::Named),
    /// Offer a service
    Create(Manifest),
    /// Change a service that you offer
    Update(Manifest),
    /// Stop offering a service
    Destroy {
        /// Its name
        service: String,
        #[command(flatten)]
        yes: AssumeYes,
    },
    /// Write an example of a manifest
    Template,
    /// Create an instance, or (with one argument) offer a service
    #[command(hide = true)]
    Add(instance::Add),
    /// Remove an instance, or (with one argument) stop offering a service
    #[command(hide = true)]
    Remove(instance::Remove),
}

impl ServiceCommand {
    pub(crate) async fn run(&self, tsuru: &Tsuru) -> Result<()> {
        match self {
            Self::List(command) => command.run(tsuru).await,
            Self::Info(command) => command.run(tsuru).await,
            Self::Plan(ServicePlanCommand::List(command)) => command.run(tsuru).await,
            Self::Instance(command) => command.run(tsuru).await,
            Self::Bind(command) => command.run(tsuru).await,
            Self::Unbind(command) => command.run(tsuru).await,
            Self::Status(command) => command.status(tsuru).await,
            Self::Create(command) => command.create(tsuru).await,
            Self::Update(command) => command.update(tsuru).await,
            Self::Destroy { service, yes } => destroy(tsuru, service, *yes).await,
            Self::Template => template(tsuru),
            Self::Add(command) => match command.only_argument() {
                Some(file) => Manifest { file: file.to_owned() }.create(tsuru).await,
                None => command.run(tsuru).await,
            },
            Self::Remove(command) => match command.only_argument() {
                Some(service) => destroy(tsuru, service, command.yes()).await,
                None => command.run(tsuru).await,
            },
        }
    }
}

/// Services with their instances, as far as the caller may see them. Whatever goes wrong short of a lost session or
/// connection is an empty list to the stock client; here it is told.
pub(super) async fn listings(api: &Api, call: Call) -> Result<Vec<ServiceListing>> {
    api.list(call).await
}

/// `service list`
#[derive(Args, Clone, Debug)]
pub(crate) struct List {
    /// Instances of this service
    #[arg(short, long)]
    service: Option<String>,
    /// Instances whose name holds this
    #[arg(short, long)]
    name: Option<String>,
    /// Instances in this pool
    #[arg(short = 'o', long)]
    pool: Option<String>,
    /// Instances on this plan
    #[arg(short, long)]
    plan: Option<String>,
    /// Instances of this team
    #[arg(short, long)]
    team: Option<String>,
    /// Instances with this label (may be repeated)
    #[arg(short = 'g', long = "tag")]
    tags: Vec<String>,
    /// Only `service instance` lines
    #[arg(short = 'q')]
    simplified: bool,
    /// Only names of services, one per line, those without instances too
    #[arg(short = 'j', long)]
    just_services: bool,
    /// JSON for programs
    #[arg(long)]
    json: bool,
}

impl List {
    pub(super) async fn run(&self, tsuru: &Tsuru) -> Result<()> {
        let call = Call::get("1.0", &["services", "instances"])
            .query_some("pool", self.pool.as_deref())
            .query_some("plan", self.plan.as_deref())
            .query_some("teamOwner", self.team.as_deref())
            .query_each("tag", &self.tags);
        let mut services = listings(&tsuru.api()?, call).await?;
        services.retain(|listing| self.service.as_ref().is_none_or(|service| *service == listing.service));
        services.sort_by_key(|listing| listing.service.to_lowercase());
        for listing in &mut services {
            self.filter(listing);
        }
        if self.json {
            return tsuru.screen.json(&services);
        }
        if self.just_services {
            return services.iter().try_for_each(|listing| tsuru.screen.say(&listing.service));
        }
        self.show(tsuru, &services)
    }

    fn filter(&self, listing: &mut ServiceListing) {
        let wanted = |name: &str| self.name.as_ref().is_none_or(|part| name.contains(part));
        listing.instances.retain(|name| wanted(name));
        if let Some(instances) = &mut listing.service_instances {
            instances.retain(|instance| wanted(&instance.name));
            instances.retain(|instance| self.plan.as_ref().is_none_or(|plan| *plan == instance.plan_name));
            instances.retain(|instance| self.pool.as_ref().is_none_or(|pool| *pool == instance.pool));
            instances.retain(|instance| self.team.as_ref().is_none_or(|team| *team == instance.team_owner));
            instances.sort_by(|a, b| a.name.cmp(&b.name));
        }
    }

    fn show(&self, tsuru: &Tsuru, services: &[ServiceListing]) -> Result<()> {
        let instances: Vec<_> = services
            .iter()
            .flat_map(|listing| listing.service_instances.iter().flatten().map(|instance| (&listing.service, instance)))
            .collect();
        if self.simplified {
            return instances
                .iter()
                .try_for_each(|(service, instance)| tsuru.screen.say(format!("{service} {}", instance.name)));
        }
        if instances.is_empty() {
            return Ok(());
        }
        let pools = instances.iter().any(|(_, instance)| !instance.pool.is_empty());
        let mut columns = vec!["Service".to_owned(), "Instance".to_owned()];
        if pools {
            columns.push("Pool".to_owned());
        }
        let mut table = Table::with_columns(columns);
        for (service, instance) in instances {
            let mut row = vec![service.as_str(), instance.name.as_str()];
            if pools {
                row.push(&instance.pool);
            }
            table.row(row);
        }
        tsuru.screen.table(&table)
    }
}

/// `service info SERVICE`
#[derive(Args, Debug)]
pub(crate) struct Info {
    /// Its name
    service: String,
    /// Plans in this pool
    #[arg(short, long)]
    pool: Option<String>,
}

impl Info {
    async fn run(&self, tsuru: &Tsuru) -> Result<()> {
        let api = tsuru.api()?;
        let instances: Vec<ServiceInstance> = api.list(Call::get("1.0", &["services", &self.service])).await?;
        let plans = plans(&api, &self.service, self.pool.as_deref()).await?;
        let documentation = api.send(Call::get("1.0", &["services", &self.service, "doc"])).await?.text().await?;

        let pool = self.pool.as_ref().map(|pool| format!(" in pool \"{pool}\"")).unwrap_or_default();
        let mut shown = format!("Info for \"{}\"{pool}\n", self.service);
        if !instances.is_empty() {
            shown.push_str(&format!("\nInstances\n{}\n", instance_table(&instances).render(tsuru.screen)));
        }
        if !plans.is_empty() {
            shown.push_str(&format!("\nPlans\n{}\n", plan_table(&plans).render(tsuru.screen)));
        }
        if !documentation.trim().is_empty() {
            shown.push_str(&format!("\nDocumentation:\n{}\n", documentation.trim_end()));
        }
        tsuru.screen.write(&shown)
    }
}

fn instance_table(instances: &[ServiceInstance]) -> Table {
    let extra: BTreeSet<&String> = instances.iter().flat_map(|instance| instance.info.keys()).collect();
    let has_plans = instances.iter().any(|instance| !instance.plan_name.is_empty());
    let has_pools = instances.iter().any(|instance| !instance.pool.is_empty());
    let optional = |shown: bool, text: &str| shown.then(|| text.to_owned());
    let columns = [
        Some("Instances".to_owned()),
        optional(has_plans, "Plan"),
        optional(has_pools, "Pool"),
        Some("Apps".to_owned()),
        Some("Jobs".to_owned()),
    ];
    let mut table =
        Table::with_columns(columns.into_iter().flatten().chain(extra.iter().map(ToString::to_string)).collect());
    for instance in instances {
        let cells = [
            Some(instance.name.clone()),
            optional(has_plans, &instance.plan_name),
            optional(has_pools, &instance.pool),
            Some(instance.apps.join("\n")),
            Some(instance.jobs.join("\n")),
        ];
        let info = extra.iter().map(|key| instance.info.get(*key).cloned().unwrap_or_default());
        table.row(cells.into_iter().flatten().chain(info));
    }
    table
}

async fn plans(api: &Api, service: &str, pool: Option<&str>) -> Result<Vec<ServicePlan>> {
    let mut plans: Vec<ServicePlan> =
        api.list(Call::get("1.0", &["services", service, "plans"]).query_some("pool", pool)).await?;
    plans.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(plans)
}

fn plan_table(plans: &[ServicePlan]) -> Table {
    let mut table = Table::new(["Name", "Description"]);
    for plan in plans {
        table.row([plan.name.as_str(), plan.description.as_str()]);
    }
    table
}

/// `service plan …`
#[derive(Debug, Subcommand)]
pub(crate) enum ServicePlanCommand {
    /// List plans of a service
    List(PlanList),
}

/// `service plan list SERVICE`
#[derive(Args, Debug)]
pub(crate) struct PlanList {
    /// The service
    service: String,
    /// Plans in this pool
    #[arg(short, long)]
    pool: Option<String>,
}

impl PlanList {
    async fn run(&self, tsuru: &Tsuru) -> Result<()> {
        let plans = plans(&tsuru.api()?, &self.service, self.pool.as_deref()).await?;
        tsuru.screen.say(format!("Plans for \"{}\"", self.service))?;
        tsuru.screen.table(&plan_table(&plans))
    }
}

/// `service create FILE`, `service update FILE`
#[derive(Args, Debug)]
pub(crate) struct Manifest {
    /// The manifest, in YAML; - for standard input
    file: String,
}

/// A service's manifest, as its author writes it (service contract, section 7.1).
#[derive(Deserialize)]
struct ManifestFile {
    #[serde(default)]
    id: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: Value,
    #[serde(default)]
    team: String,
    #[serde(default)]
    endpoint: BTreeMap<String, String>,
    #[serde(default, rename = "multi-cluster")]
    multi_cluster: bool,
}

impl Manifest {
    fn read(&self) -> Result<ManifestFile> {
        let mut text = String::new();
        if self.file == "-" {
            io::stdin().lock().read_to_string(&mut text).context("cannot read the manifest from standard input")?;
        } else {
            text = std::fs::read_to_string(&self.file).with_context(|| format!("cannot read {}", self.file))?;
        }
        // The reason may quote the text, and the text holds a password.
        let manifest: ManifestFile = serde_norway::from_str(&text).map_err(|error| {
            let place = error.location().map(|at| format!(" (line {})", at.line())).unwrap_or_default();
            anyhow::anyhow!("{} is not a manifest{place}: see `tsuru service template`", self.file)
        })?;
        if manifest.id.is_empty() {
            bail!("the manifest names no service: set `id`");
        }
        Ok(manifest)
    }

    async fn create(&self, tsuru: &Tsuru) -> Result<()> {
        let manifest = self.read()?;
        tsuru.api()?.tell(manifest.fields(Call::post("1.0", &["services"]))).await?;
        tsuru.screen.say("Service successfully created")
    }

    async fn update(&self, tsuru: &Tsuru) -> Result<()> {
        let manifest = self.read()?;
        let answer = tsuru.api()?.send(manifest.fields(Call::put("1.0", &["services", &manifest.id]))).await?;
        if answer.status() == StatusCode::OK { tsuru.screen.say("Service successfully updated.") } else { Ok(()) }
    }
}

impl ManifestFile {
    fn fields(&self, call: Call) -> Call {
        // A password of digits only is a number to YAML.
        let password = match &self.password {
            Value::String(password) => password.clone(),
            Value::Number(number) => number.to_string(),
            _ => String::new(),
        };
        call.field("id", &self.id)
            .field("username", &self.username)
            .field("password", password)
            .field("team", &self.team)
            .field("endpoint", self.endpoint.get("production").map(String::as_str).unwrap_or_default())
            .field("multi-cluster", self.multi_cluster)
    }
}

async fn destroy(tsuru: &Tsuru, service: &str, yes: AssumeYes) -> Result<()> {
    let api = tsuru.api()?;
    let question =
        format!("Are you sure you want to remove the service \"{service}\"? This will remove it from tsuru.");
    if !tsuru.screen.confirm(yes.assume_yes, question)? {
        return Ok(());
    }
    api.tell(Call::delete("1.0", &["services", service])).await?;
    tsuru.screen.say("Service successfully removed.")
}

fn template(tsuru: &Tsuru) -> Result<()> {
    let password = Secret::generate();
    let text = format!(
        "id: servicename\nusername: servicename\npassword: {}\nteam: team-that-offers-it\n\
         endpoint:\n  production: http://broker.example.com\n# multi-cluster: false\n",
        password.expose()
    );
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open("manifest.yaml")
        .context("cannot create manifest.yaml")?;
    file.write_all(text.as_bytes()).context("cannot write manifest.yaml")?;
    tsuru.screen.say("Generated file \"manifest.yaml\" in current directory")
}
