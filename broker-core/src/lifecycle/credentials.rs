//! Who has access to an instance, and since when: never with what.

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::{
    engine::Engine,
    look::ask_at_once,
    records::{BindingRecord, Retired},
    states::BindingState,
};
use crate::{Binding, Consumer, InfoItem, Instance, InstanceName, OpaqueId, Result};

/// A consumer's credentials (SPEC Y-7).
#[derive(Debug, Serialize)]
pub(crate) struct Credentials {
    consumer: Consumer,
    state: BindingState,
    #[serde(flatten)]
    present: Access,
    /// When the consumer was bound; unknown of those that were bound before this was kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    made: Option<DateTime<Utc>>,
    /// When they were rotated last, if they ever were.
    #[serde(skip_serializing_if = "Option::is_none")]
    rotated: Option<DateTime<Utc>>,
    /// When they end by themselves, if they do.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<DateTime<Utc>>,
    /// What a rotation replaced and still works.
    replaced: Vec<Replaced>,
}

/// An account, without its password.
#[derive(Debug, Serialize)]
struct Access {
    id: OpaqueId,
    account: Vec<InfoItem>,
}

#[derive(Debug, Serialize)]
struct Replaced {
    #[serde(flatten)]
    access: Access,
    until: DateTime<Utc>,
}

impl Engine {
    /// The credentials of all who have access to an instance, or are about to.
    pub(crate) async fn credentials(&self, name: &InstanceName) -> Result<Vec<Credentials>> {
        let record = self.shared(name).await?;
        let bindings = self.store.bindings(&record.instance.id).await?;
        let with_access =
            bindings.into_iter().filter(|known| known.state != BindingState::Gone && !known.has_expired());
        Ok(with_access.map(|known| self.credentials_of(&record.instance, known)).collect())
    }

    fn credentials_of(&self, instance: &Instance, known: BindingRecord) -> Credentials {
        let replaced =
            |Retired { binding, until }: Retired| Replaced { access: self.access(instance, &binding), until };
        let working = known.retired.into_iter().filter(|retired| !retired.is_over());
        Credentials {
            consumer: known.binding.consumer.clone(),
            state: known.state,
            present: self.access(instance, &known.binding),
            made: known.made,
            rotated: known.rotated,
            expires: known.expires,
            replaced: working.map(replaced).collect(),
        }
    }

    fn access(&self, instance: &Instance, binding: &Binding) -> Access {
        let account = ask_at_once("account", &instance.name, || self.broker.account(instance, binding));
        Access { id: binding.id.clone(), account }
    }
}
