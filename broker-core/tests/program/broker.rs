//! The broker that the tests run: it has a secret setting, a plan with a schema, and fails when told to.

use std::{path::PathBuf, process::ExitCode, sync::Arc};

use async_trait::async_trait;
use broker_core::{
    Access, Attempt, Authorizer, Binding, Broker, BrokerError, Catalog, Credential, EnvVars, Health, Instance, Notes,
    Plan, Result, Routes, Secret, Tenant, Update,
    axum::{
        extract::{Path, State},
        routing::get,
    },
    cli::{About, Cli, Findings, Records},
};
use serde_json::json;

use crate::server::Server;

const ABOUT: About = About::new("fake", "1.2.3", "Hands out nothing.");

#[derive(Debug, clap::Args)]
struct Config {
    /// What opens the server
    #[arg(long, env = "FAKE_TOKEN", hide_env_values = true)]
    token: Option<Secret>,
    /// How many servers there are
    #[arg(long, env = "FAKE_SERVERS", default_value_t = 1)]
    servers: u16,
    /// Token of the machines
    #[arg(long, env = "FAKE_MACHINES", hide_env_values = true)]
    machines: Option<Secret>,
    /// Folder of the server, which replicas share; without one there is no server
    #[arg(long, env = "FAKE_SERVER_FOLDER")]
    server_folder: Option<PathBuf>,
}

#[derive(Debug, clap::Subcommand)]
enum Commands {
    /// Count the instances
    Count {
        #[command(flatten)]
        records: Records,
    },
}

/// A broker whose author thought of no doctor.
pub(crate) const HAS_NO_DOCTOR: &str = "FAKE_HAS_NO_DOCTOR";

pub(crate) async fn run() -> ExitCode {
    let cli = Cli::<Config>::new(ABOUT)
        .authorize(|config: &Config| match &config.machines {
            Some(token) if token.expose().is_empty() => anyhow::bail!("--machines is empty, give the machines a token"),
            token => Ok(Machines(token.clone())),
        })
        .check(async |config: &Config, findings: &mut Findings| match config.servers {
            0 => findings.problem("servers", "there are none, set --servers to at least 1"),
            number => findings.found("servers", number),
        })
        .commands(async |Commands::Count { records }| {
            println!("{}", records.inspect(ABOUT).await?.instances(None, 100).await?.len());
            Ok(())
        });
    let cli = if std::env::var_os(HAS_NO_DOCTOR).is_some() { cli } else { cli.doctor(look) };
    cli.run(async |config: Config| {
        let server = config.server_folder.as_deref().map(Server::at).transpose()?;
        Ok(Fake { token: config.token.unwrap_or_else(Secret::generate), server })
    })
    .await
}

/// Knows the machines by their token, and is afraid of others.
struct Machines(Option<Secret>);

#[async_trait]
impl Authorizer for Machines {
    async fn authorize(&self, attempt: &Attempt) -> Result<Access> {
        match attempt.credential() {
            Some(Credential::Bearer(token)) if Some(token) == self.0.as_ref() => {
                Ok(Access::Granted("machines".to_owned()))
            }
            Some(Credential::Bearer(token)) if token.expose().contains("wrong") => {
                panic!("who has {}?", token.expose())
            }
            _ => Ok(Access::NotMine),
        }
    }
}

async fn look(config: &Config, findings: &mut Findings) {
    match config.servers {
        0..8 => findings.found("rooms", "enough"),
        8..64 => findings.warning("rooms", "they will be full\nsoon, rent more"),
        _ => findings.problem("rooms", "there are not so many, set --servers to less than 64"),
    }
}

struct Fake {
    token: Secret,
    server: Option<Server>,
}

#[async_trait]
impl Broker for Fake {
    fn catalog(&self) -> Catalog {
        let schema = json!({
            "type": "object",
            "properties": {
                "pin": { "type": "string" }, "memory": { "type": "integer" }, "fail": { "type": "boolean" },
            },
            "additionalProperties": false,
        });
        Catalog::new("fake".parse().expect("a valid name"))
            .plan(Plan::new("small", "a small one").schema(schema))
            .plan(Plan::new("large", "a large one"))
    }

    async fn provision(&self, instance: &Instance) -> Result<Notes> {
        if let Some(server) = &self.server {
            server.make("provision", instance, &instance.plan).await.map_err(BrokerError::failed)?;
        }
        match instance.parameters.get("fail") {
            Some(_) => Err(BrokerError::failed("the server refused")),
            None => Ok(Notes::from_iter([("pin".to_owned(), json!(self.token))])),
        }
    }

    async fn status(&self, instance: &Instance) -> Result<Health> {
        if let Some(server) = &self.server {
            let is_up = server.is_up(instance);
            return Ok(if is_up { Health::Up } else { Health::Down("it is not there".to_owned()) });
        }
        panic!("{} does not open it", instance.secret.expose())
    }

    async fn bind(&self, instance: &Instance, binding: &Binding) -> Result<EnvVars> {
        if let Some(server) = &self.server {
            server.open(instance, binding).await.map_err(BrokerError::failed)?;
        }
        Ok(EnvVars::default()
            .with("FAKE_PASSWORD", binding.secret.clone())
            .with("FAKE_OWNER", instance.secret.clone())
            .with("FAKE_TOKEN", self.token.clone()))
    }

    async fn unbind(&self, instance: &Instance, binding: &Binding) -> Result<()> {
        match &self.server {
            Some(server) => server.close(instance, binding).await.map_err(BrokerError::failed),
            None => Ok(()),
        }
    }

    async fn update(&self, instance: &Instance, to: &Update) -> Result<Notes> {
        if let Some(server) = &self.server {
            server.make("update", instance, &to.plan).await.map_err(BrokerError::failed)?;
        }
        Ok(instance.notes.clone())
    }

    async fn deprovision(&self, instance: &Instance) -> Result<()> {
        match &self.server {
            Some(server) => server.remove(instance).await.map_err(BrokerError::failed),
            None => Ok(()),
        }
    }

    fn routes(self: Arc<Self>) -> Routes {
        Routes::new().instance("/leak/{how}", get(leak).post(leak).with_state(self))
    }
}

/// Says all that it knows, in one way or another.
async fn leak(State(fake): State<Arc<Fake>>, tenant: Tenant, Path(how): Path<String>) -> Result<String> {
    let of_bindings = tenant.bindings.iter().map(|binding| &binding.secret);
    let known: Vec<&str> = of_bindings.chain([&tenant.instance.secret, &fake.token]).map(Secret::expose).collect();
    match how.as_str() {
        "cause" => Err(BrokerError::failed(std::io::Error::other(known.join(" ")))),
        "sentence" => Err(BrokerError::bad_request(known.join(" "))),
        _ => panic!("{known:?}"),
    }
}
