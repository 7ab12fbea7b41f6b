//! The calls of tsuru, through the client that platforms use.

use std::{
    fmt::Display,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use super::{Done, PlatformError, until};
use crate::{
    InstanceName, Parameters, ServiceName,
    client::{Access, Acting, BindApp, ChangeInstance, Client, ClientError, CreateInstance, UnbindApp},
    testing::{Target, Variables},
};

/// How long it waits for an answer (contract 2.6).
const TIMEOUT: Duration = Duration::from_secs(300);

#[derive(Debug)]
pub(super) struct Tsuru {
    pub(super) access: Access,
    pub(super) client: Client,
    events: AtomicU64,
}

pub(super) fn client(timeout: Duration) -> Client {
    Client::with_timeouts(Duration::from_secs(15).min(timeout), timeout).expect("an HTTP client")
}

fn told(error: impl Display) -> PlatformError {
    PlatformError::new(error.to_string())
}

fn name(instance: &str) -> Done<InstanceName> {
    instance.parse().map_err(told)
}

impl Tsuru {
    pub(super) fn new(target: &Target<'_>) -> Self {
        let service: ServiceName = "service".parse().expect("a service name");
        let access = Access::new(service, target.url, target.username, target.password.to_owned());
        Self { access, client: client(TIMEOUT), events: AtomicU64::new(1) }
    }

    /// Every operation of a user's is an event of its own.
    fn acting(&self) -> Acting {
        let event = self.events.fetch_add(1, Ordering::Relaxed);
        Acting::new("alice@example.com", format!("{event:024x}"))
    }

    pub(super) async fn create(&self, instance: &str, plan: &str, parameters: Parameters) -> Done {
        let parameters = (!parameters.is_empty()).then_some(parameters);
        let (plan, team) = (plan.to_owned(), "data".to_owned());
        let body = CreateInstance { name: instance.to_owned(), team, plan, parameters, ..CreateInstance::default() };
        self.client.create(&self.access, body, &self.acting()).await.map_err(told)?;
        self.until_up(instance).await
    }

    /// People wait until an instance is up before they bind it.
    async fn until_up(&self, instance: &str) -> Done {
        let name = name(instance)?;
        let up = async || match self.client.status(&self.access, &name).await.map_err(told)?.as_str() {
            "pending" => Ok(None),
            "down" => Err(PlatformError::new(format!("instance \"{instance}\" is down"))),
            _ => Ok(Some(())),
        };
        until("the instance is up", up).await
    }

    pub(super) async fn update(&self, instance: &str, plan: &str) -> Done {
        let body = ChangeInstance { team: "data".to_owned(), plan: plan.to_owned(), ..ChangeInstance::default() };
        self.client.update(&self.access, &name(instance)?, body, &self.acting()).await.map_err(told)?;
        self.until_up(instance).await
    }

    pub(super) async fn remove(&self, instance: &str) -> Done {
        self.client.remove(&self.access, &name(instance)?, &self.acting()).await.map_err(told)
    }

    /// A bind that fails costs a look at the status, which is part of what the user reads (contract 5.6).
    pub(super) async fn bind(&self, instance: &str, app: &str) -> Done<Variables> {
        let (name, hosts) = (name(instance)?, vec![format!("{app}.example.com")]);
        let body = BindApp { app: app.to_owned(), hosts, ..BindApp::default() };
        match self.client.bind_app(&self.access, &name, body, &self.acting()).await {
            Ok(env) => Ok(env.into_iter().map(|(name, value)| (name, value.expose().to_owned())).collect()),
            Err(error) => Err(self.with_status(&name, &error).await),
        }
    }

    async fn with_status(&self, name: &InstanceName, error: &ClientError) -> PlatformError {
        PlatformError::new(match self.client.status(&self.access, name).await {
            Ok(status) => format!("{error} (\"{name}\" is {status})"),
            Err(unknown) => format!("{error} (failed to retrieve instance status: {unknown})"),
        })
    }

    pub(super) async fn unbind(&self, instance: &str, app: &str) -> Done {
        let hosts = vec![format!("{app}.example.com")];
        let body = UnbindApp { app: app.to_owned(), hosts, ..UnbindApp::default() };
        self.client.unbind_app(&self.access, &name(instance)?, body, &self.acting()).await.map_err(told)
    }
}
