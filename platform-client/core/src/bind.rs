//! Binding: a broker's variables come into an app's environment, and go again.

use std::{collections::BTreeMap, sync::Arc};

use broker_core::{AppName, Consumer, EnvName, InstanceName, Parameters, Secret, ServiceName};

use crate::{
    App, Error, Platform, Progress, Result, Service, ServiceInstance, ServiceVar, Target, TargetType, User,
    instances::instance_target,
    operation::{Journal, Operation},
    ports::BindRequest,
    records::Kept,
};

/// How a bind is done.
#[derive(Clone, Debug, Default)]
pub struct Binding {
    /// Parameters for the broker.
    pub parameters: Parameters,
    /// Whether running units keep their environment until the next restart.
    pub no_restart: bool,
}

/// How an unbind is done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unbinding {
    /// Whether running units keep their environment until the next restart.
    pub no_restart: bool,
    /// Whether a broker's failure is written to the log and otherwise ignored.
    pub force: bool,
}

impl Platform {
    /// Binds an instance to an app: the broker is asked, the variables are stored, units replaced.
    /// If anything fails, nothing is left: no variables, no entry, no binding at the broker.
    ///
    /// # Errors
    /// When app or instance are unknown or bound already, the broker refuses, or new units do not
    /// become ready. The text ends with the instance's status (contract `service-api` 5.6).
    pub async fn bind_app(
        self: &Arc<Self>,
        user: &User,
        service: &ServiceName,
        name: &InstanceName,
        app: &AppName,
        how: Binding,
        progress: &Progress,
    ) -> Result<()> {
        self.instance(user, service, name).await?;
        self.app(user, app).await?;
        let journal = Journal::Bind { service: service.clone(), instance: name.clone(), app: app.clone() };
        let targets = vec![Target::new(TargetType::App, app), instance_target(service, name)];
        let operation = self.begin(user, "app.update.bind", targets, journal, progress).await?;
        let outcome = self.bind(user, service, name, app, &how, &operation).await;
        let outcome = match outcome {
            Err(error) => Err(self.with_status(error, service, name).await),
            bound => bound,
        };
        operation.end(outcome).await
    }

    async fn bind(
        &self,
        user: &User,
        service: &ServiceName,
        name: &InstanceName,
        app: &AppName,
        how: &Binding,
        operation: &Operation,
    ) -> Result<()> {
        let service = self.service(service).await?;
        let mut instance = self.kept_instance(user, &service.name, name).await?;
        let mut app = self.kept_app(user, app).await?;
        if instance.apps.contains(&app.name) {
            return Err(Error::Exists("app is already bound to this service instance".to_owned()));
        }
        let request = BindRequest {
            consumer: Consumer::App(app.name.clone()),
            hosts: self.hosts(&app),
            pool: app.pool.to_string(),
            parameters: how.parameters.clone(),
        };
        let vars = self.brokers.bind(&service, name, &request, &operation.acting()).await?;
        let names: Vec<String> = vars.keys().cloned().collect();
        let stored = self.store_bound(&mut app, &mut instance, vars, how.no_restart, operation).await;
        if stored.is_err() {
            self.undo_bind(&service, name, &app, operation).await;
        }
        stored?;
        tell_bound(operation.progress(), name, &app.name, &names);
        Ok(())
    }

    /// Puts the variables into the app and the app into the instance, units first.
    async fn store_bound(
        &self,
        app: &mut Kept<App>,
        instance: &mut Kept<ServiceInstance>,
        vars: BTreeMap<String, Secret>,
        no_restart: bool,
        operation: &Operation,
    ) -> Result<()> {
        let progress = operation.progress();
        let brought = vars.len();
        for (name, value) in vars {
            let name: EnvName = name
                .parse()
                .map_err(|refusal| Error::Broker(format!("the service answered a bind badly: {refusal}")))?;
            app.service_env.push(ServiceVar {
                service: instance.service.clone(),
                instance: instance.name.clone(),
                name,
                value,
            });
        }
        instance.apps.push(app.name.clone());
        let bound = vec![instance.put()?];
        if brought > 0 {
            progress.section(format!("Setting {} new environment variables", brought + 1));
        }
        if no_restart || brought == 0 || app.wanted_units() == 0 {
            return self.records.save_with(app, bound).await;
        }
        progress.section(format!("Restarting the app \"{}\"", app.name));
        self.replace_units(app, bound, progress).await
    }

    async fn undo_bind(&self, service: &Service, name: &InstanceName, app: &App, operation: &Operation) {
        let consumer = Consumer::App(app.name.clone());
        if let Err(leak) = self.brokers.unbind(service, name, &consumer, &self.hosts(app), &operation.acting()).await {
            tracing::error!(instance = %name, app = %app.name, error = %leak, "could not undo a bind at the broker, trying again later: {leak}");
            operation.leave_to_recovery();
        }
    }

    /// What failed, and how the instance is doing.
    async fn with_status(&self, error: Error, service: &ServiceName, name: &InstanceName) -> Error {
        let status = match self.service(service).await {
            Ok(service) => self.brokers.status(&service, name).await,
            Err(unknown) => Err(unknown),
        };
        let text = match status {
            Ok(status) => format!("{error} (\"{name}\" is {status})"),
            Err(reason) => format!("{error} (failed to retrieve instance status: {reason})"),
        };
        match error {
            Error::Exists(_) => Error::Exists(text),
            Error::NotReady(_) => Error::NotReady(text),
            _ => Error::Broker(text),
        }
    }

    /// Unbinds an instance from an app: the broker is told, the variables go, units are replaced.
    ///
    /// # Errors
    /// When the app is not bound, the broker refuses and that is not forced, or units do not become
    /// ready without the variables; then the binding stays.
    pub async fn unbind_app(
        self: &Arc<Self>,
        user: &User,
        service: &ServiceName,
        name: &InstanceName,
        app: &AppName,
        how: Unbinding,
        progress: &Progress,
    ) -> Result<()> {
        self.instance(user, service, name).await?;
        self.app(user, app).await?;
        let journal = Journal::Unbind { service: service.clone(), instance: name.clone(), app: app.clone() };
        let targets = vec![Target::new(TargetType::App, app), instance_target(service, name)];
        let operation = self.begin(user, "app.update.unbind", targets, journal, progress).await?;
        let outcome = self.unbind(user, service, name, app, how, &operation).await;
        operation.end(outcome).await
    }

    pub(crate) async fn unbind(
        &self,
        user: &User,
        service: &ServiceName,
        name: &InstanceName,
        app: &AppName,
        how: Unbinding,
        operation: &Operation,
    ) -> Result<()> {
        let progress = operation.progress();
        let service = self.service(service).await?;
        let mut instance = self.kept_instance(user, &service.name, name).await?;
        let mut app = self.kept_app(user, app).await?;
        if !instance.apps.contains(&app.name) {
            return Err(Error::Precondition("app is not bound to this service instance".to_owned()));
        }
        let consumer = Consumer::App(app.name.clone());
        match self.brokers.unbind(&service, name, &consumer, &self.hosts(&app), &operation.acting()).await {
            Err(error) if how.force => {
                progress.line(format!("[unbind-app-endpoint] ignored error due to force: {error}"))
            }
            outcome => outcome?,
        }
        if let Err(error) = self.store_unbound(&mut app, &mut instance, how.no_restart, progress).await {
            self.undo_unbind(&service, name, &app, operation).await;
            return Err(error);
        }
        progress.line(format!("\nInstance \"{name}\" is not bound to the app \"{}\" anymore.", app.name));
        Ok(())
    }

    async fn store_unbound(
        &self,
        app: &mut Kept<App>,
        instance: &mut Kept<ServiceInstance>,
        no_restart: bool,
        progress: &Progress,
    ) -> Result<()> {
        let before = app.service_env.len();
        app.service_env.retain(|var| !var.is_from(&instance.service, &instance.name));
        let removed = before - app.service_env.len();
        let name = app.name.clone();
        instance.apps.retain(|bound| *bound != name);
        let unbound = vec![instance.put()?];
        if removed > 0 {
            progress.section(format!("Unsetting {} environment variables", removed + 1));
        }
        if no_restart || removed == 0 || app.wanted_units() == 0 {
            return self.records.save_with(app, unbound).await;
        }
        progress.section(format!("Restarting the app \"{}\"", app.name));
        self.replace_units(app, unbound, progress).await
    }

    /// Binds again what could not be taken out of the app. The broker gives the same credentials
    /// again (SPEC B-5), so the variables that stayed go on working.
    async fn undo_unbind(&self, service: &Service, name: &InstanceName, app: &App, operation: &Operation) {
        let request = BindRequest {
            consumer: Consumer::App(app.name.clone()),
            hosts: self.hosts(app),
            pool: app.pool.to_string(),
            parameters: Parameters::new(),
        };
        if let Err(lost) = self.brokers.bind(service, name, &request, &operation.acting()).await {
            tracing::error!(instance = %name, app = %app.name, error = %lost, "could not bind again after a failed unbind");
        }
    }

    /// The addresses that brokers are told: the app's on its router.
    pub(crate) fn hosts(&self, app: &App) -> Vec<String> {
        vec![self.address(&app.name)]
    }
}

fn tell_bound(progress: &Progress, instance: &InstanceName, app: &AppName, vars: &[String]) {
    progress.line(format!("\nInstance \"{instance}\" is now bound to the app \"{app}\"."));
    if !vars.is_empty() {
        progress.line("The following environment variables are available for use in your app:\n");
        for var in vars {
            progress.line(format!("- {var}"));
        }
        progress.line("- TSURU_SERVICES");
    }
}
