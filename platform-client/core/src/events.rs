//! Reading the audit record.

use chrono::{DateTime, Utc};

use crate::{Error, Event, EventId, Platform, Result, TargetType, User, ports::Page, records::Kept};

/// Which events to list; what is left out does not matter.
#[derive(Clone, Debug, Default)]
pub struct EventFilter {
    /// Only these kinds, or those below them.
    pub kinds: Vec<String>,
    /// Only about this kind of thing.
    pub target_type: Option<TargetType>,
    /// Only about the thing of this name.
    pub target: Option<String>,
    /// Only of this user.
    pub owner: Option<String>,
    /// Only those that still run, or that have ended.
    pub running: Option<bool>,
    /// Only those that failed.
    pub errors_only: bool,
    /// Only those that began then or later.
    pub since: Option<DateTime<Utc>>,
    /// Only those that began then or earlier.
    pub until: Option<DateTime<Utc>>,
    /// Leave out so many first.
    pub skip: usize,
    /// At most so many; 0 for the most that are given, 100.
    pub limit: usize,
}

const MOST: usize = 100;

impl EventFilter {
    fn lets_through(&self, event: &Event) -> bool {
        let kind = self.kinds.is_empty()
            || self.kinds.iter().any(|kind| event.kind == *kind || event.kind.starts_with(&format!("{kind}.")));
        let target = event.targets.iter().any(|target| {
            self.target_type.is_none_or(|kind| target.kind == kind)
                && self.target.as_ref().is_none_or(|value| target.value == *value)
        });
        kind && target
            && self.owner.as_ref().is_none_or(|owner| event.owner == *owner)
            && self.running.is_none_or(|running| event.running() == running)
            && (!self.errors_only || !event.error.is_empty())
            && self.since.is_none_or(|since| event.started_at >= since)
            && self.until.is_none_or(|until| event.started_at <= until)
    }
}

impl Platform {
    /// Events that the user may see, newest first.
    ///
    /// # Errors
    /// When the records can't be read.
    pub async fn events(&self, user: &User, filter: &EventFilter) -> Result<Vec<Event>> {
        let limit = if filter.limit == 0 { MOST } else { filter.limit.min(MOST) };
        let visible = self.visible_targets(user).await?;
        let wanted = |event: &Event| filter.lets_through(event) && may_see(user, event, &visible);
        let events = self.newest_events(wanted, filter.skip.saturating_add(limit)).await?;
        Ok(events.into_iter().skip(filter.skip).collect())
    }

    /// The newest `limit` events that are wanted. Reads page by page: most listings end in the first one.
    pub(crate) async fn newest_events(
        &self,
        wanted: impl Fn(&Event) -> bool + Send,
        limit: usize,
    ) -> Result<Vec<Event>> {
        let mut found = Vec::new();
        let mut skip = 0;
        loop {
            let page =
                self.records.list::<Event>(Page { descending: true, limit: MOST, skip, ..Page::default() }).await?;
            let (read, last) = (page.len(), page.len() < MOST);
            found.extend(page.into_iter().map(Kept::into_inner).filter(|event| wanted(event)));
            if last || found.len() >= limit {
                found.truncate(limit);
                return Ok(found);
            }
            skip += read;
        }
    }

    /// One event.
    ///
    /// # Errors
    /// When there is no such event, or the user may not see it.
    pub async fn event(&self, user: &User, id: &EventId) -> Result<Event> {
        let unknown = || Error::NotFound("event not found".to_owned());
        let event = self.records.get::<Event>(id.as_str()).await?.ok_or_else(unknown)?.into_inner();
        let visible = self.visible_targets(user).await?;
        if may_see(user, &event, &visible) { Ok(event) } else { Err(unknown()) }
    }

    /// Names of apps and instances whose events the user may see.
    async fn visible_targets(&self, user: &User) -> Result<Vec<(TargetType, String)>> {
        let apps = self.apps(user).await?.into_iter().map(|app| (TargetType::App, app.name.to_string()));
        let instances = self.instances(user, None).await?;
        let instances = instances.into_iter().map(|instance| {
            (TargetType::ServiceInstance, crate::ports::instance_key(&instance.service, &instance.name))
        });
        Ok(apps.chain(instances).collect())
    }
}

fn may_see(user: &User, event: &Event, visible: &[(TargetType, String)]) -> bool {
    user.admin
        || event.owner == user.email.as_str()
        || event
            .targets
            .iter()
            .any(|target| visible.iter().any(|(kind, value)| target.kind == *kind && target.value == *value))
}
