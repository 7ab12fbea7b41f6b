//! What a service offers, from `catalog.toml` or `catalog.json`.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use broker_core::{Catalog, Plan, PlanName, ServiceName};
use serde::Deserialize;

/// Operations that every service needs; of the others, what is missing does nothing and succeeds.
const NEEDED: [&str; 2] = ["provision", "bind"];

/// The folder of a service: its catalog, and its executables.
#[derive(Clone, Debug)]
pub struct Service {
    folder: PathBuf,
    catalog: Catalog,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    service: String,
    plans: Vec<FilePlan>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FilePlan {
    name: String,
    description: String,
    schema: Option<serde_json::Value>,
    bind_schema: Option<serde_json::Value>,
}

impl Service {
    /// Reads the catalog, and looks for the executables that every service needs.
    ///
    /// # Errors
    /// What is missing or wrong, and where, in one sentence for the operator.
    pub fn open(folder: &Path) -> anyhow::Result<Self> {
        let folder = folder.canonicalize().with_context(|| format!("there is no folder {}", folder.display()))?;
        let (toml, json) = (folder.join("catalog.toml"), folder.join("catalog.json"));
        let wrong = |file: &Path| format!("the catalog {} cannot be used", file.display());
        let file: File = if json.exists() {
            let text = fs::read_to_string(&json).with_context(|| wrong(&json))?;
            serde_json::from_str(&text).with_context(|| wrong(&json))?
        } else {
            let text = fs::read_to_string(&toml).with_context(|| wrong(&toml))?;
            toml::from_str(&text).with_context(|| wrong(&toml))?
        };
        let service = Self { folder, catalog: file.catalog()? };
        for operation in NEEDED {
            let program = service.path(operation);
            anyhow::ensure!(
                is_executable(&program),
                "there is no executable {}: every service needs {}",
                program.display(),
                NEEDED.join(" and ")
            );
        }
        Ok(service)
    }

    /// The service's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.catalog.service.as_str()
    }

    pub(crate) fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The executable of an operation, if there is one. A file that can't be executed is one: running it fails, which
    /// is better than to pass over it.
    pub(crate) fn program(&self, operation: &str) -> Option<PathBuf> {
        Some(self.path(operation)).filter(|path| path.exists())
    }

    fn path(&self, operation: &str) -> PathBuf {
        self.folder.join("operations").join(operation)
    }
}

impl File {
    fn catalog(self) -> anyhow::Result<Catalog> {
        let service: ServiceName = self.service.parse()?;
        anyhow::ensure!(!self.plans.is_empty(), "the catalog has no plans, name at least one");
        let mut catalog = Catalog::new(service);
        for given in self.plans {
            let name: PlanName = given.name.parse()?;
            anyhow::ensure!(catalog.find(&name).is_none(), "the catalog has two plans \"{name}\"");
            let mut plan = Plan::new(name.as_str(), given.description);
            plan.schema = given.schema;
            plan.bind_schema = given.bind_schema;
            catalog = catalog.plan(plan);
        }
        Ok(catalog)
    }
}

fn is_executable(file: &Path) -> bool {
    fs::metadata(file).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}
