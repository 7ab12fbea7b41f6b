//! What the framework asks, as JSON for an executable, and the executable's answer in the framework's words.

use std::time::Duration;

use async_trait::async_trait;
use broker_core::{
    Binding, Broker, BrokerError, Catalog, EnvName, EnvVars, Health, InfoItem, Instance, Notes, Result, Tenant, Update,
};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    catalog::Service,
    hidden::Hidden,
    run::{Ended, run},
};

/// How long a question may take: the platform shows the answer to somebody who waits.
const ASK_WITHIN: Duration = Duration::from_secs(10);
/// How much of a sentence for the user is shown.
const LONGEST_SENTENCE: usize = 500;

/// What the operator can set.
#[derive(Debug, clap::Args)]
pub struct Config {
    /// How many seconds an operation may take before all its processes are killed
    #[arg(long, env = "COMMAND_TIMEOUT", value_name = "SECONDS", default_value_t = 240)]
    pub operation_timeout: u64,
}

/// Hands out what executables make.
#[derive(Debug)]
pub struct CommandBroker {
    service: Service,
    within: Duration,
}

/// What an executable is told.
#[derive(Serialize)]
struct Call<'a> {
    operation: &'a str,
    instance: &'a Instance,
    #[serde(skip_serializing_if = "Option::is_none")]
    binding: Option<&'a Binding>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<&'a Update>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bindings: Option<&'a [Binding]>,
}

impl<'a> Call<'a> {
    fn new(operation: &'a str, instance: &'a Instance) -> Self {
        Self { operation, instance, binding: None, to: None, bindings: None }
    }

    /// All that may be secret in it.
    fn hidden(&self) -> Hidden {
        let instance = self.instance;
        let hidden = Hidden::default().and(instance.secret.expose());
        let hidden = hidden.and_in(&instance.parameters).and_in(&instance.notes);
        let hidden = self.to.map(|to| &to.parameters).into_iter().fold(hidden, Hidden::and_in);
        let bindings = self.binding.into_iter().chain(self.bindings.unwrap_or_default());
        bindings.fold(hidden, |hidden, binding| hidden.and(binding.secret.expose()).and_in(&binding.parameters))
    }
}

impl CommandBroker {
    /// A broker for this service.
    #[must_use]
    pub fn new(service: Service, config: &Config) -> Self {
        Self { service, within: Duration::from_secs(config.operation_timeout) }
    }

    /// Runs an operation's executable. None when there is none, or when it answers nothing.
    async fn ask<T: DeserializeOwned>(&self, call: Call<'_>, within: Duration) -> Result<Option<T>> {
        let Some(program) = self.service.program(call.operation) else { return Ok(None) };
        // With a line for each member, so that line editors can read it too.
        let input = serde_json::to_string_pretty(&call).map_err(BrokerError::failed)? + "\n";
        let ended = run(&program, self.service.folder(), input, &call.hidden(), within).await;
        let output = answer(call.operation, ended.map_err(not_run)?)?;
        if output.trim().is_empty() {
            return Ok(None);
        }
        // What the parser says may have a piece of the answer in it, and that may be a secret.
        let wrong = |error: serde_json::Error| {
            let (operation, line) = (call.operation, error.line());
            BrokerError::failed(format!("`{operation}` answered no such JSON as is wanted, see line {line} of it"))
        };
        serde_json::from_str(&output).map(Some).map_err(wrong)
    }

    async fn act<T: DeserializeOwned>(&self, call: Call<'_>) -> Result<Option<T>> {
        self.ask(call, self.within).await
    }

    async fn question<T: DeserializeOwned>(&self, operation: &str, instance: &Instance) -> Result<Option<T>> {
        self.ask(Call::new(operation, instance), self.within.min(ASK_WITHIN)).await
    }
}

#[async_trait]
impl Broker for CommandBroker {
    fn catalog(&self) -> Catalog {
        self.service.catalog().clone()
    }

    async fn provision(&self, instance: &Instance) -> Result<Notes> {
        Ok(self.act(Call::new("provision", instance)).await?.unwrap_or_default())
    }

    async fn bind(&self, instance: &Instance, binding: &Binding) -> Result<EnvVars> {
        let call = Call { binding: Some(binding), ..Call::new("bind", instance) };
        let given: std::collections::BTreeMap<EnvName, String> = self.act(call).await?.unwrap_or_default();
        Ok(given.into_iter().fold(EnvVars::default(), |mut env, (name, value)| {
            env.insert(name, value);
            env
        }))
    }

    async fn unbind(&self, instance: &Instance, binding: &Binding) -> Result<()> {
        let call = Call { binding: Some(binding), ..Call::new("unbind", instance) };
        self.act::<serde_json::Value>(call).await.map(drop)
    }

    async fn update(&self, instance: &Instance, to: &Update) -> Result<Notes> {
        if to.plan != instance.plan && self.service.program("update").is_none() {
            let sentence = "the plan of an instance of this service cannot be changed, create a new instance";
            return Err(BrokerError::bad_request(sentence));
        }
        let call = Call { to: Some(to), ..Call::new("update", instance) };
        Ok(self.act(call).await?.unwrap_or_else(|| instance.notes.clone()))
    }

    async fn deprovision(&self, instance: &Instance) -> Result<()> {
        self.act::<serde_json::Value>(Call::new("deprovision", instance)).await.map(drop)
    }

    /// `{"up": true}`, `{"up": true, "text": "..."}` or `{"up": false, "text": "..."}`.
    async fn status(&self, instance: &Instance) -> Result<Health> {
        #[derive(serde::Deserialize)]
        struct Said {
            up: bool,
            text: Option<String>,
        }
        Ok(match self.question::<Said>("status", instance).await? {
            Some(Said { up: true, text: Some(text) }) => Health::Notice(text),
            Some(Said { up: false, text }) => Health::Down(text.unwrap_or_else(|| "it does not work".to_owned())),
            Some(Said { up: true, text: None }) | None => Health::Up,
        })
    }

    /// `{"Label": "value", ...}`.
    async fn info(&self, instance: &Instance) -> Result<Vec<InfoItem>> {
        let said: Option<std::collections::BTreeMap<String, String>> = self.question("info", instance).await?;
        Ok(said.unwrap_or_default().into_iter().map(|(label, value)| InfoItem::new(label, value)).collect())
    }

    async fn reconcile(&self, Tenant { instance, bindings, .. }: &Tenant) -> Result<()> {
        let call = Call { bindings: Some(bindings), ..Call::new("reconcile", instance) };
        self.act::<serde_json::Value>(call).await.map(drop)
    }
}

/// What an exit status means. The numbers are those of `sysexits.h`, where it has one that fits.
fn answer(operation: &str, Ended { status, output }: Ended) -> Result<String> {
    let sentence = || {
        let said = output.trim();
        let said: String = said.lines().next().unwrap_or_default().chars().take(LONGEST_SENTENCE).collect();
        if said.is_empty() { format!("the service refuses this {operation}") } else { said }
    };
    match status.code() {
        Some(0) => Ok(output),
        Some(65) => Err(BrokerError::BadRequest(sentence())),
        Some(69) => Err(BrokerError::NotReady(sentence())),
        Some(73) => Err(BrokerError::Conflict(sentence())),
        Some(75) => Err(BrokerError::unavailable(format!("`{operation}` says to try again later"))),
        _ => Err(BrokerError::failed(format!("`{operation}` ended with {status}"))),
    }
}

/// An executable that took too long may be faster next time, as may one that there was no room for.
fn not_run(error: std::io::Error) -> BrokerError {
    use std::io::ErrorKind::{ExecutableFileBusy, OutOfMemory, ResourceBusy, TimedOut, WouldBlock};
    match error.kind() {
        TimedOut | WouldBlock | OutOfMemory | ResourceBusy | ExecutableFileBusy => BrokerError::unavailable(error),
        _ => BrokerError::failed(error),
    }
}
