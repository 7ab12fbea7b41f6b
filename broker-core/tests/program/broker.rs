//! The broker that the tests run: it has a secret setting, a plan with a schema, and fails when told to.

use std::{process::ExitCode, sync::Arc};

use async_trait::async_trait;
use broker_core::{
    Binding, Broker, BrokerError, Catalog, EnvVars, Health, Instance, Notes, Plan, Result, Routes, Secret, Tenant,
    axum::{
        extract::{Path, State},
        routing::get,
    },
    cli::{About, Cli, Findings, Records},
};
use serde_json::json;

const ABOUT: About = About::new("fake", "1.2.3", "Hands out nothing.");

#[derive(Debug, clap::Args)]
struct Config {
    /// What opens the server
    #[arg(long, env = "FAKE_TOKEN", hide_env_values = true)]
    token: Option<Secret>,
    /// How many servers there are
    #[arg(long, env = "FAKE_SERVERS", default_value_t = 1)]
    servers: u16,
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
        .check(async |config: &Config, findings: &mut Findings| match config.servers {
            0 => findings.problem("servers", "there are none, set --servers to at least 1"),
            number => findings.found("servers", number),
        })
        .commands(async |Commands::Count { records }| {
            println!("{}", records.inspect(ABOUT).await?.instances(None, 100).await?.len());
            Ok(())
        });
    let cli = if std::env::var_os(HAS_NO_DOCTOR).is_some() { cli } else { cli.doctor(look) };
    cli.run(async |config: Config| Ok(Fake { token: config.token.unwrap_or_else(Secret::generate) })).await
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
        Catalog::new("fake".parse().expect("a valid name")).plan(Plan::new("small", "a small one").schema(schema))
    }

    async fn provision(&self, instance: &Instance) -> Result<Notes> {
        match instance.parameters.get("fail") {
            Some(_) => Err(BrokerError::failed("the server refused")),
            None => Ok(Notes::from_iter([("pin".to_owned(), json!(self.token))])),
        }
    }

    async fn status(&self, instance: &Instance) -> Result<Health> {
        panic!("{} does not open it", instance.secret.expose())
    }

    async fn bind(&self, instance: &Instance, binding: &Binding) -> Result<EnvVars> {
        Ok(EnvVars::default()
            .with("FAKE_PASSWORD", binding.secret.clone())
            .with("FAKE_OWNER", instance.secret.clone())
            .with("FAKE_TOKEN", self.token.clone()))
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
