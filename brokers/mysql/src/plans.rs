//! The plans: those of a file, or the usual ones.

use std::{fs, path::Path};

use broker_core::{Catalog, Plan, PlanName};
use broker_hosting::{Limits as ServerLimits, Size};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use toml::Spanned;

use crate::{
    Config,
    tenant::{Charset, Limits},
};

/// All plans, the default first.
#[derive(Clone, Debug)]
pub(crate) struct Plans(Vec<Offer>);

/// One plan.
#[derive(Clone, Debug)]
pub(crate) struct Offer {
    pub(crate) name: PlanName,
    description: String,
    pub(crate) kind: Kind,
    pub(crate) at_most: Option<u32>,
    at_most_per_team: Option<u32>,
    /// What each binding may use.
    pub(crate) limits: Limits,
}

/// Where a plan's instances are.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    /// A database on the server that is shared.
    Shared,
    /// A server of its own.
    Dedicated(Dedicated),
}

/// A server of an instance's own.
#[derive(Clone, Debug)]
pub(crate) struct Dedicated {
    pub(crate) is_contained: bool,
    pub(crate) limits: ServerLimits,
    /// In MiB.
    pub(crate) buffer_pool: u32,
    pub(crate) max_connections: u32,
}

impl Kind {
    pub(crate) fn is_shared(&self) -> bool {
        matches!(self, Self::Shared)
    }
}

impl Dedicated {
    /// A process without limits.
    pub(crate) fn usual(config: &Config) -> Self {
        Self {
            is_contained: false,
            limits: ServerLimits::default(),
            buffer_pool: config.buffer_pool,
            max_connections: DEDICATED_CONNECTIONS,
        }
    }
}

impl Plans {
    /// Those of the configuration's file; without one `shared`, and `dedicated` where the broker starts servers.
    ///
    /// # Errors
    /// When the file can't be used, in a sentence that names the line.
    pub(crate) fn of(config: &Config) -> anyhow::Result<Self> {
        let plans = match &config.plans {
            Some(file) => read(file, config)?,
            None => usual(config),
        };
        anyhow::ensure!(
            !(config.require_tls && plans.starts_servers(config)),
            "the broker's own server has no TLS: leave --require-tls out, or give a server that has it with \
             --shared-url, and have no dedicated plans"
        );
        Ok(plans)
    }

    /// Whether the broker starts any server itself.
    pub(crate) fn starts_servers(&self, config: &Config) -> bool {
        !config.has_shared_url() || self.0.iter().any(|offer| !offer.kind.is_shared())
    }

    pub(crate) fn all(&self) -> &[Offer] {
        &self.0
    }

    pub(crate) fn find(&self, name: &PlanName) -> Option<&Offer> {
        self.0.iter().find(|offer| offer.name == *name)
    }

    pub(crate) fn catalog(&self) -> Catalog {
        let catalog = Catalog::new("mysql".parse().expect("a valid name"));
        self.0.iter().fold(catalog, |catalog, offer| catalog.plan(offer.plan()))
    }
}

impl Offer {
    fn plan(&self) -> Plan {
        let plan = Plan::new(self.name.as_str(), &self.description)
            .schema(instance_schema(&self.kind))
            .bind_schema(object(&[(READ_ONLY, read_only_schema())]));
        let plan = self.at_most.into_iter().fold(plan, Plan::at_most);
        self.at_most_per_team.into_iter().fold(plan, Plan::at_most_per_team)
    }
}

/// The parameter of a bind that wants to read only (SPEC M-7).
pub(crate) const READ_ONLY: &str = "read-only";
/// The parameter of an instance for the character set of new tables.
pub(crate) const CHARACTER_SET: &str = "character-set";
/// The parameter of an instance with a server of its own: its `sql_mode`.
pub(crate) const SQL_MODE: &str = "sql-mode";

/// The modes that a server takes, and that harm nobody.
const SQL_MODES: [&str; 14] = [
    "ANSI_QUOTES",
    "ERROR_FOR_DIVISION_BY_ZERO",
    "HIGH_NOT_PRECEDENCE",
    "IGNORE_SPACE",
    "NO_AUTO_VALUE_ON_ZERO",
    "NO_BACKSLASH_ESCAPES",
    "NO_ENGINE_SUBSTITUTION",
    "NO_UNSIGNED_SUBTRACTION",
    "NO_ZERO_DATE",
    "NO_ZERO_IN_DATE",
    "ONLY_FULL_GROUP_BY",
    "PIPES_AS_CONCAT",
    "STRICT_ALL_TABLES",
    "STRICT_TRANS_TABLES",
];

fn instance_schema(kind: &Kind) -> Value {
    let character_set = json!({
        "type": "string",
        "enum": Charset::NAMES,
        "description": "Character set of new tables; utf8mb4 unless it is said",
    });
    let mode = format!("({})", SQL_MODES.join("|"));
    let sql_mode = json!({
        "type": "string",
        "pattern": format!("^({mode}(,{mode})*)?$"),
        "description": "Modes of the server, with commas between them; changing them starts the server again",
    });
    match kind {
        Kind::Shared => object(&[(CHARACTER_SET, character_set)]),
        Kind::Dedicated(_) => object(&[(CHARACTER_SET, character_set), (SQL_MODE, sql_mode)]),
    }
}

fn read_only_schema() -> Value {
    json!({ "type": "boolean", "description": "Whether the credentials can only read" })
}

fn object(properties: &[(&str, Value)]) -> Value {
    let properties: Map<_, _> = properties.iter().map(|(name, schema)| ((*name).to_owned(), schema.clone())).collect();
    json!({ "type": "object", "properties": properties, "additionalProperties": false })
}

/// The plans without a file.
fn usual(config: &Config) -> Plans {
    let offer = |name: &str, description: String, kind| Offer {
        name: name.parse().expect("a valid name"),
        description,
        kind,
        at_most: None,
        at_most_per_team: None,
        limits: config.limits(),
    };
    let mut plans = vec![offer("shared", SHARED_DESCRIPTION.to_owned(), Kind::Shared)];
    if !config.has_shared_url() {
        let dedicated = Dedicated::usual(config);
        plans.push(offer("dedicated", DEDICATED_DESCRIPTION.to_owned(), Kind::Dedicated(dedicated)));
    }
    Plans(plans)
}

const SHARED_DESCRIPTION: &str =
    "A database of its own on a server shared with others: memory, CPU and disk are not isolated";
const DEDICATED_DESCRIPTION: &str = "A MariaDB server of its own with one database";
const DEDICATED_CONNECTIONS: u32 = 100;

/// The file, as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default, rename = "plan")]
    plans: Vec<Spanned<Entry>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Entry {
    name: Spanned<String>,
    description: Option<String>,
    kind: KindName,
    at_most: Option<u32>,
    at_most_per_team: Option<u32>,
    connections: Option<Spanned<u32>>,
    statement_time: Option<u32>,
    #[serde(default)]
    backend: Option<Backend>,
    memory: Option<Size>,
    cpu_milli: Option<u32>,
    processes: Option<u32>,
    open_files: Option<u64>,
    buffer_pool: Option<Spanned<Size>>,
    server_connections: Option<Spanned<u32>>,
}

#[derive(Clone, Copy, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
enum KindName {
    Shared,
    Dedicated,
}

#[derive(Clone, Copy, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Backend {
    Process,
    Container,
}

/// A sentence, and the byte it is about.
struct Wrong(usize, String);

fn read(file: &Path, config: &Config) -> anyhow::Result<Plans> {
    let name = file.display();
    let text =
        fs::read_to_string(file).map_err(|cause| anyhow::anyhow!("cannot read the plans from {name}: {cause}"))?;
    parse(&text, config).map_err(|Wrong(at, sentence)| {
        let line = 1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count();
        anyhow::anyhow!("{name}, line {line}: {sentence}")
    })
}

fn parse(text: &str, config: &Config) -> Result<Plans, Wrong> {
    let file: File = toml::from_str(text).map_err(|error| {
        Wrong(error.span().map_or(0, |span| span.start), error.message().lines().collect::<Vec<_>>().join(", "))
    })?;
    let mut offers: Vec<Offer> = Vec::new();
    for entry in file.plans {
        let (start, entry) = (entry.span().start, entry.into_inner());
        let at = entry.name.span().start;
        let offer = entry.offer(start, config)?;
        if offers.iter().any(|other| other.name == offer.name) {
            return Err(Wrong(at, format!("there are two plans named \"{}\"", offer.name)));
        }
        offers.push(offer);
    }
    if offers.is_empty() {
        return Err(Wrong(0, "there is no plan: write [[plan]] with a name and a kind".to_owned()));
    }
    Ok(Plans(offers))
}

impl Entry {
    fn offer(self, start: usize, config: &Config) -> Result<Offer, Wrong> {
        let at = self.name.span().start;
        let name: PlanName = self.name.get_ref().parse().map_err(|refusal| Wrong(at, format!("{refusal}")))?;
        let usual = config.limits();
        let connections = match &self.connections {
            Some(number) => at_least(number, 1, "connections")?,
            None => usual.connections,
        };
        let limits =
            Limits { connections, statement_time: self.statement_time.unwrap_or(usual.statement_time), ..usual };
        let kind = self.kind(start, config)?;
        let description = self.description.unwrap_or_else(|| match kind {
            Kind::Shared => SHARED_DESCRIPTION.to_owned(),
            Kind::Dedicated(_) => DEDICATED_DESCRIPTION.to_owned(),
        });
        let (at_most, at_most_per_team) = (self.at_most, self.at_most_per_team);
        Ok(Offer { name, description, kind, at_most, at_most_per_team, limits })
    }

    fn kind(&self, start: usize, config: &Config) -> Result<Kind, Wrong> {
        if self.kind == KindName::Shared {
            let of_servers = [
                ("backend", self.backend.is_some()),
                ("memory", self.memory.is_some()),
                ("cpu-milli", self.cpu_milli.is_some()),
                ("processes", self.processes.is_some()),
                ("open-files", self.open_files.is_some()),
                ("buffer-pool", self.buffer_pool.is_some()),
                ("server-connections", self.server_connections.is_some()),
            ];
            return match of_servers.iter().find(|(_, is_there)| *is_there) {
                Some((key, _)) => Err(Wrong(
                    start,
                    format!("`{key}` is for servers of an instance's own, and this plan is shared: leave it out"),
                )),
                None => Ok(Kind::Shared),
            };
        }
        let memory = self.memory.map(|size| size.0);
        let buffer_pool = match (&self.buffer_pool, memory) {
            (Some(size), memory) => {
                let bytes = size.get_ref().0;
                if bytes < 5 << 20 || memory.is_some_and(|memory| bytes >= memory) {
                    let rule = "the buffer pool has at least 5mb, and less than the server's memory";
                    return Err(Wrong(size.span().start, rule.to_owned()));
                }
                mebibytes(bytes)
            }
            // The rest is for connections, sorts and the program itself.
            (None, Some(memory)) => mebibytes(memory / 2).max(5),
            (None, None) => config.buffer_pool,
        };
        let max_connections = match &self.server_connections {
            Some(number) => at_least(number, 10, "server-connections")?,
            None => DEDICATED_CONNECTIONS,
        };
        let limits =
            ServerLimits { memory, cpu_milli: self.cpu_milli, processes: self.processes, open_files: self.open_files };
        let is_contained = self.backend == Some(Backend::Container);
        Ok(Kind::Dedicated(Dedicated { is_contained, limits, buffer_pool, max_connections }))
    }
}

fn at_least(number: &Spanned<u32>, least: u32, key: &str) -> Result<u32, Wrong> {
    let value = *number.get_ref();
    if value >= least { Ok(value) } else { Err(Wrong(number.span().start, format!("`{key}` is at least {least}"))) }
}

fn mebibytes(bytes: u64) -> u32 {
    u32::try_from(bytes >> 20).unwrap_or(u32::MAX)
}

#[cfg(test)]
#[path = "plans_tests.rs"]
mod tests;
