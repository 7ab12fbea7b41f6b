//! How a server of the broker's own is set up: what its plan says, and what an instance's owner may choose.

use broker_core::{Instance, Parameters};
use broker_hosting::{Container, Image, Limits};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{Size, tls::Tls};

/// How a server is set up.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Settings {
    pub(crate) backend: Backend,
    /// Memory for data.
    pub(crate) maxmemory: Size,
    pub(crate) policy: Policy,
    pub(crate) persistence: Persistence,
    /// Connections at once; none leaves it to the server.
    pub(crate) connections: Option<u32>,
    /// What the whole server may use.
    pub(crate) limits: Limits,
    pub(crate) tls: Tls,
}

/// What servers run as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Backend {
    /// Processes of this machine.
    Process,
    /// Containers of its Docker engine.
    Container,
}

/// What happens when the memory for data is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Policy {
    Noeviction,
    AllkeysLru,
    AllkeysLfu,
    AllkeysRandom,
    VolatileLru,
    VolatileLfu,
    VolatileRandom,
    VolatileTtl,
}

/// When what was written is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Persistence {
    /// Before a write is answered.
    Always,
    /// Within a second.
    EverySecond,
    /// Never: a server that starts anew is empty.
    None,
}

/// What an instance's owner may choose, by the name of the parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Choice {
    MaxmemoryPolicy,
    Persistence,
}

impl Settings {
    pub(crate) fn new(maxmemory: Size) -> Self {
        Self {
            backend: Backend::Process,
            maxmemory,
            policy: Policy::Noeviction,
            persistence: Persistence::EverySecond,
            connections: None,
            limits: Limits::default(),
            tls: Tls::default(),
        }
    }

    /// With what the owner chose. What can't be read was accepted before there was a schema, and means nothing.
    pub(crate) fn chosen(mut self, choices: &[Choice], parameters: &Parameters) -> Self {
        if let Some(policy) = choices.contains(&Choice::MaxmemoryPolicy).then(|| read(parameters, POLICY)).flatten() {
            self.policy = policy;
        }
        if let Some(chosen) = choices.contains(&Choice::Persistence).then(|| read(parameters, PERSISTENCE)).flatten() {
            self.persistence = chosen;
        }
        self
    }

    /// The container that the server runs in, if it does.
    pub(crate) fn container(&self) -> Option<Container> {
        (self.backend == Backend::Container).then(|| Container {
            image: Image::new("redis-broker/server", include_str!("../image/Dockerfile")),
            executable: "/usr/bin/redis-server".to_owned(),
            health: None,
        })
    }

    /// What can be changed while the server runs, as its settings file and `CONFIG SET` have it.
    pub(crate) fn live(&self) -> [(&'static str, String); 4] {
        let (append, sync) = match self.persistence {
            Persistence::Always => ("yes", "always"),
            Persistence::EverySecond => ("yes", "everysec"),
            Persistence::None => ("no", "everysec"),
        };
        [
            ("maxmemory", self.maxmemory.0.to_string()),
            ("maxmemory-policy", text(self.policy)),
            ("appendonly", append.to_owned()),
            ("appendfsync", sync.to_owned()),
        ]
    }

    /// In words, for those who choose a plan.
    pub(crate) fn persistence_in_words(&self) -> &'static str {
        match self.persistence {
            Persistence::Always => "written to disk before each answer",
            Persistence::EverySecond => "written to disk every second",
            Persistence::None => "not written to disk",
        }
    }
}

const POLICY: &str = "maxmemory-policy";
const PERSISTENCE: &str = "persistence";
const READ_ONLY: &str = "read-only";

/// The JSON Schema of an instance's parameters.
pub(crate) fn schema(choices: &[Choice]) -> Value {
    let mut properties = serde_json::Map::new();
    if choices.contains(&Choice::MaxmemoryPolicy) {
        let policies = [
            Policy::Noeviction,
            Policy::AllkeysLru,
            Policy::AllkeysLfu,
            Policy::AllkeysRandom,
            Policy::VolatileLru,
            Policy::VolatileLfu,
            Policy::VolatileRandom,
            Policy::VolatileTtl,
        ];
        let says = "What happens when the memory for data is full: noeviction refuses writes, all else gives up keys";
        properties.insert(POLICY.to_owned(), json!({ "type": "string", "enum": policies, "description": says }));
    }
    if choices.contains(&Choice::Persistence) {
        let kinds = [Persistence::Always, Persistence::EverySecond, Persistence::None];
        let says = "When writes are on disk: before they are answered, within a second, or never";
        properties.insert(PERSISTENCE.to_owned(), json!({ "type": "string", "enum": kinds, "description": says }));
    }
    json!({ "type": "object", "properties": properties, "additionalProperties": false })
}

/// The JSON Schema of a bind's parameters.
pub(crate) fn bind_schema() -> Value {
    let says = "Credentials that read and never write";
    json!({
        "type": "object",
        "properties": { READ_ONLY: { "type": "boolean", "description": says } },
        "additionalProperties": false,
    })
}

/// Whether a bind asked for credentials that never write.
pub(crate) fn is_read_only(parameters: &Parameters) -> bool {
    parameters.get(READ_ONLY) == Some(&Value::Bool(true))
}

/// The shared server that an instance was placed on; none for one that was made when there was but one.
pub(crate) fn placed_on(instance: &Instance) -> Option<&str> {
    instance.notes.get("server").and_then(Value::as_str)
}

/// Whether an instance's keys have a prefix from the time when it was on a shared server.
pub(crate) fn keeps_prefix(instance: &Instance) -> bool {
    instance.notes.get("prefix") == Some(&Value::Bool(true))
}

fn read<T: serde::de::DeserializeOwned>(parameters: &Parameters, name: &str) -> Option<T> {
    parameters.get(name).and_then(|value| serde_json::from_value(value.clone()).ok())
}

fn text(word: impl Serialize) -> String {
    serde_json::to_value(word).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test] // SPEC K-8
    fn an_owner_changes_what_the_plan_lets_choose_and_nothing_else() {
        let plan = Settings::new(Size(1 << 20));
        let wishes: Parameters =
            serde_json::from_value(json!({ "maxmemory-policy": "allkeys-lru", "persistence": "none" })).unwrap();

        let chosen = plan.clone().chosen(&[Choice::MaxmemoryPolicy], &wishes);

        assert_eq!(chosen, Settings { policy: Policy::AllkeysLru, ..plan.clone() });
        assert_eq!(plan.clone().chosen(&[], &wishes), plan);
        assert_eq!(chosen.live()[1], ("maxmemory-policy", "allkeys-lru".to_owned()));
    }

    #[test]
    fn the_schema_has_what_may_be_chosen() {
        assert_eq!(schema(&[Choice::Persistence])["properties"]["persistence"]["enum"][1], "every-second");
        assert!(schema(&[Choice::Persistence])["properties"].get("maxmemory-policy").is_none());
    }
}
