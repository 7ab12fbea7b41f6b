//! What is remembered of an instance, of a binding, and of what was done to them.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::{
    Actor, Binding, Consumer, EnvVars, Instance, InstanceName, OpaqueId, Update,
    lifecycle::states::{BindingEvent, BindingState, InstanceEvent, InstanceState},
    line::one_line,
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
    /// What was begun last.
    pub(crate) operation: Operation,
    /// A call of the author's own that goes on, or was cut off by a crash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) call: Option<Operation>,
    /// The replica that works on it now: its lease, which lasts as long as that replica lives (SPEC L-8).
    pub(crate) holder: Option<OpaqueId>,
    /// When the state was entered.
    #[serde(with = "moment")]
    pub(crate) since: DateTime<Utc>,
    /// When somebody has to look after it, without being asked. Kept beside the sealed body.
    #[serde(skip)]
    pub(crate) due: Option<DateTime<Utc>>,
    /// Counts writes; 0 for a record that was never written. Kept beside the sealed body.
    #[serde(skip)]
    pub(crate) revision: i64,
}

impl InstanceRecord {
    /// The intent to make an instance.
    pub(crate) fn new(instance: Instance, operation: Operation) -> Self {
        Self {
            instance,
            state: InstanceState::Provisioning,
            confirmed: false,
            wish: None,
            reason: None,
            since: operation.began,
            operation,
            call: None,
            holder: None,
            due: None,
            revision: 0,
        }
    }

    /// Lives through an event.
    pub(crate) fn live(&mut self, event: InstanceEvent) {
        let next = self.state.after(event);
        if next != self.state {
            self.state = next;
            self.since = Utc::now();
        }
    }
}

/// A binding and where it stands.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct BindingRecord {
    /// The instance it belongs to.
    pub(crate) instance: OpaqueId,
    /// That instance's name, which never changes.
    pub(crate) instance_name: InstanceName,
    pub(crate) binding: Binding,
    pub(crate) state: BindingState,
    /// Whether an answer that gave the credentials away was delivered.
    pub(crate) confirmed: bool,
    /// What the author returned last.
    pub(crate) env: Option<EnvVars>,
    /// How often the instance had changed when the author returned that.
    #[serde(default)]
    pub(crate) env_as_of: u64,
    /// What it becomes, while it is rotating.
    pub(crate) next: Option<Binding>,
    /// What it was, and until when that works.
    pub(crate) retired: Vec<Retired>,
    /// When its own credentials end, if they do (SPEC B-9).
    #[serde(default, skip_serializing_if = "Option::is_none", with = "moment::if_any")]
    pub(crate) expires: Option<DateTime<Utc>>,
    /// When the consumer was bound; unknown of older records.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "moment::if_any")]
    pub(crate) made: Option<DateTime<Utc>>,
    /// When its credentials were rotated last, if they ever were.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "moment::if_any")]
    pub(crate) rotated: Option<DateTime<Utc>>,
    /// What was begun last.
    pub(crate) operation: Operation,
    /// The replica that works on it now (SPEC L-8).
    pub(crate) holder: Option<OpaqueId>,
    /// When the state was entered.
    #[serde(with = "moment")]
    pub(crate) since: DateTime<Utc>,
    /// When somebody has to look after it, without being asked. Kept beside the sealed body.
    #[serde(skip)]
    pub(crate) due: Option<DateTime<Utc>>,
    /// Counts writes; 0 for a record that was never written. Kept beside the sealed body.
    #[serde(skip)]
    pub(crate) revision: i64,
}

/// Credentials that a rotation replaced.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Retired {
    pub(crate) binding: Binding,
    /// When access is taken away.
    #[serde(with = "moment")]
    pub(crate) until: DateTime<Utc>,
}

impl BindingRecord {
    /// The intent to give access.
    pub(crate) fn new(instance: &Instance, binding: Binding, operation: Operation) -> Self {
        Self {
            instance: instance.id.clone(),
            instance_name: instance.name.clone(),
            binding,
            state: BindingState::Binding,
            confirmed: false,
            env: None,
            env_as_of: 0,
            next: None,
            retired: Vec::new(),
            expires: None,
            made: Some(operation.began),
            rotated: None,
            since: operation.began,
            operation,
            holder: None,
            due: None,
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

    /// Keeps what the author returned for the instance as it is now.
    pub(crate) fn hold(&mut self, env: EnvVars, instance: &Instance) {
        (self.env, self.env_as_of) = (Some(env), instance.changes);
    }

    /// Whether the instance became something else since the author returned the variables (SPEC B-21).
    pub(crate) fn is_outdated(&self, instance: &Instance) -> bool {
        self.env.is_some() && self.env_as_of != instance.changes
    }

    /// Whether the time of its credentials is over.
    pub(crate) fn has_expired(&self) -> bool {
        self.expires.is_some_and(|expires| expires <= Utc::now())
    }

    /// Who is bound.
    pub(crate) fn consumer(&self) -> &Consumer {
        &self.binding.consumer
    }

    /// All credentials that may work: its own, those before, and those it is about to get.
    pub(crate) fn with_access(&self) -> impl Iterator<Item = &Binding> {
        let own = (self.state != BindingState::Gone).then_some(&self.binding);
        own.into_iter().chain(self.retired.iter().map(|retired| &retired.binding)).chain(&self.next)
    }
}

/// Something that was done, or is being done, to an instance: a line of its operation log.
///
/// Holds no secret: it is kept in clear.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Operation {
    pub(crate) id: OpaqueId,
    pub(crate) kind: OperationKind,
    pub(crate) instance: InstanceName,
    /// Whose access it is about, if it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) consumer: Option<Consumer>,
    /// Method and path, of a call of the author's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) request: Option<String>,
    pub(crate) actor: Actor,
    #[serde(with = "moment")]
    pub(crate) began: DateTime<Utc>,
    /// None while it goes on.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "moment::if_any")]
    pub(crate) ended: Option<DateTime<Utc>>,
    /// Why it failed, in a sentence for the instance's owner; none when it went well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) failure: Option<String>,
    /// What the author said last about how far it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) progress: Option<String>,
}

/// What is done to an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum OperationKind {
    Create,
    Update,
    Remove,
    Bind,
    Unbind,
    Rotate,
    Retry,
    /// One of the author's own operations.
    Call,
}

impl OperationKind {
    /// As logs and answers spell it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Remove => "remove",
            Self::Bind => "bind",
            Self::Unbind => "unbind",
            Self::Rotate => "rotate",
            Self::Retry => "retry",
            Self::Call => "call",
        }
    }
}

impl Operation {
    /// An operation that begins now.
    pub(crate) fn begin(kind: OperationKind, instance: InstanceName, consumer: Option<Consumer>, actor: Actor) -> Self {
        Self {
            id: OpaqueId::generate(),
            kind,
            instance,
            consumer,
            request: None,
            actor,
            began: Utc::now(),
            ended: None,
            failure: None,
            progress: None,
        }
    }

    /// As somebody is told who has to wait for it.
    pub(crate) fn described(&self) -> String {
        let kind = self.kind.as_str();
        let article = if kind.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
        format!("{article} {kind}")
    }

    /// It ends now.
    pub(crate) fn end(&mut self, failure: Option<String>) {
        self.ended = Some(Utc::now());
        self.failure = failure.as_deref().map(one_line);
    }
}

/// Moments as RFC 3339 has them, to the nanosecond: as the library writes them by itself, but several times as fast, and
/// each commit writes a few.
mod moment {
    use chrono::{DateTime, SecondsFormat, Utc};
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(moment: &DateTime<Utc>, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&moment.to_rfc3339_opts(SecondsFormat::Nanos, true))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<DateTime<Utc>, D::Error> {
        DateTime::deserialize(from)
    }

    /// The same of a moment that may not be there.
    pub(super) mod if_any {
        use super::{DateTime, Deserializer, Serializer, Utc};
        use serde::Deserialize as _;

        pub(in super::super) fn serialize<S: Serializer>(
            moment: &Option<DateTime<Utc>>,
            to: S,
        ) -> Result<S::Ok, S::Error> {
            match moment {
                Some(moment) => super::serialize(moment, to),
                None => to.serialize_none(),
            }
        }

        pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
            from: D,
        ) -> Result<Option<DateTime<Utc>>, D::Error> {
            Option::deserialize(from)
        }
    }
}
