//! The file of plans, and what is wrong with it.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use broker_core::PlanName;
use broker_hosting::{Fleet, Limits as ServerLimits, Member, PlanServers, Site, Size};
use serde::Deserialize;
use toml::Spanned;

use super::{
    DEDICATED_CONNECTIONS, DEDICATED_DESCRIPTION, Dedicated, Kind, Offer, Plans, SHARED, SHARED_DESCRIPTION,
    usual_server,
};
use crate::{Config, tenant::Limits};

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
    storage: Option<Size>,
    #[serde(default)]
    backend: Option<Backend>,
    memory: Option<Size>,
    cpu_milli: Option<u32>,
    processes: Option<u32>,
    open_files: Option<u64>,
    buffer_pool: Option<Spanned<Size>>,
    server_connections: Option<Spanned<u32>>,
    servers: Option<PathBuf>,
    url_file: Option<PathBuf>,
    capacity: Option<u64>,
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
pub(super) struct Wrong(pub(super) usize, pub(super) String);

pub(super) fn read(file: &Path, config: &Config) -> anyhow::Result<Plans> {
    let name = file.display();
    let text =
        fs::read_to_string(file).map_err(|cause| anyhow::anyhow!("cannot read the plans from {name}: {cause}"))?;
    let mut sites = Sites::of(file.parent().unwrap_or(Path::new("")), usual_server(config)?);
    let parsed = parse(&text, config, &mut sites);
    let offers = parsed.map_err(|Wrong(at, sentence)| {
        let line = 1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count();
        anyhow::anyhow!("{name}, line {line}: {sentence}")
    })?;
    Ok(Plans { offers, usual: sites.usual })
}

/// The servers that shared plans name. Plans that name the same file have the same servers.
pub(super) struct Sites<'a> {
    folder: &'a Path,
    usual: Arc<Fleet>,
    site: Site,
    files: HashMap<PathBuf, Arc<Fleet>>,
}

impl<'a> Sites<'a> {
    pub(super) fn of(folder: &'a Path, usual: Member) -> Self {
        let site = usual.site.clone();
        Self { folder, usual: Arc::new(Fleet::of(vec![usual])), site, files: HashMap::new() }
    }

    pub(super) fn find(&mut self, plan: &PlanName, keys: &PlanServers) -> Result<Arc<Fleet>, String> {
        let known = match keys {
            PlanServers { servers: None, url_file: None, capacity: None } => Some(&self.usual),
            PlanServers { servers: Some(file), url_file: None, capacity: None } => self.files.get(file),
            _ => None,
        };
        if let Some(known) = known {
            return Ok(Arc::clone(known));
        }
        let only = if keys.url_file.is_some() { plan.as_str() } else { SHARED };
        let fleet = Arc::new(keys.fleet(self.folder, &only.parse()?, self.site.clone())?);
        if let Some(file) = &keys.servers {
            self.files.insert(file.clone(), Arc::clone(&fleet));
        }
        Ok(fleet)
    }
}

pub(super) fn parse(text: &str, config: &Config, sites: &mut Sites<'_>) -> Result<Vec<Offer>, Wrong> {
    let file: File = toml::from_str(text).map_err(|error| {
        Wrong(error.span().map_or(0, |span| span.start), error.message().lines().collect::<Vec<_>>().join(", "))
    })?;
    let mut offers: Vec<Offer> = Vec::new();
    for entry in file.plans {
        let (start, entry) = (entry.span().start, entry.into_inner());
        let at = entry.name.span().start;
        let offer = entry.offer(start, config, sites)?;
        if offers.iter().any(|other| other.name == offer.name) {
            return Err(Wrong(at, format!("there are two plans named \"{}\"", offer.name)));
        }
        offers.push(offer);
    }
    if offers.is_empty() {
        return Err(Wrong(0, "there is no plan: write [[plan]] with a name and a kind".to_owned()));
    }
    Ok(offers)
}

impl Entry {
    fn offer(self, start: usize, config: &Config, sites: &mut Sites<'_>) -> Result<Offer, Wrong> {
        let at = self.name.span().start;
        let name: PlanName = self.name.get_ref().parse().map_err(|refusal| Wrong(at, format!("{refusal}")))?;
        let usual = config.limits();
        let connections = match &self.connections {
            Some(number) => at_least(number, 1, "connections")?,
            None => usual.connections,
        };
        let limits =
            Limits { connections, statement_time: self.statement_time.unwrap_or(usual.statement_time), ..usual };
        let kind = self.kind(start, &name, config, sites)?;
        let description = self.description.unwrap_or_else(|| match kind {
            Kind::Shared(_) => SHARED_DESCRIPTION.to_owned(),
            Kind::Dedicated(_) => DEDICATED_DESCRIPTION.to_owned(),
        });
        let (at_most, at_most_per_team) = (self.at_most, self.at_most_per_team);
        let storage = self.storage.or(config.max_storage);
        Ok(Offer { name, description, kind, at_most, at_most_per_team, limits, storage })
    }

    fn kind(&self, start: usize, name: &PlanName, config: &Config, sites: &mut Sites<'_>) -> Result<Kind, Wrong> {
        let keys =
            PlanServers { servers: self.servers.clone(), url_file: self.url_file.clone(), capacity: self.capacity };
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
                None => sites.find(name, &keys).map(Kind::Shared).map_err(|why| Wrong(start, why)),
            };
        }
        if let Some(key) = keys.key() {
            return Err(Wrong(start, format!("`{key}` is for shared plans, and this plan is dedicated: leave it out")));
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
