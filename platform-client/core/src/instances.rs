//! Service instances: made and removed by their broker, remembered here.

use std::{collections::BTreeMap, sync::Arc};

use broker_core::{InstanceName, Parameters, ServiceName};

use crate::{
    App, Error, Platform, Progress, Result, Service, ServiceInstance, Target, TargetType, Team, TeamName, User,
    create::clean_tags,
    operation::{Journal, Operation},
    ports::{Page, instance_key},
    records::Kept,
};

/// What a user says about a new instance.
#[derive(Clone, Debug)]
pub struct NewInstance {
    /// The service.
    pub service: ServiceName,
    /// The instance's name.
    pub name: InstanceName,
    /// The plan as typed; empty for the broker's default.
    pub plan: String,
    /// The team that owns it.
    pub team: Option<TeamName>,
    /// Free text.
    pub description: String,
    /// Labels.
    pub tags: Vec<String>,
    /// Parameters for the broker.
    pub parameters: Parameters,
}

/// What a user wants an instance to be from now on, whole: an empty field is emptied.
#[derive(Clone, Debug)]
pub struct InstanceChange {
    /// The plan from now on.
    pub plan: String,
    /// The owner team from now on; none leaves it.
    pub team: Option<TeamName>,
    /// The description from now on.
    pub description: String,
    /// The labels from now on.
    pub tags: Vec<String>,
    /// The parameters from now on.
    pub parameters: Parameters,
}

/// How far a removal goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removal {
    /// Unbind all apps first.
    pub unbind_all: bool,
    /// Forget the instance even if its broker can't be asked.
    pub ignore_errors: bool,
}

pub(crate) fn instance_target(service: &ServiceName, name: &InstanceName) -> Target {
    Target::new(TargetType::ServiceInstance, instance_key(service, name))
}

impl Platform {
    /// An instance that the user may use.
    ///
    /// # Errors
    /// When service or instance are unknown, or the user may not use it.
    pub async fn instance(&self, user: &User, service: &ServiceName, name: &InstanceName) -> Result<ServiceInstance> {
        Ok(self.kept_instance(user, service, name).await?.into_inner())
    }

    pub(crate) async fn kept_instance(
        &self,
        user: &User,
        service: &ServiceName,
        name: &InstanceName,
    ) -> Result<Kept<ServiceInstance>> {
        self.service(service).await?;
        let instance = self.records.get::<ServiceInstance>(&instance_key(service, name)).await?;
        let instance = instance.ok_or_else(|| Error::InstanceNotFound(name.clone()))?;
        if user.reaches(&instance.teams) { Ok(instance) } else { Err(Error::Forbidden) }
    }

    /// Instances that the user may use, of one service or of all, by service and name.
    ///
    /// # Errors
    /// When the records can't be read.
    pub async fn instances(&self, user: &User, service: Option<&ServiceName>) -> Result<Vec<ServiceInstance>> {
        let prefix = service.map(|service| format!("{service}/")).unwrap_or_default();
        let all = self.records.list::<ServiceInstance>(Page { prefix: &prefix, ..Page::default() }).await?;
        Ok(all.into_iter().map(Kept::into_inner).filter(|instance| user.reaches(&instance.teams)).collect())
    }

    /// The instances that an app is bound to, whoever may use them; by service and name.
    ///
    /// # Errors
    /// When the records can't be read.
    pub async fn bound_to(&self, app: &App) -> Result<Vec<ServiceInstance>> {
        let all = self.records.all::<ServiceInstance>().await?;
        Ok(all.into_iter().filter(|instance| instance.apps.contains(&app.name)).collect())
    }

    /// Has the broker make an instance, then remembers it.
    ///
    /// # Errors
    /// When the name is taken, the team can't be told, or the broker refuses or can't be reached.
    pub async fn create_instance(self: &Arc<Self>, user: &User, new: NewInstance) -> Result<ServiceInstance> {
        let service = self.service(&new.service).await?;
        let team = self.team_for(user, new.team).await?;
        let instance = ServiceInstance {
            service: new.service,
            name: new.name,
            plan: new.plan,
            teams: vec![team.clone()],
            team,
            description: new.description,
            tags: clean_tags(new.tags),
            parameters: new.parameters,
            apps: Vec::new(),
            jobs: Vec::new(),
        };
        let journal = Journal::CreateInstance { service: instance.service.clone(), instance: instance.name.clone() };
        let targets = vec![instance_target(&instance.service, &instance.name)];
        let operation = self.begin(user, "service-instance.create", targets, journal, &Progress::silent()).await?;
        let outcome = self.provision(&service, &instance, &operation).await;
        operation.end(outcome).await?;
        Ok(instance)
    }

    async fn provision(&self, service: &Service, instance: &ServiceInstance, operation: &Operation) -> Result<()> {
        let taken = || Error::Exists("instance name already exists.".to_owned());
        let key = instance_key(&instance.service, &instance.name);
        if self.records.get::<ServiceInstance>(&key).await?.is_some() {
            return Err(taken());
        }
        self.brokers.create(service, instance, &operation.acting()).await?;
        let remembered = self.records.insert(instance.clone(), taken).await;
        if remembered.is_err()
            && let Err(leak) = self.brokers.delete(service, &instance.name, &operation.acting()).await
        {
            tracing::error!(instance = %key, error = %leak, "instance `{key}` is left behind at its broker, trying again later: {leak}");
            operation.leave_to_recovery();
        }
        remembered
    }

    /// Changes an instance: its broker is told the whole new state.
    ///
    /// # Errors
    /// When nothing changes, the instance is unknown, or the broker refuses; then everything stays.
    pub async fn update_instance(
        self: &Arc<Self>,
        user: &User,
        service: &ServiceName,
        name: &InstanceName,
        change: InstanceChange,
    ) -> Result<()> {
        self.kept_instance(user, service, name).await?;
        let targets = vec![instance_target(service, name)];
        let operation =
            self.begin(user, "service-instance.update", targets, Journal::Nothing, &Progress::silent()).await?;
        let outcome = self.change_instance(user, service, name, change, &operation).await;
        operation.end(outcome).await
    }

    async fn change_instance(
        &self,
        user: &User,
        service: &ServiceName,
        name: &InstanceName,
        change: InstanceChange,
        operation: &Operation,
    ) -> Result<()> {
        let mut instance = self.kept_instance(user, service, name).await?;
        let before = (*instance).clone();
        if let Some(team) = change.team {
            instance.team = self.team_for(user, Some(team)).await?;
            if !instance.teams.contains(&instance.team) {
                let team = instance.team.clone();
                instance.teams.push(team);
            }
        }
        instance.plan = change.plan;
        instance.description = change.description;
        instance.tags = clean_tags(change.tags);
        instance.parameters = change.parameters;
        if *instance == before {
            return Err(Error::invalid(
                "Neither the description, team owner, tags, plan or parameters were set. You must define at least one.",
            ));
        }
        // The broker first: a change that it refuses must not show here.
        self.brokers.update(&self.service(service).await?, &instance, &operation.acting()).await?;
        self.records.save(&mut instance).await
    }

    /// Has the broker destroy an instance, then forgets it.
    ///
    /// # Errors
    /// When apps are bound and are not to be unbound, or the broker fails and that is not to be ignored.
    pub async fn remove_instance(
        self: &Arc<Self>,
        user: &User,
        service: &ServiceName,
        name: &InstanceName,
        removal: Removal,
        progress: &Progress,
    ) -> Result<()> {
        let bound = self.instance(user, service, name).await?.apps;
        if removal.unbind_all {
            for app in &bound {
                self.unbind_app(user, service, name, app, crate::Unbinding::default(), progress).await?;
            }
        } else if !bound.is_empty() {
            return Err(still_bound(name, &bound));
        }
        let journal = Journal::RemoveInstance { service: service.clone(), instance: name.clone() };
        let targets = vec![instance_target(service, name)];
        let operation = self.begin(user, "service-instance.delete", targets, journal, progress).await?;
        let outcome = self.deprovision(user, service, name, removal, &operation).await;
        operation.end(outcome).await
    }

    async fn deprovision(
        &self,
        user: &User,
        service: &ServiceName,
        name: &InstanceName,
        removal: Removal,
        operation: &Operation,
    ) -> Result<()> {
        let instance = self.kept_instance(user, service, name).await?;
        if !instance.apps.is_empty() {
            return Err(still_bound(name, &instance.apps));
        }
        let deleted = self.brokers.delete(&self.service(service).await?, name, &operation.acting()).await;
        match deleted {
            Err(error) if removal.ignore_errors => operation.progress().line(format!("ignored error: {error}")),
            outcome => outcome?,
        }
        self.records.commit(&[instance.delete()]).await?;
        operation.progress().line("service instance successfully removed");
        Ok(())
    }

    /// An instance's status in one sentence.
    ///
    /// # Errors
    /// When the instance is unknown, or its broker's answer has no meaning.
    pub async fn instance_status(&self, user: &User, service: &ServiceName, name: &InstanceName) -> Result<String> {
        self.kept_instance(user, service, name).await?;
        let status = self.brokers.status(&self.service(service).await?, name).await?;
        Ok(format!("Service instance \"{name}\" is {status}"))
    }

    /// What an instance's broker says about it, by label. A broker that answers badly says nothing.
    ///
    /// # Errors
    /// When the instance is unknown, or the answer is no list of labels.
    pub async fn instance_info(
        &self,
        user: &User,
        service: &ServiceName,
        name: &InstanceName,
    ) -> Result<BTreeMap<String, String>> {
        self.kept_instance(user, service, name).await?;
        self.brokers.info(&self.service(service).await?, name).await
    }

    /// Lets a team use an instance, or no longer.
    ///
    /// # Errors
    /// When the team has access already, is the owner, or does not exist.
    pub async fn set_instance_access(
        self: &Arc<Self>,
        user: &User,
        service: &ServiceName,
        name: &InstanceName,
        team: &TeamName,
        granted: bool,
    ) -> Result<()> {
        self.kept_instance(user, service, name).await?;
        let kind = if granted { "service-instance.update.grant" } else { "service-instance.update.revoke" };
        let targets = vec![instance_target(service, name)];
        let operation = self.begin(user, kind, targets, Journal::Nothing, &Progress::silent()).await?;
        let outcome = self.change_instance_access(user, service, name, team, granted).await;
        operation.end(outcome).await
    }

    async fn change_instance_access(
        &self,
        user: &User,
        service: &ServiceName,
        name: &InstanceName,
        team: &TeamName,
        granted: bool,
    ) -> Result<()> {
        let mut instance = self.kept_instance(user, service, name).await?;
        if self.records.get::<Team>(team.as_str()).await?.is_none() {
            return Err(Error::NotFound(format!("team \"{team}\" does not exist")));
        }
        match (granted, instance.teams.contains(team)) {
            (true, true) => {
                return Err(Error::Exists(format!("team {team} already has access to this service instance")));
            }
            (false, false) => {
                return Err(Error::NotFound(format!("team {team} does not have access to this service instance")));
            }
            (false, true) if instance.team == *team => {
                return Err(Error::Refused(format!(
                    "team {team} owns this service instance, its access cannot be revoked"
                )));
            }
            (true, false) => instance.teams.push(team.clone()),
            (false, true) => instance.teams.retain(|known| known != team),
        }
        self.records.save(&mut instance).await
    }
}

fn still_bound(name: &InstanceName, apps: &[broker_core::AppName]) -> Error {
    let apps: Vec<&str> = apps.iter().map(broker_core::AppName::as_str).collect();
    Error::invalid(format!(
        "Applications bound to the service \"{name}\": \"{}\"\n: This service instance is bound to at least one app. Unbind them before removing it",
        apps.join(",")
    ))
}
