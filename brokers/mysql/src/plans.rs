//! The plans: those of a file, or the usual ones.

mod file;

use std::{collections::HashSet, sync::Arc};

use broker_core::{Catalog, Plan, PlanName};
use broker_hosting::{Fleet, Limits as ServerLimits, Member, ServerId, Site, Size};
use serde_json::{Map, Value, json};

use crate::{
    Config,
    tenant::{Charset, Limits},
};

/// All plans, the default first.
#[derive(Clone, Debug)]
pub(crate) struct Plans {
    offers: Vec<Offer>,
    /// The server of shared plans that name none.
    usual: Arc<Fleet>,
}

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
    /// How much an instance may take on disk (SPEC M-16).
    pub(crate) storage: Option<Size>,
}

/// Where a plan's instances are.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    /// A database on one of the servers that are shared.
    Shared(Arc<Fleet>),
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
        matches!(self, Self::Shared(_))
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
            Some(file) => file::read(file, config)?,
            None => usual(config)?,
        };
        let mut names = HashSet::new();
        for member in plans.servers() {
            anyhow::ensure!(
                names.insert(member.id.clone()),
                "two shared plans have a server named \"{}\": name each once, or give the plans one file of servers",
                member.id
            );
        }
        anyhow::ensure!(
            !(config.require_tls && plans.starts_servers()),
            "the broker's own server has no TLS: leave --require-tls out, or give a server that has it with \
             --shared-url, and have no dedicated plans"
        );
        Ok(plans)
    }

    pub(crate) fn usual(&self) -> &Arc<Fleet> {
        &self.usual
    }

    /// The servers of the shared plans; those that plans have in common are there once.
    pub(crate) fn fleets(&self) -> Vec<&Arc<Fleet>> {
        let mut fleets: Vec<&Arc<Fleet>> = Vec::new();
        for offer in &self.offers {
            if let Kind::Shared(fleet) = &offer.kind
                && !fleets.iter().any(|known| Arc::ptr_eq(known, fleet))
            {
                fleets.push(fleet);
            }
        }
        fleets
    }

    /// All servers of the shared plans.
    pub(crate) fn servers(&self) -> Vec<Member> {
        self.fleets().iter().flat_map(|fleet| fleet.members().to_vec()).collect()
    }

    /// The plans whose instances may be on a shared server.
    pub(crate) fn on(&self, server: &ServerId) -> Vec<&Offer> {
        let has = |fleet: &Fleet| fleet.members().iter().any(|member| member.id == *server);
        self.offers.iter().filter(|offer| matches!(&offer.kind, Kind::Shared(fleet) if has(fleet))).collect()
    }

    /// Whether the broker starts any server itself.
    pub(crate) fn starts_servers(&self) -> bool {
        self.offers.iter().any(|offer| !offer.kind.is_shared())
            || self.servers().iter().any(|member| matches!(member.site, Site::Own))
    }

    pub(crate) fn all(&self) -> &[Offer] {
        &self.offers
    }

    pub(crate) fn find(&self, name: &PlanName) -> Option<&Offer> {
        self.offers.iter().find(|offer| offer.name == *name)
    }

    pub(crate) fn catalog(&self) -> Catalog {
        let catalog = Catalog::new("mysql".parse().expect("a valid name"));
        self.offers.iter().fold(catalog, |catalog, offer| catalog.plan(offer.plan()))
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
        Kind::Shared(_) => object(&[(CHARACTER_SET, character_set)]),
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

/// The name of the server of shared plans that name none.
pub(crate) const SHARED: &str = "shared";

/// That server: given, or started by the broker.
fn usual_server(config: &Config) -> anyhow::Result<Member> {
    let site = config.shared_url()?.map_or(Site::Own, |url| Site::Given(url.expose().to_owned().into()));
    Ok(Member { id: SHARED.parse().map_err(anyhow::Error::msg)?, site, capacity: u64::MAX, draining: false })
}

/// The plans without a file.
fn usual(config: &Config) -> anyhow::Result<Plans> {
    let usual = Arc::new(Fleet::of(vec![usual_server(config)?]));
    let offer = |name: &str, description: String, kind| Offer {
        name: name.parse().expect("a valid name"),
        description,
        kind,
        at_most: None,
        at_most_per_team: None,
        limits: config.limits(),
        storage: config.max_storage,
    };
    let mut offers = vec![offer(SHARED, SHARED_DESCRIPTION.to_owned(), Kind::Shared(Arc::clone(&usual)))];
    if !config.has_shared_url() {
        let dedicated = Dedicated::usual(config);
        offers.push(offer("dedicated", DEDICATED_DESCRIPTION.to_owned(), Kind::Dedicated(dedicated)));
    }
    Ok(Plans { offers, usual })
}

const SHARED_DESCRIPTION: &str =
    "A database of its own on a server shared with others: memory, CPU and disk are not isolated";
const DEDICATED_DESCRIPTION: &str = "A MariaDB server of its own with one database";
const DEDICATED_CONNECTIONS: u32 = 100;

#[cfg(test)]
mod tests;
