//! Removing an app: its bindings, its route, its units, its images, and then its record.

use std::sync::Arc;

use broker_core::{AppName, Consumer};

use crate::{
    App, Error, Platform, Progress, Result, Service, ServiceInstance, Target, TargetType, User,
    instances::instance_target,
    operation::{Journal, Operation},
    ports::{Acting, Write, instance_key},
    records::Kept,
};

impl Platform {
    /// Removes an app with everything that is its own. Brokers that fail to unbind don't stop it.
    ///
    /// # Errors
    /// When the app is unknown, or engine or router don't answer; it can be repeated then.
    pub async fn remove_app(self: &Arc<Self>, user: &User, name: &AppName, progress: &Progress) -> Result<()> {
        let app = self.app(user, name).await?;
        let mut targets = vec![Target::new(TargetType::App, name)];
        // Their records change too, which an operation on one of them must not meet half-way.
        targets.extend(self.bound_to(&app).await?.iter().map(|bound| instance_target(&bound.service, &bound.name)));
        let operation =
            self.begin(user, "app.delete", targets, Journal::RemoveApp { app: name.clone() }, progress).await?;
        let outcome = self.remove(user, name, &operation).await;
        operation.end(outcome).await
    }

    async fn remove(&self, user: &User, name: &AppName, operation: &Operation) -> Result<()> {
        let app = self.kept_app(user, name).await?;
        let progress = operation.progress();
        progress.section(format!("Removing application \"{name}\"..."));
        self.take_apart(&app, &operation.acting(), progress).await?;
        progress.section("Done removing application.");
        Ok(())
    }

    /// Everything that a removal does; safe to repeat from the start after a crash.
    pub(crate) async fn take_apart(&self, app: &Kept<App>, acting: &Acting, progress: &Progress) -> Result<()> {
        // An engine that is away is noticed before anything is taken.
        let units = self.engine.units(Some(&app.name)).await?;
        self.withdraw(&app.name).await?;
        let units: Vec<_> = units.into_iter().map(|unit| unit.id).collect();
        self.stop_units(&units).await;
        if let Some(left) = self.engine.units(Some(&app.name)).await?.first() {
            return Err(Error::Engine(format!("unit {} of app {} could not be stopped, try again", left.id, app.name)));
        }
        let unbound = self.unbind_everywhere(app, acting, progress).await?;
        if let Some(sources) = self.sources.get() {
            sources.forget(&app.name).await?;
        }
        let mut writes = unbound;
        writes.push(app.delete());
        self.records.commit(&writes).await?;
        for release in &app.releases {
            self.forget_image(&release.image).await;
        }
        Ok(())
    }

    /// Tells each broker; one that fails is named and passed over. Returns the instances without the app.
    async fn unbind_everywhere(&self, app: &App, acting: &Acting, progress: &Progress) -> Result<Vec<Write>> {
        let mut writes = Vec::new();
        for mut instance in self.records.list::<ServiceInstance>(crate::ports::Page::default()).await? {
            if !instance.apps.contains(&app.name) {
                continue;
            }
            let key = instance_key(&instance.service, &instance.name);
            if let Err(error) = self.unbind_removed(app, &instance, acting).await {
                progress.line(format!("**** could not unbind \"{key}\": {error} ****"));
                tracing::warn!(app = %app.name, instance = %key, %error, "instance `{key}` was not told that app `{}` is gone", app.name);
            }
            instance.apps.retain(|bound| *bound != app.name);
            writes.push(instance.put()?);
        }
        Ok(writes)
    }

    async fn unbind_removed(&self, app: &App, instance: &ServiceInstance, acting: &Acting) -> Result<()> {
        let service: Service = self.service(&instance.service).await?;
        let consumer = Consumer::App(app.name.clone());
        self.brokers.unbind(&service, &instance.name, &consumer, &self.hosts(app), acting).await
    }
}
