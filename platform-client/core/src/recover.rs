//! After a crash: what an operation had begun is finished or undone by its journal (SPEC P-5).

use std::sync::Arc;

use broker_core::{AppName, Consumer, InstanceName, ServiceName};
use chrono::Utc;

use crate::{
    App, Error, Event, EventId, Platform, Progress, Result, Service, ServiceInstance,
    operation::Journal,
    ports::{Acting, Page, instance_key},
    records::Kept,
};

impl Platform {
    /// Notes every operation that the process before this one left half-way; the reconciler ends
    /// them. Call it once, before the first request is served.
    ///
    /// # Errors
    /// When the records can't be read.
    pub async fn recover(self: &Arc<Self>) -> Result<()> {
        let events = self.records.list::<Event>(Page { descending: true, ..Page::default() }).await?;
        for event in events.iter().filter(|event| event.unfinished()) {
            tracing::info!(event.id = %event.id, event.kind = %event.kind, "`{}` of {} was interrupted", event.kind, event.owner);
            self.repairs.interrupted(event.id.clone());
        }
        Ok(())
    }

    /// Ends the operations that were interrupted, as far as it goes now.
    pub(crate) async fn end_interrupted(self: &Arc<Self>) {
        let mut all_ended = true;
        for id in self.repairs.interruptions() {
            match self.end_one(&id).await {
                Ok(()) => {
                    self.repairs.ended(&id);
                    // Its units may have to be replaced.
                    self.changed.notify_one();
                }
                Err(error) => {
                    all_ended = false;
                    tracing::warn!(event.id = %id, %error, "an interrupted operation could not be ended, trying again later: {error}");
                }
            }
        }
        self.repairs.pause(all_ended).await;
    }

    /// An operation that sets out to do what an interrupted one still owes takes it over: what was
    /// owed must not be done to what is made later under the same name.
    pub(crate) async fn take_over(&self, journal: &serde_json::Value) -> Result<()> {
        for id in self.repairs.interruptions() {
            let Some(mut event) = self.records.get::<Event>(id.as_str()).await? else { continue };
            if event.journal == *journal {
                self.close(&mut event).await?;
                self.repairs.ended(&id);
            }
        }
        Ok(())
    }

    async fn close(&self, event: &mut Kept<Event>) -> Result<()> {
        if event.running() {
            event.ended_at = Some(Utc::now());
            event.error = "the platform was stopped while this ran".to_owned();
        }
        event.journal = serde_json::Value::Null;
        self.records.save(event).await
    }

    async fn end_one(self: &Arc<Self>, id: &EventId) -> Result<()> {
        let Some(event) = self.records.get::<Event>(id.as_str()).await? else { return Ok(()) };
        let _hold = self.hold(event.targets.clone(), "recovery").await?;
        // Whoever held the targets until now may have taken it over.
        let Some(mut event) = self.records.get::<Event>(id.as_str()).await?.filter(|event| event.unfinished()) else {
            return Ok(());
        };
        let journal =
            serde_json::from_value(event.journal.clone()).map_err(|unreadable| Error::Store(unreadable.into()))?;
        let acting = Acting { user: event.owner.clone(), event: event.id.clone() };
        self.undo_or_finish(journal, &acting).await?;
        self.close(&mut event).await
    }

    async fn undo_or_finish(&self, journal: Journal, acting: &Acting) -> Result<()> {
        match journal {
            Journal::Nothing => Ok(()),
            Journal::CreateInstance { service, instance } => self.undo_create(&service, &instance, acting).await,
            Journal::RemoveInstance { service, instance } => self.finish_remove(&service, &instance, acting).await,
            Journal::Bind { service, instance, app } => self.undo_half_bind(&service, &instance, &app, acting).await,
            Journal::Unbind { service, instance, app } => self.finish_unbind(&service, &instance, &app, acting).await,
            Journal::RemoveApp { app } => match self.records.get::<App>(app.as_str()).await? {
                Some(app) => self.take_apart(&app, acting, &Progress::silent()).await,
                None => Ok(()),
            },
            Journal::Deploy { app, image } => self.drop_unless_released(&app, &image).await,
        }
    }

    async fn drop_unless_released(&self, app: &AppName, image: &str) -> Result<()> {
        let known = self.records.get::<App>(app.as_str()).await?;
        let releases = known.as_ref().map(|app| app.releases.as_slice()).unwrap_or_default();
        if releases.iter().any(|release| release.image == image) {
            return Ok(());
        }
        // An image can't go while a unit runs it.
        for unit in self.engine.units(Some(app)).await? {
            if !releases.iter().any(|release| release.version == unit.version) {
                self.engine.stop(&unit.id, self.settings.stop_grace).await?;
            }
        }
        self.engine.remove_image(image).await
    }

    /// The user was never told yes: nothing may be left at the broker.
    async fn undo_create(&self, service: &ServiceName, instance: &InstanceName, acting: &Acting) -> Result<()> {
        if self.records.get::<ServiceInstance>(&instance_key(service, instance)).await?.is_some() {
            return Ok(());
        }
        let Some(service) = self.records.get::<Service>(service.as_str()).await? else { return Ok(()) };
        gone(self.brokers.delete(&service, instance, acting).await)
    }

    async fn finish_remove(&self, service: &ServiceName, instance: &InstanceName, acting: &Acting) -> Result<()> {
        let Some(kept) = self.records.get::<ServiceInstance>(&instance_key(service, instance)).await? else {
            return Ok(());
        };
        if let Some(service) = self.records.get::<Service>(service.as_str()).await? {
            gone(self.brokers.delete(&service, instance, acting).await)?;
        }
        self.records.commit(&[kept.delete()]).await
    }

    async fn undo_half_bind(
        &self,
        service: &ServiceName,
        instance: &InstanceName,
        app: &AppName,
        acting: &Acting,
    ) -> Result<()> {
        let kept = self.records.get::<ServiceInstance>(&instance_key(service, instance)).await?;
        if kept.is_none_or(|kept| kept.apps.contains(app)) {
            return Ok(());
        }
        let Some(service) = self.records.get::<Service>(service.as_str()).await? else { return Ok(()) };
        let consumer = Consumer::App(app.clone());
        let hosts = vec![self.address(app)];
        self.brokers.unbind(&service, instance, &consumer, &hosts, acting).await
    }

    async fn finish_unbind(
        &self,
        service: &ServiceName,
        instance: &InstanceName,
        app: &AppName,
        acting: &Acting,
    ) -> Result<()> {
        let kept: Option<Kept<ServiceInstance>> = self.records.get(&instance_key(service, instance)).await?;
        let Some(mut kept) = kept.filter(|kept| kept.apps.contains(app)) else { return Ok(()) };
        if let Some(service) = self.records.get::<Service>(service.as_str()).await? {
            let consumer = Consumer::App(app.clone());
            self.brokers.unbind(&service, instance, &consumer, &[self.address(app)], acting).await?;
        }
        kept.apps.retain(|bound| bound != app);
        let Some(mut bound) = self.records.get::<App>(app.as_str()).await? else {
            return self.records.save(&mut kept).await;
        };
        bound.service_env.retain(|var| !var.is_from(service, instance));
        bound.generation += 1;
        // The reconciler replaces the units: it sees a generation that does not run yet.
        self.records.save_with(&mut bound, vec![kept.put()?]).await
    }
}

/// A deletion that finds nothing to delete has done its work.
fn gone(outcome: Result<()>) -> Result<()> {
    match outcome {
        Err(Error::Broker(text)) if text.contains("does not exist in the service API") => Ok(()),
        other => other,
    }
}
