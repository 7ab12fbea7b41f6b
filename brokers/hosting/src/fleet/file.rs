//! Servers as the operator writes them down: in a file of their own, or with a plan.

use std::path::{Path, PathBuf};

use secrecy::SecretString;
use serde::Deserialize;

use super::{Fleet, Given, Member, Site};
use crate::{ServerId, Trust};

/// The keys of a shared plan, in a file of plans, that say which servers it has.
///
/// ```
/// use std::path::Path;
///
/// use broker_hosting::{PlanServers, Site};
///
/// let keys = PlanServers { capacity: Some(500), ..PlanServers::default() };
/// let fleet = keys.fleet(Path::new("/etc"), &"shared".parse()?, Site::Own)?;
/// assert_eq!(fleet.members()[0].capacity, 500);
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct PlanServers {
    /// `servers`: the file that names them.
    pub servers: Option<PathBuf>,
    /// `url-file`: a file whose first line is the URL of the only one.
    pub url_file: Option<PathBuf>,
    /// `capacity`: how many tenants the only one takes.
    pub capacity: Option<u64>,
    /// `trust`: whom the broker trusts there.
    pub trust: Option<Trust>,
}

impl PlanServers {
    /// A key that is there; a plan that is not shared has none of them.
    #[must_use]
    pub fn key(&self) -> Option<&'static str> {
        let keys = [
            ("servers", self.servers.is_some()),
            ("url-file", self.url_file.is_some()),
            ("capacity", self.capacity.is_some()),
            ("trust", self.trust.is_some()),
        ];
        keys.into_iter().find_map(|(key, is_there)| is_there.then_some(key))
    }

    /// The servers. Paths are relative to the folder of the file of plans; `id` is the name of the only server of a
    /// plan without a file of them, and `usual` where it is when there is no `url-file`.
    ///
    /// # Errors
    /// When the keys contradict each other, or a file that they name can't be used, in a sentence.
    pub fn fleet(&self, folder: &Path, id: &ServerId, usual: Site) -> Result<Fleet, String> {
        let site = match (&self.servers, &self.url_file) {
            (Some(_), Some(_)) => return Err("`servers` and `url-file` exclude each other".to_owned()),
            (Some(_), None) if self.capacity.is_some() => {
                return Err("each server in the file `servers` has a `capacity` of its own".to_owned());
            }
            (_, None) if self.trust.is_some() => {
                return Err("`trust` goes with `url-file`, or with a server in the file `servers`".to_owned());
            }
            (Some(file), None) => return Fleet::read(&folder.join(file)).map_err(|why| why.to_string()),
            (None, Some(file)) => {
                let trust = self.trust.clone().unwrap_or_default().within(folder);
                Site::Given(Given { url: url_in(&folder.join(file))?, trust })
            }
            (None, None) => usual,
        };
        let capacity = self.capacity.unwrap_or(u64::MAX);
        Ok(Fleet::of(vec![Member { id: id.clone(), site, capacity, draining: false }]))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FleetFile {
    #[serde(default)]
    server: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Entry {
    id: String,
    url: Option<String>,
    url_file: Option<PathBuf>,
    trust: Option<Trust>,
    capacity: u64,
    #[serde(default)]
    draining: bool,
}

pub(super) fn read(file: &Path) -> Result<Vec<Member>, String> {
    let text = std::fs::read_to_string(file).map_err(|cause| cause.to_string())?;
    // Its own message shows the line, which may hold a password.
    let parsed: FleetFile = toml::from_str(&text).map_err(|cause| {
        let line = cause.span().map_or(0, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
        format!("line {line}: {}", cause.message())
    })?;
    let mut members: Vec<Member> = Vec::new();
    for entry in parsed.server {
        let id: ServerId = entry.id.parse()?;
        if members.iter().any(|known| known.id == id) {
            return Err(format!("server \"{id}\" is named twice"));
        }
        let folder = file.parent().unwrap_or(Path::new(""));
        let trust = entry.trust.map(|trust| trust.within(folder));
        let site = match (entry.url, entry.url_file) {
            (Some(_), Some(_)) => return Err(format!("server \"{id}\" has both url and url-file")),
            (Some(url), None) => Site::Given(Given { url: url.into(), trust: trust.unwrap_or_default() }),
            (None, Some(path)) => {
                Site::Given(Given { url: url_in(&folder.join(path))?, trust: trust.unwrap_or_default() })
            }
            (None, None) if trust.is_some() => {
                return Err(format!("server \"{id}\" has `trust` and no URL: that is for a server that is given"));
            }
            (None, None) => Site::Own,
        };
        members.push(Member { id, site, capacity: entry.capacity, draining: entry.draining });
    }
    Ok(members)
}

fn url_in(path: &Path) -> Result<SecretString, String> {
    let text = std::fs::read_to_string(path)
        .map_err(|cause| format!("cannot read a server's URL from {}: {cause}", path.display()))?;
    match text.lines().next().map(str::trim) {
        Some(url) if !url.is_empty() => Ok(url.to_owned().into()),
        _ => Err(format!("the first line of {} is empty, write a URL there", path.display())),
    }
}
