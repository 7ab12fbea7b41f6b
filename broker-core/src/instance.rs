//! A service instance as an author sees it.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use serde::{Deserialize, Serialize};

use crate::{Actor, InstanceName, OpaqueId, PlanName, Pool, Secret};

/// Parameters as the user gave them: a JSON object. Form encoding has only strings in it.
pub type Parameters = serde_json::Map<String, serde_json::Value>;

/// What an author wants to be reminded of: written down with the instance, sealed, and given back
/// with every later call. Typically an address, a port, the plan's limits at creation.
pub type Notes = serde_json::Map<String, serde_json::Value>;

/// One provisioned resource, or one that is about to be.
///
/// Debug output has the names of parameters and notes only: their values may be secrets.
#[derive(Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Instance {
    /// Made by the framework before the first call; the same in every repeat. Name things on your
    /// server after this, never after [`name`](Self::name) (SPEC N-6).
    pub id: OpaqueId,
    /// What users call it; unique within the service.
    pub name: InstanceName,
    /// The plan it is on, checked against the catalog.
    pub plan: PlanName,
    /// Parameters of create, or of the last update.
    pub parameters: Parameters,
    /// The team that owns it, as the platform claims.
    pub team: String,
    /// Free text from its owner.
    pub description: String,
    /// Labels from its owner.
    pub tags: Vec<String>,
    /// A secret of the instance's own, for an administrator's account on its server. Made before
    /// the first call; the same in every repeat.
    pub secret: Secret,
    /// What the author returned last from [`provision`](crate::Broker::provision) or
    /// [`update`](crate::Broker::update); empty before that.
    pub notes: Notes,
    /// Where [`progress`](Self::progress) is shown.
    #[serde(skip)]
    pub(crate) progress: Progress,
    /// The version of its plan's [`maintenance`](crate::Plan::maintenance) that it is on, if the plan had one.
    #[serde(default)]
    pub maintenance: Option<String>,
    /// Where on the platform it belongs, of a multi-cluster service: as of its create, its last update, or the last
    /// bind of an app. None for every other service.
    #[serde(default)]
    pub pool: Option<Pool>,
    /// What an Open Service Broker platform says of where it belongs, as it came with its create or its last update:
    /// `platform`, and what that platform has, such as `organization_guid`, `space_name`, `namespace`, `clusterid` or
    /// `instance_annotations` (SPEC O-15). Empty for tsuru.
    #[serde(default, skip_serializing_if = "Parameters::is_empty")]
    pub context: Parameters,
    /// Who asked for what is done with it now: its create, its update, its removal (SPEC L-13).
    #[serde(skip)]
    pub asked_by: Actor,
    /// How often it became something else: variables of a binding that are older may lead nowhere (SPEC B-21).
    #[serde(default)]
    pub(crate) changes: u64,
}

impl Instance {
    /// An instance with fresh identifiers: what the framework makes on create, and what an author's tests need.
    #[must_use]
    pub fn new(name: InstanceName, plan: PlanName) -> Self {
        Self {
            id: OpaqueId::generate(),
            name,
            plan,
            parameters: Parameters::new(),
            team: String::new(),
            description: String::new(),
            tags: Vec::new(),
            secret: Secret::generate(),
            notes: Notes::new(),
            progress: Progress::default(),
            maintenance: None,
            pool: None,
            context: Parameters::new(),
            asked_by: Actor::default(),
            changes: 0,
        }
    }

    /// Says how far a provision, update or deprovision of this instance is, in a line for its owner: shown as long as
    /// the call takes, and kept in the operation log (SPEC L-11). The last line counts; it never waits and writes
    /// nothing to disk, so it may be called as often as there is something to say. Holds no secret.
    ///
    /// In an author's tests, and in other calls, it is shown nowhere.
    ///
    /// ```
    /// # use broker_core::Instance;
    /// # let instance = Instance::new("cache".parse().unwrap(), "small".parse().unwrap());
    /// instance.progress("copied 3 of 10 GB");
    /// ```
    pub fn progress(&self, line: impl AsRef<str>) {
        self.progress.say(line.as_ref());
    }
}

/// The longest line of progress, in characters.
const LONGEST_LINE: usize = 200;

/// A line that an author says and others read; nobody in an author's tests.
#[derive(Clone, Default)]
pub(crate) struct Progress(Option<Arc<Mutex<Option<String>>>>);

impl Progress {
    /// One that is read.
    #[cfg(feature = "server")]
    pub(crate) fn shown() -> Self {
        Self(Some(Arc::default()))
    }

    /// The last line, if there is one.
    #[cfg(feature = "server")]
    pub(crate) fn last(&self) -> Option<String> {
        self.0.as_ref().and_then(|line| line.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    fn say(&self, line: &str) {
        let Some(shown) = &self.0 else { return };
        let words: Vec<&str> = line.split(char::is_control).map(str::trim).filter(|part| !part.is_empty()).collect();
        let line = words.join(" ").chars().take(LONGEST_LINE).collect();
        *shown.lock().unwrap_or_else(PoisonError::into_inner) = Some(line);
    }
}

/// A change that an instance's owner asks for: the wanted plan, parameters and labels, whole.
///
/// Debug output has the parameters' names only: their values may be secrets.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Update {
    /// The wanted plan, checked against the catalog.
    pub plan: PlanName,
    /// The wanted parameters.
    pub parameters: Parameters,
    /// The owner team from now on.
    pub team: String,
    /// The description from now on.
    pub description: String,
    /// The labels from now on.
    pub tags: Vec<String>,
    /// The maintenance version wanted: another one than [`Instance::maintenance`] asks for an upgrade.
    #[serde(default)]
    pub maintenance: Option<String>,
}

impl Update {
    /// The instance's present wishes, to be changed.
    #[must_use]
    pub fn of(instance: &Instance) -> Self {
        Self {
            plan: instance.plan.clone(),
            parameters: instance.parameters.clone(),
            team: instance.team.clone(),
            description: instance.description.clone(),
            tags: instance.tags.clone(),
            maintenance: instance.maintenance.clone(),
        }
    }
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Instance")
            .field("id", &self.id)
            .field("name", &self.name)
            .field("plan", &self.plan)
            .field("parameters", &Names(&self.parameters))
            .field("team", &self.team)
            .field("description", &self.description)
            .field("tags", &self.tags)
            .field("secret", &self.secret)
            .field("notes", &Names(&self.notes))
            .field("maintenance", &self.maintenance)
            .field("pool", &self.pool)
            .field("context", &Names(&self.context))
            .field("asked_by", &self.asked_by)
            .finish()
    }
}

impl fmt::Debug for Update {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Update")
            .field("plan", &self.plan)
            .field("parameters", &Names(&self.parameters))
            .field("team", &self.team)
            .field("description", &self.description)
            .field("tags", &self.tags)
            .field("maintenance", &self.maintenance)
            .finish()
    }
}

/// A bag, shown without its values.
pub(crate) struct Names<'a>(pub(crate) &'a Parameters);

impl fmt::Debug for Names<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Binding, Consumer};

    #[test] // SPEC S-5
    fn values_of_parameters_and_notes_are_not_shown() {
        let bag = Parameters::from_iter([("token".to_owned(), "s3cret".into())]);
        let mut instance = Instance::new("cache".parse().unwrap(), "small".parse().unwrap());
        (instance.parameters, instance.notes) = (bag.clone(), bag.clone());
        let mut binding = Binding::new(Consumer::App("web".parse().unwrap()));
        binding.parameters = bag;

        let shown = format!("{instance:?} {:?} {binding:?}", Update::of(&instance));

        assert!(shown.contains("token") && !shown.contains("s3cret"), "{shown}");
        assert!(!shown.contains(instance.secret.expose()) && !shown.contains(binding.secret.expose()));
    }
}
