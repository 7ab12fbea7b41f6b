//! Questions that change nothing.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use chrono::{DateTime, TimeDelta, Utc};
use futures::FutureExt as _;
use tokio::time::{Instant, timeout};
use tracing::warn;

use super::{
    engine::{Engine, outcome_of},
    records::{BindingRecord, InstanceRecord, Operation},
    states::{BindingState, InstanceState},
};
use crate::{
    Access, Attempt, Authorizer, Binding, BrokerError, Consumer, Endpoint, EnvVars, Health, InfoItem, Instance,
    InstanceName, Metric, PlanName, Result, Secret, Tenant,
    author::{discreet_here, discreetly},
    store::Counts,
};

/// How far back an instance's log is shown.
const OPERATIONS_SHOWN: usize = 100;

/// How an instance is, for the platform.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    Up,
    /// Up, and a line to show.
    Notice(String),
    /// Not ready yet; how far it is, if the author says so.
    Pending(Option<String>),
    /// Not working; the line says why.
    Down(String),
}

/// An instance and where it stands, for whoever asks about it.
#[derive(Clone, Debug)]
pub(crate) struct InstanceView {
    pub(crate) instance: Instance,
    pub(crate) state: InstanceState,
    /// What was begun last.
    pub(crate) operation: Operation,
}

/// A binding and where it stands, for whoever asks about it.
#[derive(Clone, Debug)]
pub(crate) struct BindingView {
    pub(crate) binding: Binding,
    pub(crate) state: BindingState,
    /// What a bind is answered; none while there is no access.
    pub(crate) env: Option<EnvVars>,
    /// Whether the instance became something else since (SPEC B-21).
    pub(crate) is_outdated: bool,
    /// When that ends, if it does.
    pub(crate) expires: Option<Ends>,
    /// What was begun last.
    pub(crate) operation: Operation,
}

/// When credentials end (SPEC B-9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ends {
    pub(crate) expires_at: DateTime<Utc>,
    /// When it is time for new ones.
    pub(crate) renew_before: DateTime<Utc>,
}

impl Engine {
    /// The instance of that name, as it is known.
    pub(crate) async fn look_at(&self, name: &InstanceName) -> Result<InstanceView> {
        let mut record = self.known(name).await?;
        if record.state == InstanceState::Ready {
            self.confirm(&mut record).await;
        }
        let operation = self.with_line(record.operation);
        Ok(InstanceView { instance: record.instance, state: record.state, operation })
    }

    /// A consumer's binding, as it is known: for a while also one that is over, or could not be made.
    pub(crate) async fn look_at_binding(&self, name: &InstanceName, consumer: &Consumer) -> Result<BindingView> {
        let instance = self.known(name).await?.instance;
        let record = self.store.binding(&instance.id, consumer).await?;
        let not_bound = || BrokerError::NotBound { instance: name.clone(), consumer: consumer.clone() };
        let record = record.ok_or_else(not_bound)?;
        let (is_over, is_outdated) = (record.has_expired(), record.is_outdated(&instance));
        let BindingRecord { binding, state, env, operation, expires, .. } = record;
        let expires =
            expires.map(|expires_at| Ends { expires_at, renew_before: self.renew_before(&instance.plan, expires_at) });
        Ok(BindingView { binding, state, env: env.filter(|_| !is_over), is_outdated, expires, operation })
    }

    /// Whether there is a plan whose credentials end by themselves.
    pub(crate) fn lets_credentials_end(&self) -> bool {
        self.catalog.plans().iter().any(|plan| plan.rules.expiry.is_some())
    }

    fn renew_before(&self, plan: &PlanName, expires_at: DateTime<Utc>) -> DateTime<Utc> {
        let expiry = self.catalog.find(plan).and_then(|plan| plan.rules.expiry);
        let ahead = expiry.and_then(|expiry| TimeDelta::from_std(expiry.renew_before).ok()).unwrap_or_default();
        expires_at.checked_sub_signed(ahead).unwrap_or(expires_at)
    }

    /// An operation with what the author says about how far it is.
    pub(super) fn with_line(&self, mut operation: Operation) -> Operation {
        if operation.ended.is_none() {
            operation.progress = self.progress.of(&operation.id).last();
        }
        operation
    }

    /// What was done to instances of that name and has ended, the latest first.
    pub(crate) async fn operations(&self, name: &InstanceName) -> Result<Vec<Operation>> {
        Ok(self.store.operations(name, OPERATIONS_SHOWN).await?)
    }

    /// One of these operations: an instance's, or of the access of a consumer.
    pub(crate) async fn operation(
        &self,
        name: &InstanceName,
        consumer: Option<&Consumer>,
        id: &str,
    ) -> Result<Option<Operation>> {
        let is_meant = |it: &Operation| it.id.as_str() == id && it.consumer.as_ref() == consumer;
        Ok(self.operations(name).await?.into_iter().find(is_meant))
    }

    /// How many instances and bindings there are in each state.
    pub(crate) async fn counts(&self) -> Result<Counts> {
        Ok(self.store.counts().await?)
    }

    /// Whether the records can be read.
    pub(crate) async fn can_read(&self) -> Result<()> {
        Ok(self.store.instances(None, 1).await.map(drop)?)
    }

    /// Whether there is such an instance.
    pub(crate) async fn exists(&self, name: &InstanceName) -> Result<()> {
        self.shared(name).await.map(drop)
    }

    /// The instance of that name, if it is this team's.
    pub(crate) async fn neighbour(&self, name: &InstanceName, team: &str) -> Result<Option<Instance>> {
        let record = self.store.shared_instance(name).await?.filter(|record| record.is_visible());
        let is_same = |instance: &Instance| !team.is_empty() && instance.team == team;
        Ok(record.map(|record| record.instance.clone()).filter(is_same))
    }

    /// The instance of that name, to look at.
    pub(super) async fn shared(&self, name: &InstanceName) -> Result<Arc<InstanceRecord>> {
        let record = self.store.shared_instance(name).await?;
        record.filter(|record| record.is_visible()).ok_or_else(|| BrokerError::UnknownInstance(name.clone()))
    }

    /// As [`confirm`](Self::confirm), of a record that nobody changes: most are confirmed.
    async fn confirm_shared(&self, record: &InstanceRecord) {
        if !record.confirmed {
            self.confirm(&mut record.clone()).await;
        }
    }

    /// How the instance is. Takes no lock: it answers while something is being done.
    pub(crate) async fn status(self: &Arc<Self>, name: &InstanceName) -> Result<Condition> {
        let record = self.shared(name).await?;
        if record.state == InstanceState::Ready {
            self.confirm_shared(&record).await;
        }
        Ok(self.condition(&record).await)
    }

    /// As the record has it; of an instance that is ready, as its author says.
    pub(super) async fn condition(&self, record: &InstanceRecord) -> Condition {
        match record.state {
            InstanceState::Provisioning | InstanceState::Updating => {
                Condition::Pending(self.with_line(record.operation.clone()).progress)
            }
            InstanceState::Failed => Condition::Down(record.failed().to_string()),
            InstanceState::Deprovisioning | InstanceState::Gone => {
                Condition::Down(format!("instance \"{}\" is being removed", record.instance.name))
            }
            InstanceState::Ready => {
                let answer = self.look("status", self.broker.status(&record.instance)).await;
                answer.map_or_else(|error| Condition::Down(error.to_string()), Condition::from)
            }
        }
    }

    /// What the instance says about itself: nothing until it is ready.
    pub(crate) async fn info(self: &Arc<Self>, name: &InstanceName) -> Result<Vec<InfoItem>> {
        let record = self.shared(name).await?;
        if record.state == InstanceState::Ready {
            self.confirm_shared(&record).await;
        }
        let mut items = self.said(&record).await?;
        if record.is_there() {
            for more in self.more_info(&record.instance) {
                // What the author says under that label goes first.
                if items.iter().all(|item| item.label != more.label) {
                    items.push(more);
                }
            }
        }
        Ok(items)
    }

    /// What the author says of an instance that is there.
    pub(super) async fn said(&self, record: &InstanceRecord) -> Result<Vec<InfoItem>> {
        match record.is_there() {
            true => self.look("info", self.broker.info(&record.instance)).await,
            false => Ok(Vec::new()),
        }
    }

    /// What the framework knows beside it: the dashboard, and whether an update brings a newer version.
    fn more_info(&self, instance: &Instance) -> Vec<InfoItem> {
        let dashboard = self.dashboard(instance).map(|url| InfoItem::new("Dashboard", url));
        let update = self.newer_version(instance).map(|line| InfoItem::new("Update", line));
        dashboard.into_iter().chain(update).collect()
    }

    /// A line about the maintenance version that an update of the instance would bring, if there is one.
    pub(super) fn newer_version(&self, instance: &Instance) -> Option<String> {
        let newest = self.catalog.find(&instance.plan)?.maintenance.as_ref()?;
        if instance.maintenance.as_ref() == Some(&newest.version) {
            return None;
        }
        let present = instance.maintenance.as_deref().unwrap_or("an older version");
        let line = format!("{} is there, the instance is on {present}: update it to get it", newest.version);
        Some(if newest.description.is_empty() { line } else { format!("{line} ({})", newest.description) })
    }

    /// Where the instance's owner looks after it: the author's place, or else the framework's own (SPEC I-12), if the
    /// broker has a public URL.
    pub(crate) fn dashboard(&self, instance: &Instance) -> Option<String> {
        self.authors_dashboard(instance).or_else(|| Some(self.public_url.as_ref()?.link(instance)))
    }

    fn authors_dashboard(&self, instance: &Instance) -> Option<String> {
        let url = ask_at_once("dashboard", &instance.name, || self.broker.dashboard(instance))?;
        if url.starts_with("https://") || url.starts_with("http://") {
            return Some(url);
        }
        warn!(instance.name = %instance.name, "the author's dashboard is no URL of http or https, it is left out");
        None
    }

    /// Where the instance is reached, if the author says so.
    pub(crate) async fn endpoints(&self, name: &InstanceName) -> Result<Vec<Endpoint>> {
        let record = self.shared(name).await?;
        Ok(ask_at_once("endpoints", name, || self.broker.endpoints(&record.instance)))
    }

    /// What the author measures; nothing when it can't be had in time.
    pub(crate) async fn author_metrics(self: &Arc<Self>, within: std::time::Duration) -> Vec<Metric> {
        let asked = self.look("metrics", async {
            let answer = timeout(within, self.broker.metrics()).await;
            answer.unwrap_or_else(|_| Err(BrokerError::unavailable("metrics were not answered in time")))
        });
        // That they are missing was written down.
        asked.await.unwrap_or_default()
    }

    /// What the author measures of an instance; none when that is among its other measurements.
    pub(crate) async fn instance_metrics(&self, tenant: &Tenant) -> Result<Option<Vec<Metric>>> {
        self.look("instance_metrics", self.broker.instance_metrics(tenant)).await
    }

    /// What the author says of somebody who wants to call; nobody reads the secrets that came with it (SPEC T-14).
    pub(crate) async fn authorize(
        &self,
        authorizer: &dyn Authorizer,
        attempt: &Attempt,
        secrets: Vec<Secret>,
    ) -> Result<Access> {
        let question = async { authorizer.authorize(attempt).await.map_err(discreet_here) };
        self.look("authorize", discreetly(secrets, question)).await
    }

    async fn look<T>(&self, what: &'static str, question: impl Future<Output = Result<T>> + Send) -> Result<T> {
        let begun = Instant::now();
        let answer = timeout(self.timing.look_timeout, AssertUnwindSafe(question).catch_unwind()).await;
        let answer = answer.map_err(|_| BrokerError::unavailable(format!("{what} was not answered in time")));
        let answer = answer.and_then(|kept| kept.map_err(|_| BrokerError::failed(format!("{what} panicked"))));
        let answer = answer.and_then(|answer| answer).inspect_err(|error| {
            warn!(error = error as &dyn std::error::Error, "the author's {what} failed");
        });
        self.metrics.author_call(what, outcome_of(&answer), begun.elapsed());
        answer
    }
}

/// What the author says without waiting; as good as nothing when that panics.
pub(super) fn ask_at_once<T: Default>(what: &str, name: &InstanceName, question: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(question)).unwrap_or_else(|_| {
        warn!(instance.name = %name, "the author's {what} panicked");
        T::default()
    })
}

impl From<Health> for Condition {
    fn from(health: Health) -> Self {
        match health {
            Health::Up => Self::Up,
            Health::Notice(line) => Self::Notice(line),
            Health::Down(line) => Self::Down(line),
        }
    }
}
