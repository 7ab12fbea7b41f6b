//! The association of an instance with an app or a job.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Actor, AppName, BindingId, JobName, OpaqueId, Parameters, Secret, Whereabouts, instance::Names};

/// Who uses an instance.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Consumer {
    /// An app, by `bind-app`.
    App(AppName),
    /// A job, by `binds/jobs/{job}`.
    Job(JobName),
    /// A binding that its platform has an identifier for, by Open Service Broker.
    Binding(BindingId),
}

impl fmt::Display for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::App(name) => write!(f, "app \"{name}\""),
            Self::Job(name) => write!(f, "job \"{name}\""),
            Self::Binding(id) => write!(f, "binding \"{id}\""),
        }
    }
}

/// One consumer's access to an instance, with credentials of its own.
///
/// Debug output has the parameters' names only: their values may be secrets.
#[derive(Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Binding {
    /// Made by the framework before the first call; the same in every repeat. Name the account on
    /// your server after this (SPEC N-6).
    pub id: OpaqueId,
    /// Who is bound.
    pub consumer: Consumer,
    /// The account's password: made before the first call, the same in every repeat, and the same
    /// again when the consumer is bound anew soon after an unbind (SPEC B-5).
    pub secret: Secret,
    /// Parameters of the bind.
    pub parameters: Parameters,
    /// Where the consumer is, as its platform says.
    #[serde(default)]
    pub whereabouts: Whereabouts,
    /// Who asked for what is done with it now: the bind, the unbind, the rotation (SPEC L-13).
    #[serde(skip)]
    pub asked_by: Actor,
}

impl Binding {
    /// A binding with fresh identifiers: what the framework makes on bind, and what an author's tests need.
    #[must_use]
    pub fn new(consumer: Consumer) -> Self {
        Self {
            id: OpaqueId::generate(),
            consumer,
            secret: Secret::generate(),
            parameters: Parameters::new(),
            whereabouts: Whereabouts::default(),
            asked_by: Actor::default(),
        }
    }

    /// As an author gets it who is to do what somebody asked for.
    #[cfg(feature = "server")]
    pub(crate) fn asked_for_by(&self, actor: &Actor) -> Self {
        Self { asked_by: actor.clone(), ..self.clone() }
    }
}

impl fmt::Debug for Binding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Binding")
            .field("id", &self.id)
            .field("consumer", &self.consumer)
            .field("secret", &self.secret)
            .field("parameters", &Names(&self.parameters))
            .field("whereabouts", &self.whereabouts)
            .field("asked_by", &self.asked_by)
            .finish()
    }
}
