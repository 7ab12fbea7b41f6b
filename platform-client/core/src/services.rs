//! Services: registering brokers.

use std::sync::Arc;

use broker_core::{Secret, ServiceName};

use crate::{
    Error, Platform, Progress, Result, Service, ServiceInstance, Target, TargetType, TeamName, User,
    operation::Journal, ports::Page, records::Kept,
};

/// What a manifest says about a service.
#[derive(Clone, Debug)]
pub struct Manifesto {
    /// The service's name.
    pub name: ServiceName,
    /// User name for basic auth; empty means the service's name.
    pub username: String,
    /// Password for basic auth.
    pub password: Secret,
    /// Base URLs by key.
    pub endpoints: std::collections::BTreeMap<String, String>,
    /// `form` or `json`; none means form, or what it was.
    pub encoding: Option<String>,
    /// The team that provides it.
    pub team: Option<TeamName>,
}

impl Manifesto {
    fn check(&self) -> Result<()> {
        if self.password.expose().is_empty() {
            return Err(Error::invalid("Service password is required"));
        }
        if self.endpoints.values().all(|url| url.trim().is_empty()) {
            return Err(Error::invalid("At least one endpoint is required"));
        }
        match self.encoding.as_deref() {
            None | Some("" | "form" | "json") => Ok(()),
            Some(other) => Err(Error::invalid(format!("Invalid encoding \"{other}\", valid options are: form, json"))),
        }
    }

    fn json(&self, otherwise: bool) -> bool {
        match self.encoding.as_deref() {
            None | Some("") => otherwise,
            Some(encoding) => encoding == "json",
        }
    }
}

impl Platform {
    /// A service that the user may use: every service is open to every user.
    ///
    /// # Errors
    /// When there is no such service.
    pub async fn service(&self, name: &ServiceName) -> Result<Service> {
        let service = self.records.get::<Service>(name.as_str()).await?;
        service.map(Kept::into_inner).ok_or_else(|| Error::ServiceNotFound(name.clone()))
    }

    /// All services, by name.
    ///
    /// # Errors
    /// When the records can't be read.
    pub async fn services(&self) -> Result<Vec<Service>> {
        self.records.all().await
    }

    /// Registers a broker. Nothing is sent to it.
    ///
    /// # Errors
    /// When the manifest lacks something, or the name is taken.
    pub async fn create_service(self: &Arc<Self>, user: &User, manifest: Manifesto) -> Result<()> {
        manifest.check()?;
        let team = self.team_for(user, manifest.team.clone()).await.map_err(|error| match error {
            Error::Invalid(_) if manifest.team.is_none() => {
                Error::invalid("You must provide a team responsible for this service in the manifest file.")
            }
            other => other,
        })?;
        let service = Service {
            json: manifest.json(false),
            name: manifest.name,
            username: manifest.username,
            password: manifest.password,
            endpoints: manifest.endpoints,
            team,
            doc: String::new(),
        };
        let operation = self.begin_service(user, "service.create", &service.name).await?;
        let outcome = self.records.insert(service, || Error::Exists("Service already exists.".to_owned())).await;
        operation.end(outcome).await
    }

    /// Changes where a broker is and how to talk to it.
    ///
    /// # Errors
    /// When the manifest lacks something, the service is unknown, or the user does not provide it.
    pub async fn update_service(self: &Arc<Self>, user: &User, manifest: Manifesto) -> Result<()> {
        manifest.check()?;
        self.provided_service(user, &manifest.name).await?;
        let team = match manifest.team.clone() {
            Some(team) => Some(self.team_for(user, Some(team)).await?),
            None => None,
        };
        let operation = self.begin_service(user, "service.update", &manifest.name).await?;
        let outcome = self.replace_service(user, manifest, team).await;
        operation.end(outcome).await
    }

    async fn replace_service(&self, user: &User, manifest: Manifesto, team: Option<TeamName>) -> Result<()> {
        let mut service = self.provided_service(user, &manifest.name).await?;
        service.json = manifest.json(service.json);
        service.username = manifest.username;
        service.password = manifest.password;
        service.endpoints = manifest.endpoints;
        if let Some(team) = team {
            service.team = team;
        }
        self.records.save(&mut service).await
    }

    /// Sets the documentation that users of a service read.
    ///
    /// # Errors
    /// When the service is unknown, or the user does not provide it.
    pub async fn set_service_doc(self: &Arc<Self>, user: &User, name: &ServiceName, doc: String) -> Result<()> {
        self.provided_service(user, name).await?;
        let operation = self.begin_service(user, "service.update.doc", name).await?;
        let outcome = self.replace_service_doc(user, name, doc).await;
        operation.end(outcome).await
    }

    async fn replace_service_doc(&self, user: &User, name: &ServiceName, doc: String) -> Result<()> {
        let mut service = self.provided_service(user, name).await?;
        service.doc = doc;
        self.records.save(&mut service).await
    }

    /// Forgets a service that has no instances. Nothing is sent to its broker.
    ///
    /// # Errors
    /// When it has instances, is unknown, or the user does not provide it.
    pub async fn remove_service(self: &Arc<Self>, user: &User, name: &ServiceName) -> Result<()> {
        self.provided_service(user, name).await?;
        let operation = self.begin_service(user, "service.delete", name).await?;
        let outcome = self.delete_service(user, name).await;
        operation.end(outcome).await
    }

    async fn delete_service(&self, user: &User, name: &ServiceName) -> Result<()> {
        let service = self.provided_service(user, name).await?;
        let prefix = format!("{name}/");
        let instances = self.records.list::<ServiceInstance>(Page { prefix: &prefix, ..Page::default() }).await?;
        if !instances.is_empty() {
            return Err(Error::Refused(
                "This service cannot be removed because it has instances.\nPlease remove these instances before removing the service.".to_owned(),
            ));
        }
        self.records.commit(&[service.delete()]).await
    }

    async fn provided_service(&self, user: &User, name: &ServiceName) -> Result<Kept<Service>> {
        let service =
            self.records.get::<Service>(name.as_str()).await?.ok_or_else(|| Error::ServiceNotFound(name.clone()))?;
        if user.reaches(std::slice::from_ref(&service.team)) { Ok(service) } else { Err(Error::Forbidden) }
    }

    async fn begin_service(
        self: &Arc<Self>,
        user: &User,
        kind: &str,
        name: &ServiceName,
    ) -> Result<crate::operation::Operation> {
        let target = Target::new(TargetType::Service, name);
        self.begin(user, kind, vec![target], Journal::Nothing, &Progress::silent()).await
    }

    /// A service's plans: names and descriptions. A broker that answers badly has none.
    ///
    /// # Errors
    /// When the service is unknown, or its broker's answer is no list of plans.
    pub async fn service_plans(&self, name: &ServiceName) -> Result<Vec<(String, String)>> {
        let service = self.service(name).await?;
        self.brokers.plans(&service).await
    }
}
