//! What is remembered of an instance and of a binding.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::{
    Binding, Consumer, EnvVars, Instance, OpaqueId, Update,
    lifecycle::states::{BindingEvent, BindingState, InstanceEvent, InstanceState},
};

/// An instance and where it stands.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct InstanceRecord {
    pub(crate) instance: Instance,
    pub(crate) state: InstanceState,
    /// Whether the platform is known to have it in its books: an answer was delivered, or it asked later.
    pub(crate) confirmed: bool,
    /// What the instance becomes, while it is updating.
    pub(crate) wish: Option<Update>,
    /// Why it failed, in a sentence for its owner.
    pub(crate) reason: Option<String>,
    /// The operation that was begun last; it names the work in logs.
    pub(crate) operation: OpaqueId,
    /// When the state was entered.
    pub(crate) since: DateTime<Utc>,
    /// Counts writes; 0 for a record that was never written. Kept beside the sealed body.
    #[serde(skip)]
    pub(crate) revision: i64,
}

impl InstanceRecord {
    /// The intent to make an instance.
    pub(crate) fn new(instance: Instance) -> Self {
        Self {
            instance,
            state: InstanceState::Provisioning,
            confirmed: false,
            wish: None,
            reason: None,
            operation: OpaqueId::generate(),
            since: Utc::now(),
            revision: 0,
        }
    }

    /// Lives through an event; a new state begins a new operation where it leads to work.
    pub(crate) fn live(&mut self, event: InstanceEvent) {
        let next = self.state.after(event);
        if next != self.state {
            self.state = next;
            self.since = Utc::now();
            if next.is_unfinished() {
                self.operation = OpaqueId::generate();
            }
        }
    }
}

/// A binding and where it stands.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct BindingRecord {
    /// The instance it belongs to.
    pub(crate) instance: OpaqueId,
    pub(crate) binding: Binding,
    pub(crate) state: BindingState,
    /// Whether an answer that gave the credentials away was delivered.
    pub(crate) confirmed: bool,
    /// What the author returned last.
    pub(crate) env: Option<EnvVars>,
    /// When the state was entered.
    pub(crate) since: DateTime<Utc>,
    /// Counts writes; 0 for a record that was never written. Kept beside the sealed body.
    #[serde(skip)]
    pub(crate) revision: i64,
}

impl BindingRecord {
    /// The intent to give access.
    pub(crate) fn new(instance: OpaqueId, binding: Binding) -> Self {
        Self {
            instance,
            binding,
            state: BindingState::Binding,
            confirmed: false,
            env: None,
            since: Utc::now(),
            revision: 0,
        }
    }

    /// Lives through an event.
    pub(crate) fn live(&mut self, event: BindingEvent) {
        let next = self.state.after(event);
        if next != self.state {
            self.state = next;
            self.since = Utc::now();
        }
    }

    /// Who is bound.
    pub(crate) fn consumer(&self) -> &Consumer {
        &self.binding.consumer
    }
}
