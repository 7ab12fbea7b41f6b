//! The whole life of an instance and of a binding, as pure functions. Nothing here waits or writes.

use serde::{Deserialize, Serialize};

/// Where an instance stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum InstanceState {
    /// It is being made, or a crash interrupted that.
    Provisioning,
    /// It works.
    Ready,
    /// It is being changed; what it becomes is written down.
    Updating,
    /// It is being removed, or what is left of a failed create is.
    Deprovisioning,
    /// It could not be made although the platform was told it would be. A removal leads on, or another try.
    Failed,
    /// It is gone, but nobody has been told yet: the next delete is.
    Gone,
}

/// What happens to an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InstanceEvent {
    /// The author made it.
    Provisioned,
    /// The author could not make it, and nobody believes that it is there.
    Refused,
    /// The author could not make it, but the platform has it in its books.
    Broke,
    /// A change was asked for.
    ChangeAsked,
    /// The author made the change, or gave it up.
    ChangeEnded,
    /// Another try was asked for, after it could not be made.
    RetryAsked,
    /// Removal was asked for.
    RemovalAsked,
    /// The author removed it.
    Removed,
}

impl InstanceState {
    /// The state after an event. Removal is a one-way door: what was begun before it changes nothing.
    #[must_use]
    pub(crate) fn after(self, event: InstanceEvent) -> Self {
        use InstanceEvent::{Broke, ChangeAsked, ChangeEnded, Provisioned, Refused, RemovalAsked, Removed, RetryAsked};
        use InstanceState::{Deprovisioning, Failed, Gone, Provisioning, Ready, Updating};
        match (self, event) {
            (Provisioning, Provisioned) | (Updating, ChangeEnded) => Ready,
            (Provisioning, Refused) => Deprovisioning,
            (Provisioning, Broke) => Failed,
            (Ready, ChangeAsked) => Updating,
            (Failed, RetryAsked) => Provisioning,
            (Provisioning | Ready | Updating | Failed, RemovalAsked) => Deprovisioning,
            (Deprovisioning, Removed) => Gone,
            (unchanged, _) => unchanged,
        }
    }

    /// Whether there is work to be finished.
    #[cfg(test)]
    pub(crate) fn is_unfinished(self) -> bool {
        match self {
            Self::Provisioning | Self::Updating | Self::Deprovisioning => true,
            Self::Ready | Self::Failed | Self::Gone => false,
        }
    }

    /// As the store spells it.
    #[must_use]
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Provisioning => "provisioning",
            Self::Ready => "ready",
            Self::Updating => "updating",
            Self::Deprovisioning => "deprovisioning",
            Self::Failed => "failed",
            Self::Gone => "gone",
        }
    }
}

/// Where a binding stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum BindingState {
    /// Access is being given.
    Binding,
    /// The consumer has access.
    Bound,
    /// Access is being taken away.
    Unbinding,
    /// The consumer has access, and new credentials are being made for it.
    Rotating,
    /// Taking access away failed and the platform was told so: access is being given back.
    Restoring,
    /// Nobody has access, but identifier and secret are remembered for a while.
    Gone,
}

/// What happens to a binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BindingEvent {
    /// A bind was asked for.
    Asked,
    /// The author gave access.
    Given,
    /// The author could not give access, or nobody heard that it did.
    NotGiven,
    /// New credentials were asked for.
    RotationAsked,
    /// The author gave access with the new credentials, or could not.
    RotationEnded,
    /// An unbind was asked for.
    RemovalAsked,
    /// The author took access away.
    Taken,
    /// The author could not take it away, and the platform was told that it is still there.
    NotTaken,
}

impl BindingState {
    /// The state after an event.
    #[must_use]
    pub(crate) fn after(self, event: BindingEvent) -> Self {
        use BindingEvent::{Asked, Given, NotGiven, NotTaken, RemovalAsked, RotationAsked, RotationEnded, Taken};
        use BindingState::{Binding, Bound, Gone, Restoring, Rotating, Unbinding};
        match (self, event) {
            (Gone | Unbinding, Asked) => Binding,
            (Binding | Restoring, Given) | (Rotating, RotationEnded) => Bound,
            (Bound, RotationAsked) => Rotating,
            (Binding, NotGiven) | (Binding | Bound | Rotating | Restoring, RemovalAsked) => Unbinding,
            (Unbinding, Taken) => Gone,
            (Unbinding, NotTaken) => Restoring,
            (unchanged, _) => unchanged,
        }
    }

    /// As the store spells it.
    #[must_use]
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Binding => "binding",
            Self::Bound => "bound",
            Self::Unbinding => "unbinding",
            Self::Rotating => "rotating",
            Self::Restoring => "restoring",
            Self::Gone => "gone",
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STATES: [InstanceState; 6] = {
        use InstanceState::*;
        [Provisioning, Ready, Updating, Deprovisioning, Failed, Gone]
    };
    const EVENTS: [InstanceEvent; 8] = {
        use InstanceEvent::*;
        [Provisioned, Refused, Broke, ChangeAsked, ChangeEnded, RetryAsked, RemovalAsked, Removed]
    };

    #[test] // SPEC L-1
    fn an_instances_life_is_this_table() {
        use InstanceState::*;
        let table = [
            (Provisioning, {
                let (p, d) = (Provisioning, Deprovisioning);
                [Ready, d, Failed, p, p, p, d, p]
            }),
            (Ready, [Ready, Ready, Ready, Updating, Ready, Ready, Deprovisioning, Ready]),
            (Updating, [Updating, Updating, Updating, Updating, Ready, Updating, Deprovisioning, Updating]),
            (Deprovisioning, {
                let d = Deprovisioning;
                [d, d, d, d, d, d, d, Gone]
            }),
            (Failed, [Failed, Failed, Failed, Failed, Failed, Provisioning, Deprovisioning, Failed]),
            (Gone, [Gone; 8]),
        ];
        for (state, row) in table {
            for (event, next) in EVENTS.into_iter().zip(row) {
                assert_eq!(state.after(event), next, "{state:?} after {event:?}");
            }
        }
        assert_eq!(table.map(|(state, _)| state), STATES);
    }

    #[test] // SPEC L-1
    fn a_bindings_life_is_this_table() {
        use BindingEvent::*;
        use BindingState::*;
        let events = [Asked, Given, NotGiven, RotationAsked, RotationEnded, RemovalAsked, Taken, NotTaken];
        let table = [
            (Binding, [Binding, Bound, Unbinding, Binding, Binding, Unbinding, Binding, Binding]),
            (Bound, [Bound, Bound, Bound, Rotating, Bound, Unbinding, Bound, Bound]),
            (Rotating, [Rotating, Rotating, Rotating, Rotating, Bound, Unbinding, Rotating, Rotating]),
            (Unbinding, [Binding, Unbinding, Unbinding, Unbinding, Unbinding, Unbinding, Gone, Restoring]),
            (Restoring, [Restoring, Bound, Restoring, Restoring, Restoring, Unbinding, Restoring, Restoring]),
            (Gone, [Binding, Gone, Gone, Gone, Gone, Gone, Gone, Gone]),
        ];
        for (state, row) in table {
            for (event, next) in events.into_iter().zip(row) {
                assert_eq!(state.after(event), next, "{state:?} after {event:?}");
            }
        }
    }

    #[test] // SPEC L-1
    fn from_every_state_a_removal_leads_to_the_end() {
        for state in STATES {
            let removed = state.after(InstanceEvent::RemovalAsked).after(InstanceEvent::Removed);
            assert_eq!(removed, InstanceState::Gone, "{state:?}");
        }
    }

    proptest! {
        #[test] // SPEC L-1
        fn what_is_unfinished_comes_to_an_end_by_what_the_author_does(
            before in prop::collection::vec(0..EVENTS.len(), 0..12),
        ) {
            use InstanceEvent::{Broke, ChangeEnded, Provisioned, Refused, Removed};
            let state = before.into_iter().fold(InstanceState::Provisioning, |state, event| state.after(EVENTS[event]));
            let ends = [Provisioned, Refused, Broke, ChangeEnded, Removed].map(|event| state.after(event));
            prop_assert_eq!(state.is_unfinished(), ends.iter().any(|end| *end != state));
        }

        #[test] // SPEC L-1
        fn once_removal_was_asked_for_an_instance_never_works_again(
            before in prop::collection::vec(0..EVENTS.len(), 0..8),
            after in prop::collection::vec(0..EVENTS.len(), 0..8),
        ) {
            let live = before.into_iter().fold(InstanceState::Provisioning, |state, event| state.after(EVENTS[event]));
            let removed = live.after(InstanceEvent::RemovalAsked);
            let late = after.into_iter().fold(removed, |state, event| state.after(EVENTS[event]));
            prop_assert!(matches!(late, InstanceState::Deprovisioning | InstanceState::Gone));
        }
    }
}
