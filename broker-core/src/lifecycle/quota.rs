//! How many instances of a plan there may be, and how many each team may have (SPEC I-11).
//!
//! What an instance takes is written with its record, and a limit is a condition of the commit that begins to take it: of
//! callers who are admitted at once, by whichever replica, none is one too many.

use super::{engine::Engine, records::InstanceRecord, states::InstanceState};
use crate::{
    Catalog, InstanceName, PlanName, Result, Update,
    store::{Limit, Place, Write},
};

/// How many instances are counted in one commit.
const PAGE: usize = 256;

impl Catalog {
    /// Whether a plan has a limit.
    pub(super) fn has_limits(&self) -> bool {
        self.plans().iter().any(|plan| plan.rules.at_most.is_some() || plan.rules.at_most_per_team.is_some())
    }

    /// The limits that another instance of a plan has to keep.
    fn limits_of(&self, plan: &PlanName, team: &str) -> Vec<Limit> {
        let Some(rules) = self.find(plan).map(|plan| &plan.rules) else { return Vec::new() };
        let of_all = rules.at_most.map(|most| Limit { plan: plan.clone(), team: None, most });
        let of_team = rules.at_most_per_team;
        let of_team = of_team.map(|most| Limit { plan: plan.clone(), team: Some(team.to_owned()), most });
        of_all.into_iter().chain(of_team).collect()
    }
}

impl Engine {
    /// What a new instance has to keep.
    pub(super) async fn limits_of_new(&self, wish: &Update) -> Result<Vec<Write>> {
        if !self.has_limits {
            return Ok(Vec::new());
        }
        self.count_known().await?;
        Ok(self.catalog.limits_of(&wish.plan, &wish.team).into_iter().map(Write::Within).collect())
    }

    /// What an instance has to keep that becomes something else: what it takes already, it may go on taking.
    pub(super) async fn limits_of_change(&self, record: &InstanceRecord, wish: &Update) -> Result<Vec<Write>> {
        let now = &record.instance;
        if !self.has_limits || (now.plan == wish.plan && now.team == wish.team) {
            return Ok(Vec::new());
        }
        self.count_known().await?;
        let mut limits = self.catalog.limits_of(&wish.plan, &wish.team);
        if now.plan == wish.plan {
            limits.retain(|limit| limit.team.is_some());
        }
        Ok(limits.into_iter().map(Write::Within).collect())
    }

    /// What an instance takes: while it is changed, also what it becomes.
    pub(super) fn places(&self, record: &InstanceRecord) -> Option<Write> {
        self.has_limits.then(|| {
            let (name, id) = (record.instance.name.clone(), record.instance.id.clone());
            Write::Places { name, id, revision: None, places: self.places_of(record) }
        })
    }

    fn places_of(&self, record: &InstanceRecord) -> Vec<Place> {
        if record.state == InstanceState::Gone {
            return Vec::new();
        }
        let now = Place { plan: record.instance.plan.clone(), team: record.instance.team.clone() };
        let next = record.wish.as_ref().map(|wish| Place { plan: wish.plan.clone(), team: wish.team.clone() });
        let next = next.filter(|next| *next != now);
        let is_limited = |place: &Place| !self.catalog.limits_of(&place.plan, &place.team).is_empty();
        std::iter::once(now).chain(next).filter(is_limited).collect()
    }

    /// Counts what was made before there were limits, once in a process's life.
    async fn count_known(&self) -> Result<()> {
        let counting = self.counted.get_or_try_init(async || {
            let mut after: Option<InstanceName> = None;
            loop {
                let page = self.store.instances(after.as_ref(), PAGE).await?;
                after = page.last().map(|record| record.instance.name.clone());
                let is_last = page.len() < PAGE;
                let counted = page.into_iter().map(|record| Write::Places {
                    places: self.places_of(&record),
                    // What is changed meanwhile counts itself.
                    revision: Some(record.revision),
                    name: record.instance.name,
                    id: record.instance.id,
                });
                self.store.commit(counted.collect()).await?;
                if is_last {
                    return Ok(());
                }
            }
        });
        counting.await.copied()
    }
}
