//! The whole life of an instance and of a binding, as pure functions. Nothing here waits or writes.

use serde::{Deserialize, Serialize};

/// Where an instance stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(strum::EnumIter))]
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
#[cfg_attr(test, derive(strum::EnumIter))]
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
    ///
    /// Each pair is named, so that a new state or event does not compile before its place is decided.
    #[must_use]
    pub(crate) fn after(self, event: InstanceEvent) -> Self {
        use InstanceEvent::{Broke, ChangeAsked, ChangeEnded, Provisioned, Refused, RemovalAsked, Removed, RetryAsked};
        use InstanceState::{Deprovisioning, Failed, Gone, Provisioning, Ready, Updating};
        match self {
            Provisioning => match event {
                Provisioned => Ready,
                Broke => Failed,
                Refused | RemovalAsked => Deprovisioning,
                ChangeAsked | ChangeEnded | RetryAsked | Removed => self,
            },
            Ready => match event {
                ChangeAsked => Updating,
                RemovalAsked => Deprovisioning,
                Provisioned | Refused | Broke | ChangeEnded | RetryAsked | Removed => self,
            },
            Updating => match event {
                ChangeEnded => Ready,
                RemovalAsked => Deprovisioning,
                Provisioned | Refused | Broke | ChangeAsked | RetryAsked | Removed => self,
            },
            Deprovisioning => match event {
                Removed => Gone,
                Provisioned | Refused | Broke | ChangeAsked | ChangeEnded | RetryAsked | RemovalAsked => self,
            },
            Failed => match event {
                RetryAsked => Provisioning,
                RemovalAsked => Deprovisioning,
                Provisioned | Refused | Broke | ChangeAsked | ChangeEnded | Removed => self,
            },
            Gone => match event {
                Provisioned | Refused | Broke | ChangeAsked | ChangeEnded | RetryAsked | RemovalAsked | Removed => self,
            },
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
#[cfg_attr(test, derive(strum::EnumIter))]
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
#[cfg_attr(test, derive(strum::EnumIter))]
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
    /// The state after an event. Each pair is named, as in an instance's life.
    #[must_use]
    pub(crate) fn after(self, event: BindingEvent) -> Self {
        use BindingEvent::{Asked, Given, NotGiven, NotTaken, RemovalAsked, RotationAsked, RotationEnded, Taken};
        use BindingState::{Binding, Bound, Gone, Restoring, Rotating, Unbinding};
        match self {
            Binding => match event {
                Given => Bound,
                NotGiven | RemovalAsked => Unbinding,
                Asked | RotationAsked | RotationEnded | Taken | NotTaken => self,
            },
            Bound => match event {
                RotationAsked => Rotating,
                RemovalAsked => Unbinding,
                Asked | Given | NotGiven | RotationEnded | Taken | NotTaken => self,
            },
            Rotating => match event {
                RotationEnded => Bound,
                RemovalAsked => Unbinding,
                Asked | Given | NotGiven | RotationAsked | Taken | NotTaken => self,
            },
            Unbinding => match event {
                Asked => Binding,
                Taken => Gone,
                NotTaken => Restoring,
                Given | NotGiven | RotationAsked | RotationEnded | RemovalAsked => self,
            },
            Restoring => match event {
                Given => Bound,
                RemovalAsked => Unbinding,
                Asked | NotGiven | RotationAsked | RotationEnded | Taken | NotTaken => self,
            },
            Gone => match event {
                Asked => Binding,
                Given | NotGiven | RotationAsked | RotationEnded | RemovalAsked | Taken | NotTaken => self,
            },
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
    use std::{collections::BTreeMap, fmt::Debug};

    use proptest::prelude::*;
    use strum::IntoEnumIterator;

    use super::*;

    /// The tables that people read, which are the expectation.
    const PAGE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../ARCHITECTURE.md"));

    /// What the table under a heading says of each state and event; an empty cell is no change.
    fn table(heading: &str) -> BTreeMap<(String, String), String> {
        let (_, section) = PAGE.split_once(heading).expect("a heading");
        let lines = section.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
        let mut rows = lines.map(|line| line.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>());
        let events = rows.next().expect("a line of events");
        rows.skip(1)
            .flat_map(|row| {
                let pairs = events.iter().zip(&row).skip(1);
                let nexts = pairs.map(|(event, next)| (*event, if next.is_empty() { row[0] } else { *next }));
                nexts.map(|(event, next)| ((row[0].to_owned(), event.to_string()), next.to_owned())).collect::<Vec<_>>()
            })
            .collect()
    }

    /// What a function from state and event to state says of each pair.
    fn pairs<S, E>(after: impl Fn(S, E) -> S) -> BTreeMap<(String, String), String>
    where
        S: IntoEnumIterator + Copy + Debug,
        E: IntoEnumIterator + Copy + Debug,
    {
        let pairs = S::iter().flat_map(|state| E::iter().map(move |event| (state, event)));
        let named =
            |(state, event)| ((format!("{state:?}"), format!("{event:?}")), format!("{:?}", after(state, event)));
        pairs.map(named).collect()
    }

    #[test] // SPEC L-1
    fn an_instances_life_is_the_table_of_the_architecture() {
        assert_eq!(pairs(InstanceState::after), table("The life of an instance"));
    }

    #[test] // SPEC L-1
    fn a_bindings_life_is_the_table_of_the_architecture() {
        assert_eq!(pairs(BindingState::after), table("The life of a binding"));
    }

    #[test] // SPEC L-1
    fn from_every_state_a_removal_leads_to_the_end() {
        for state in InstanceState::iter() {
            let removed = state.after(InstanceEvent::RemovalAsked).after(InstanceEvent::Removed);
            assert_eq!(removed, InstanceState::Gone, "{state:?}");
        }
    }

    fn events() -> impl Strategy<Value = Vec<InstanceEvent>> {
        prop::collection::vec(prop::sample::select(InstanceEvent::iter().collect::<Vec<_>>()), 0..12)
    }

    fn binding_events() -> impl Strategy<Value = Vec<BindingEvent>> {
        prop::collection::vec(prop::sample::select(BindingEvent::iter().collect::<Vec<_>>()), 0..12)
    }

    proptest! {
        #[test] // SPEC L-1
        fn what_is_unfinished_comes_to_an_end_by_what_the_author_does(before in events()) {
            use InstanceEvent::{Broke, ChangeEnded, Provisioned, Refused, Removed};
            let state = before.into_iter().fold(InstanceState::Provisioning, InstanceState::after);
            let ends = [Provisioned, Refused, Broke, ChangeEnded, Removed].map(|event| state.after(event));
            prop_assert_eq!(state.is_unfinished(), ends.iter().any(|end| *end != state));
        }

        #[test] // SPEC L-1
        fn once_removal_was_asked_for_an_instance_never_works_again(before in events(), after in events()) {
            let live = before.into_iter().fold(InstanceState::Provisioning, InstanceState::after);
            let late = after.into_iter().fold(live.after(InstanceEvent::RemovalAsked), InstanceState::after);
            prop_assert!(matches!(late, InstanceState::Deprovisioning | InstanceState::Gone));
        }

        #[test] // SPEC L-1
        fn whatever_happened_a_binding_ends_and_works_again_only_if_it_is_given_again(
            before in binding_events(),
            after in binding_events(),
        ) {
            use BindingEvent::{Asked, Given, NotTaken, RemovalAsked, Taken};
            let live = before.into_iter().fold(BindingState::Binding, BindingState::after);
            let gone = live.after(RemovalAsked).after(Taken);
            prop_assert_eq!(gone, BindingState::Gone);
            let works = after.iter().copied().fold(gone, BindingState::after) == BindingState::Bound;
            prop_assert!(!works || (after.contains(&Asked) && after.contains(&Given)));
            let kept = live.after(RemovalAsked).after(NotTaken).after(Given);
            prop_assert_eq!(kept == BindingState::Bound, live != BindingState::Gone);
        }
    }
}
