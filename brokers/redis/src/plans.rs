//! The plans that the operator offers: those of a file, or the two that need none (SPEC K-7).

use std::{collections::HashSet, fs, path::Path};

use anyhow::Context as _;
use broker_core::{Plan, PlanName};
use broker_hosting::{Fleet, Limits, Member, PlanServers, ServerId, Site, Trust};
use serde::Deserialize;
use toml::Spanned;

use crate::{
    Config, Size,
    fleet::keeps_promise,
    settings::{Backend, Choice, Persistence, Policy, Settings, bind_schema, schema},
    tls::Tls,
};

pub(crate) const DEDICATED: &str = "dedicated";
pub(crate) const SHARED: &str = "shared";

/// A plan, and what its instances get.
#[derive(Debug)]
pub(crate) struct Offer {
    pub(crate) plan: Plan,
    pub(crate) kind: Kind,
    /// How many instances there are at most.
    pub(crate) at_most: Option<u32>,
}

#[derive(Debug)]
pub(crate) enum Kind {
    /// A server of their own.
    Dedicated { settings: Settings, choices: Vec<Choice> },
    /// A part of a server. The settings are those of servers that the broker starts.
    Shared { servers: Fleet, settings: Settings },
}

impl Offer {
    /// How the servers that the broker starts are set up.
    pub(crate) fn settings(&self) -> &Settings {
        match &self.kind {
            Kind::Dedicated { settings, .. } | Kind::Shared { settings, .. } => settings,
        }
    }

    /// How the broker starts the plan's servers; none when all are given.
    pub(crate) fn starts(&self) -> Option<Backend> {
        match &self.kind {
            Kind::Dedicated { settings, .. } => Some(settings.backend),
            Kind::Shared { servers, settings } => {
                let starts = servers.members().iter().any(|member| matches!(member.site, Site::Own));
                starts.then_some(settings.backend)
            }
        }
    }
}

/// All plans; the first is the default.
///
/// # Errors
/// When the configuration can't work: for a file, its name and the line.
pub(crate) fn read(config: &Config) -> anyhow::Result<Vec<Offer>> {
    let offers = match &config.plans {
        Some(file) => read_file(file, config.maxmemory, config.shared_maxmemory)?,
        None => without_file(config)?,
    };
    let mut known = HashSet::new();
    for offer in &offers {
        let Kind::Shared { servers, .. } = &offer.kind else { continue };
        for member in servers.members().iter() {
            anyhow::ensure!(known.insert(member.id.clone()), "two shared plans have a server named \"{}\"", member.id);
        }
    }
    Ok(offers)
}

fn without_file(config: &Config) -> anyhow::Result<Vec<Offer>> {
    let site = config.shared_site()?;
    let dedicated = Settings::new(config.maxmemory);
    let shared = Settings::new(config.shared_maxmemory);
    let choices = vec![Choice::MaxmemoryPolicy, Choice::Persistence];
    let id = SHARED.parse().map_err(anyhow::Error::msg)?;
    let servers = Fleet::of(vec![Member { id, site, capacity: u64::MAX, draining: false }]);
    Ok(vec![
        offer_dedicated(DEDICATED, None, dedicated, choices),
        Offer {
            plan: plan(SHARED, SHARED_DESCRIPTION),
            kind: Kind::Shared { servers, settings: shared },
            at_most: None,
        },
    ])
}

fn offer_dedicated(name: &str, description: Option<String>, settings: Settings, choices: Vec<Choice>) -> Offer {
    let (memory, kept) = (settings.maxmemory, settings.persistence_in_words());
    let way = match settings.tls {
        Tls::Off => "",
        Tls::Required => ", reached by TLS",
    };
    let usual = || format!("A Redis server of its own with {memory} of memory and all commands, {kept}{way}");
    let plan = plan(name, &description.unwrap_or_else(usual)).schema(schema(&choices));
    Offer { plan, kind: Kind::Dedicated { settings, choices }, at_most: None }
}

fn plan(name: &str, description: &str) -> Plan {
    Plan::new(name, description).bind_schema(bind_schema())
}

const SHARED_DESCRIPTION: &str = "Keys under a prefix on a server shared with others: memory and CPU are not isolated, \
    and EVAL, KEYS, SCAN, INFO and FLUSHDB are missing";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PlanFile {
    #[serde(default)]
    plan: Vec<Entry>,
}

/// A plan as it is written; README.md says what the keys mean.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Entry {
    name: Spanned<PlanName>,
    kind: KindName,
    description: Option<String>,
    at_most: Option<u32>,
    at_most_per_team: Option<u32>,
    backend: Option<Backend>,
    maxmemory: Option<Size>,
    maxmemory_policy: Option<Policy>,
    persistence: Option<Persistence>,
    connections: Option<u32>,
    parameters: Option<Vec<Choice>>,
    memory: Option<Size>,
    cpu: Option<f64>,
    processes: Option<u32>,
    open_files: Option<u64>,
    tls: Option<Tls>,
    servers: Option<std::path::PathBuf>,
    url_file: Option<std::path::PathBuf>,
    capacity: Option<u64>,
    trust: Option<Trust>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum KindName {
    Dedicated,
    Shared,
}

fn read_file(file: &Path, dedicated: Size, shared: Size) -> anyhow::Result<Vec<Offer>> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read the plans in {}", file.display()))?;
    let line = |at: usize| 1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count();
    let wrong = |at: usize, sentence: String| anyhow::anyhow!("{}, line {}: {sentence}", file.display(), line(at));
    let parsed: PlanFile = toml::from_str(&text).map_err(|error| {
        wrong(error.span().map_or(0, |span| span.start), error.message().lines().collect::<Vec<_>>().join(", "))
    })?;
    let mut offers: Vec<Offer> = Vec::new();
    for entry in parsed.plan {
        let (at, name) = (entry.name.span().start, entry.name.get_ref().clone());
        if offers.iter().any(|other| other.plan.name == name) {
            return Err(wrong(at, format!("there are two plans named \"{name}\"")));
        }
        let fallback = match entry.kind {
            KindName::Dedicated => dedicated,
            KindName::Shared => shared,
        };
        let folder = file.parent().unwrap_or(Path::new(""));
        let offer = entry.offer(folder, fallback);
        offers.push(offer.map_err(|why| wrong(at, format!("the plan \"{name}\" cannot be: {why:#}")))?);
    }
    anyhow::ensure!(!offers.is_empty(), "{} has no plan, write a [[plan]] there", file.display());
    Ok(offers)
}

impl Entry {
    fn offer(self, folder: &Path, maxmemory: Size) -> anyhow::Result<Offer> {
        let settings = self.settings(maxmemory)?;
        let (at_most, per_team) = (self.at_most, self.at_most_per_team);
        let Offer { mut plan, kind, .. } = match self.kind {
            KindName::Dedicated => self.dedicated(settings)?,
            KindName::Shared => self.shared(folder, settings)?,
        };
        if let Some(instances) = at_most {
            plan = plan.at_most(instances);
        }
        if let Some(instances) = per_team {
            plan = plan.at_most_per_team(instances);
        }
        Ok(Offer { plan, kind, at_most })
    }

    fn settings(&self, maxmemory: Size) -> anyhow::Result<Settings> {
        let maxmemory = self.maxmemory.unwrap_or(maxmemory);
        if let Some(memory) = self.memory {
            anyhow::ensure!(
                memory.0 > maxmemory.0,
                "`memory` is for the whole server and has to be more than `maxmemory`, best twice as much"
            );
        }
        if let Some(cpu) = self.cpu {
            anyhow::ensure!((0.01..=1024.0).contains(&cpu), "`cpu` is a number of CPUs, such as 0.5");
        }
        anyhow::ensure!(self.connections != Some(0), "`connections` is at least 1");
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked above")]
        let cpu_milli = self.cpu.map(|cpu| (cpu * 1000.0).round() as u32);
        let limits = Limits {
            memory: self.memory.map(|size| size.0),
            cpu_milli,
            processes: self.processes,
            open_files: self.open_files,
        };
        let usual = Settings::new(maxmemory);
        Ok(Settings {
            backend: self.backend.unwrap_or(usual.backend),
            policy: self.maxmemory_policy.unwrap_or(usual.policy),
            persistence: self.persistence.unwrap_or(usual.persistence),
            connections: self.connections,
            limits,
            tls: self.tls.unwrap_or(usual.tls),
            ..usual
        })
    }

    fn dedicated(self, settings: Settings) -> anyhow::Result<Offer> {
        if let Some(key) = self.servers().key() {
            anyhow::bail!("`{key}` is for shared plans");
        }
        let choices = self.parameters.unwrap_or_else(|| vec![Choice::MaxmemoryPolicy, Choice::Persistence]);
        Ok(offer_dedicated(self.name.get_ref().as_str(), self.description, settings, choices))
    }

    fn servers(&self) -> PlanServers {
        let (servers, url_file) = (self.servers.clone(), self.url_file.clone());
        PlanServers { servers, url_file, capacity: self.capacity, trust: self.trust.clone() }
    }

    fn shared(self, folder: &Path, settings: Settings) -> anyhow::Result<Offer> {
        anyhow::ensure!(self.parameters.is_none(), "`parameters` is for dedicated plans");
        anyhow::ensure!(
            self.maxmemory_policy.is_none(),
            "`maxmemory-policy` is for dedicated plans: on a shared one a tenant's writes would push out another's keys"
        );
        let name = self.name.get_ref().as_str();
        let id: ServerId = name.parse().map_err(anyhow::Error::msg)?;
        let servers = self.servers().fleet(folder, &id, Site::Own).map_err(anyhow::Error::msg)?;
        for member in servers.members().iter() {
            keeps_promise(member, &settings)?;
        }
        let description = self.description.as_deref().unwrap_or(SHARED_DESCRIPTION);
        Ok(Offer { plan: plan(name, description), kind: Kind::Shared { servers, settings }, at_most: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<Offer>, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("plans.toml");
        fs::write(&file, text).unwrap();
        fs::write(folder.path().join("url"), "redis://cache.example").unwrap();
        let shown = format!("{}, ", file.display());
        read_file(&file, Size(64 << 20), Size(256 << 20)).map_err(|why| format!("{why:#}").replace(&shown, ""))
    }

    #[test] // SPEC K-7
    fn a_plan_of_the_file_has_the_sizes_and_limits_that_it_names() {
        let offers = read(
            "[[plan]]\nname = \"small\"\nkind = \"dedicated\"\nmaxmemory = \"16mb\"\nmemory = \"64mb\"\ncpu = 0.5\n\
             maxmemory-policy = \"allkeys-lru\"\npersistence = \"none\"\nbackend = \"container\"\nat-most = 3\n\
             [[plan]]\nname = \"many\"\nkind = \"shared\"\ncapacity = 10\n",
        )
        .unwrap();

        let Kind::Dedicated { settings, .. } = &offers[0].kind else { panic!("not dedicated") };
        assert_eq!(settings.maxmemory, Size(16 << 20));
        assert_eq!(settings.limits, Limits { memory: Some(64 << 20), cpu_milli: Some(500), ..Limits::default() });
        assert_eq!((settings.policy, settings.persistence), (Policy::AllkeysLru, Persistence::None));
        assert_eq!(offers[0].starts(), Some(Backend::Container));
        assert!(offers[0].plan.description.contains("16.0 MiB") && offers[0].plan.description.contains("not written"));
        let Kind::Shared { servers, settings } = &offers[1].kind else { panic!("not shared") };
        assert_eq!((servers.members()[0].id.as_str(), servers.members()[0].capacity), ("many", 10));
        assert_eq!(settings.maxmemory, Size(256 << 20), "the usual size");
    }

    #[test] // SPEC K-7
    fn what_is_wrong_with_the_file_is_said_with_its_line() {
        let small = "[[plan]]\nname = \"small\"\nkind = \"dedicated\"\n";
        let shared = |more| format!("[[plan]]\nname = \"a\"\nkind = \"shared\"\nurl-file = \"url\"\n{more}");
        for (text, sentence) in [
            (format!("{small}{small}"), "line 5: there are two plans named \"small\""),
            (format!("{small}maxmemory = \"much\"\n"), "line 4: a size is written like 64mb"),
            (format!("{small}memroy = \"64mb\"\n"), "line 4: unknown field `memroy`"),
            (format!("{small}memory = \"64mb\"\n"), "line 2: the plan \"small\" cannot be: `memory` is for the whole"),
            (format!("{small}capacity = 5\n"), "`capacity` is for shared plans"),
            (format!("{small}persistence = \"maybe\"\n"), "line 4: unknown variant `maybe`"),
            (format!("{small}tls = \"offered\"\n"), "line 4: unknown variant `offered`, expected `off` or `required`"),
            (format!("{small}trust = {{ ca-file = \"ca.pem\" }}\n"), "`trust` is for shared plans"),
            (shared("tls = \"required\"\n"), "the server \"a\" is reached without TLS, which the plan promises"),
            (shared("trust = { ca = \"ca.pem\" }\n"), "line 5: unknown field `ca`"),
            ("\n[[plan]]\nname = \"a\"\nkind = \"other\"\n".to_owned(), "line 4: unknown variant `other`"),
            ("[[plan]]\nname = \"a b\"\nkind = \"shared\"\n".to_owned(), "line 2: the plan \"a b\" cannot be"),
            ("[[plan]]\nname = \"a\"\nkind = \"shared\"\nmaxmemory-policy = \"allkeys-lru\"".to_owned(), "push out"),
            ("= 3".to_owned(), "line 1: "),
            (String::new(), "has no plan, write a [[plan]] there"),
        ] {
            let refusal = read(&text).unwrap_err();
            assert!(refusal.contains(sentence), "{text}: {refusal}");
        }
    }
}
