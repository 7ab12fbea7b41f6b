//! The platform's side of the broker protocol: the [`Brokers`] port over HTTP.
//!
//! Thin on purpose: what travels is in [`broker_core::client`]; here the platform's nouns become
//! bodies, and the contract's texts become [`Error::Broker`].

use std::collections::BTreeMap;

use async_trait::async_trait;
use broker_core::{
    Consumer, InstanceName, Secret,
    client::{Access, BindApp, BindJob, ChangeInstance, Client, ClientError, CreateInstance, Encoding, UnbindApp},
};
use platform_core::{
    Error, Result, Service, ServiceInstance,
    ports::{Acting, BindRequest, Brokers},
};
use tracing::warn;

/// The endpoint that is used for instances without a pool (contract 2.5).
const PRODUCTION: &str = "production";

/// Brokers, reached over HTTP.
#[derive(Clone, Debug)]
pub struct HttpBrokers {
    client: Client,
}

impl HttpBrokers {
    /// Brokers that are given the contract's time: 15 s to connect, 300 s to answer.
    ///
    /// # Errors
    /// When the system's TLS settings can't be used.
    pub fn new() -> Result<Self> {
        Client::new().map(Self::over).map_err(|error| Error::Broker(error.to_string()))
    }

    /// Brokers over a client of your own, with other time limits for example.
    #[must_use]
    pub fn over(client: Client) -> Self {
        Self { client }
    }
}

/// The service's `production` endpoint and credentials.
fn access(service: &Service) -> Result<Access> {
    let endpoint = service.endpoints.get(PRODUCTION);
    let endpoint = endpoint.ok_or_else(|| Error::Broker(format!("Unknown endpoint: {PRODUCTION}")))?;
    let encoding = if service.json { Encoding::Json } else { Encoding::Form };
    let username = service.presented_username();
    Ok(Access::new(service.name.clone(), endpoint, username, service.password.clone()).encoding(encoding))
}

fn acting_as(acting: &Acting) -> broker_core::client::Acting {
    broker_core::client::Acting::new(acting.user.clone(), acting.event.to_string())
}

/// What a failed call means to the platform's user; the client's own chain of causes is for the log.
fn broker(service: &Service, error: ClientError) -> Error {
    match error {
        ClientError::Network { prefix, cause } => {
            warn!(service.name = %service.name, "service `{}` can't be reached: {cause}", service.name);
            let innermost = cause.rsplit(": ").next().unwrap_or(&cause);
            let innermost = innermost.split(" (os error").next().unwrap_or(innermost);
            Error::Broker(format!(
                "{prefix}no answer from the broker of service \"{}\" ({innermost}): see that it runs, then try again",
                service.name
            ))
        }
        other => Error::Broker(other.to_string()),
    }
}

/// The tsuru contract binds apps and jobs only.
fn no_consumer(other: &Consumer) -> Error {
    Error::invalid(format!("{other} cannot be bound: only apps and jobs can"))
}

/// Plans and info are extras: without an answer there are none, and the log says so (contract 4.2, 4.4).
fn or_none<T: Default>(service: &Service, what: &str, answer: Result<T, ClientError>) -> Result<T> {
    match answer {
        Err(error @ ClientError::Network { .. }) => {
            warn!(service.name = %service.name, "no {what} of service `{}`: {error}", service.name);
            Ok(T::default())
        }
        other => other.map_err(|error| broker(service, error)),
    }
}

#[async_trait]
impl Brokers for HttpBrokers {
    async fn plans(&self, service: &Service) -> Result<Vec<(String, String)>> {
        or_none(service, "plans", self.client.plans(&access(service)?).await)
    }

    async fn create(&self, service: &Service, instance: &ServiceInstance, acting: &Acting) -> Result<()> {
        let body = CreateInstance {
            name: instance.name.to_string(),
            team: instance.team.to_string(),
            description: instance.description.clone(),
            plan: instance.plan.clone(),
            tags: instance.tags.clone(),
            parameters: Some(instance.parameters.clone()).filter(|bag| !bag.is_empty()),
            ..CreateInstance::default()
        };
        self.client.create(&access(service)?, body, &acting_as(acting)).await.map_err(|error| broker(service, error))
    }

    async fn update(&self, service: &Service, instance: &ServiceInstance, acting: &Acting) -> Result<()> {
        let body = ChangeInstance {
            description: instance.description.clone(),
            team: instance.team.to_string(),
            plan: instance.plan.clone(),
            tags: instance.tags.clone(),
            parameters: Some(instance.parameters.clone()).filter(|bag| !bag.is_empty()),
            ..ChangeInstance::default()
        };
        self.client
            .update(&access(service)?, &instance.name, body, &acting_as(acting))
            .await
            .map_err(|error| broker(service, error))
    }

    async fn delete(&self, service: &Service, instance: &InstanceName, acting: &Acting) -> Result<()> {
        self.client
            .remove(&access(service)?, instance, &acting_as(acting))
            .await
            .map_err(|error| broker(service, error))
    }

    async fn bind(
        &self,
        service: &Service,
        instance: &InstanceName,
        bind: &BindRequest,
        acting: &Acting,
    ) -> Result<BTreeMap<String, Secret>> {
        let (at, acting) = (access(service)?, acting_as(acting));
        let bound = match &bind.consumer {
            Consumer::App(app) => {
                let body = BindApp {
                    app: app.to_string(),
                    parameters: Some(bind.parameters.clone()).filter(|bag| !bag.is_empty()),
                    hosts: bind.hosts.clone(),
                    pool: bind.pool.clone(),
                    ..BindApp::default()
                };
                self.client.bind_app(&at, instance, body, &acting).await
            }
            Consumer::Job(job) => {
                let body = BindJob { pool: bind.pool.clone(), ..BindJob::default() };
                self.client.bind_job(&at, instance, job, body, &acting).await
            }
            other => return Err(no_consumer(other)),
        };
        bound.map_err(|error| broker(service, error))
    }

    async fn unbind(
        &self,
        service: &Service,
        instance: &InstanceName,
        consumer: &Consumer,
        hosts: &[String],
        acting: &Acting,
    ) -> Result<()> {
        let (at, acting) = (access(service)?, acting_as(acting));
        let unbound = match consumer {
            Consumer::App(app) => {
                let body = UnbindApp { app: app.to_string(), hosts: hosts.to_vec(), ..UnbindApp::default() };
                self.client.unbind_app(&at, instance, body, &acting).await
            }
            Consumer::Job(job) => self.client.unbind_job(&at, instance, job, &acting).await,
            other => return Err(no_consumer(other)),
        };
        unbound.map_err(|error| broker(service, error))
    }

    async fn status(&self, service: &Service, instance: &InstanceName) -> Result<String> {
        self.client.status(&access(service)?, instance).await.map_err(|error| broker(service, error))
    }

    async fn info(&self, service: &Service, instance: &InstanceName) -> Result<BTreeMap<String, String>> {
        or_none(service, "info", self.client.info(&access(service)?, instance).await)
    }
}
