//! A unit's environment: what the owner set, what bindings brought, what the platform adds.

use std::collections::BTreeMap;

use broker_core::{EnvName, InstanceName, Secret, ServiceName};
use serde::{Deserialize, Serialize};

use crate::{App, ProcessName};

/// A variable that an app's owner set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnVar {
    /// Its value, sealed at rest whether private or not.
    pub value: Secret,
    /// Whether the owner lets it be shown.
    pub public: bool,
    /// Another variable whose value it takes; empty for none.
    pub alias: String,
}

/// A variable that a binding brought. It is always private (SPEC V-1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceVar {
    /// The service it came from.
    pub service: ServiceName,
    /// The instance it came from.
    pub instance: InstanceName,
    /// Its name.
    pub name: EnvName,
    /// Its value.
    pub value: Secret,
}

impl ServiceVar {
    /// Whether that instance brought it.
    #[must_use]
    pub fn is_from(&self, service: &ServiceName, instance: &InstanceName) -> bool {
        self.service == *service && self.instance == *instance
    }
}

/// One line of an app's merged environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MergedVar {
    /// Its value.
    pub value: Secret,
    /// Whether it may be shown.
    pub public: bool,
    /// The variable its value was taken from; empty for none.
    pub alias: String,
    /// Who manages it: `redis/cache`, `tsuru`, or empty for the owner.
    pub managed_by: String,
}

/// Names that only the platform sets.
pub const RESERVED: [&str; 3] = ["TSURU_APPNAME", "TSURU_APPDIR", "TSURU_SERVICES"];

/// Where an app's code is inside a unit.
pub const APP_DIR: &str = "/home/application/current";

/// The port a unit listens on, and the value of `PORT`.
pub const PORT: u16 = 8888;

/// What a unit finds in its environment, sorted by name.
pub type UnitEnv = BTreeMap<String, Secret>;

impl App {
    /// The environment as the owner sees it: own variables, then bindings in bind order, then
    /// aliases, then the platform's; the later wins (SPEC V-2).
    #[must_use]
    pub fn merged_env(&self) -> BTreeMap<String, MergedVar> {
        let mut merged = BTreeMap::new();
        for (name, own) in &self.env {
            let var = MergedVar {
                value: own.value.clone(),
                public: own.public,
                alias: own.alias.clone(),
                managed_by: String::new(),
            };
            merged.insert(name.to_string(), var);
        }
        for var in &self.service_env {
            let managed_by = format!("{}/{}", var.service, var.instance);
            merged.insert(
                var.name.to_string(),
                MergedVar { value: var.value.clone(), public: false, alias: String::new(), managed_by },
            );
        }
        self.resolve_aliases(&mut merged);
        let by_platform =
            |value: Secret, public| MergedVar { value, public, alias: String::new(), managed_by: "tsuru".to_owned() };
        merged.insert("TSURU_SERVICES".to_owned(), by_platform(self.services_json().into(), false));
        merged.insert("TSURU_APPNAME".to_owned(), by_platform(self.name.as_str().into(), true));
        merged.insert("TSURU_APPDIR".to_owned(), by_platform(APP_DIR.into(), true));
        merged
    }

    /// An own variable with an alias takes its target's value, chains followed, even where a binding
    /// has replaced the variable itself; a missing target changes nothing.
    fn resolve_aliases(&self, merged: &mut BTreeMap<String, MergedVar>) {
        for (name, own) in self.env.iter().filter(|(_, own)| !own.alias.is_empty()) {
            let mut target = own.alias.clone();
            // A chain is never longer than there are variables: a circle ends here.
            for _ in 0..self.env.len() {
                match self.env.iter().find(|(known, _)| known.as_str() == target) {
                    Some((_, next)) if !next.alias.is_empty() => target.clone_from(&next.alias),
                    _ => break,
                }
            }
            if let Some(value) = merged.get(&target).map(|var| var.value.clone())
                && let Some(var) = merged.get_mut(name.as_str())
            {
                var.value = value;
            }
        }
    }

    /// What a unit of a process gets: the merged environment and what only a running unit knows (SPEC V-3).
    #[must_use]
    pub fn unit_env(&self, process: &ProcessName, version: u32, api_url: &str) -> UnitEnv {
        let mut env: UnitEnv = self.merged_env().into_iter().map(|(name, var)| (name, var.value)).collect();
        for (name, value) in [
            ("TSURU_PROCESSNAME", process.to_string()),
            ("TSURU_APPVERSION", version.to_string()),
            ("TSURU_HOST", api_url.to_owned()),
            ("PORT", PORT.to_string()),
            ("port", PORT.to_string()),
        ] {
            env.insert(name.to_owned(), value.into());
        }
        env
    }

    /// `TSURU_SERVICES`: services by name, instances in bind order, variables by name, as compact
    /// JSON with `&`, `<` and `>` escaped (SPEC V-4).
    #[must_use]
    pub fn services_json(&self) -> String {
        #[derive(Serialize)]
        struct Bound<'a> {
            instance_name: &'a str,
            envs: BTreeMap<&'a str, &'a str>,
        }
        let mut services: BTreeMap<&str, Vec<Bound<'_>>> = BTreeMap::new();
        for var in &self.service_env {
            let instances = services.entry(var.service.as_str()).or_default();
            let at = instances.iter().position(|bound| bound.instance_name == var.instance.as_str());
            let at = at.unwrap_or_else(|| {
                instances.push(Bound { instance_name: var.instance.as_str(), envs: BTreeMap::new() });
                instances.len() - 1
            });
            instances[at].envs.insert(var.name.as_str(), var.value.expose());
        }
        let plain = serde_json::to_string(&services).expect("strings in maps always serialise");
        plain
            .replace('&', "\\u0026")
            .replace('<', "\\u003c")
            .replace('>', "\\u003e")
            .replace('\u{2028}', "\\u2028")
            .replace('\u{2029}', "\\u2029")
    }
}
