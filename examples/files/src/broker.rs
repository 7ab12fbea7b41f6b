//! The policy: what plans and parameters mean.

use std::{io, path::PathBuf, sync::Arc};

use async_trait::async_trait;
use broker_core::{
    Binding, Broker, BrokerError, Catalog, EnvVars, Health, InfoItem, Instance, Notes, Parameters, Plan, PlanName,
    Result, Tenant, Update, env_vars,
};
use serde_json::json;

use crate::place::{Form, Place, Places};

/// The limit of an instance whose owner names none.
const DEFAULT_MEGABYTES: u64 = 100;
const MEGABYTE: u64 = 1_000_000;

/// What the operator can set.
#[derive(Debug, clap::Args)]
pub struct Config {
    /// Folder that the instances are in; apps have to see it under the same path
    #[arg(long, env = "FILES_ROOT", value_name = "DIR", default_value = "files-broker-instances")]
    pub root: PathBuf,
    /// The most megabytes that an instance may ask for
    #[arg(long, env = "FILES_MAX_MEGABYTES", value_name = "MB", default_value_t = 1000)]
    pub max_megabytes: u64,
}

/// Hands out a folder or a SQLite database to each instance.
pub struct FilesBroker {
    places: Arc<Places>,
    max_megabytes: u64,
}

impl FilesBroker {
    /// A broker that is ready for calls.
    ///
    /// # Errors
    /// When the root can't be made.
    pub fn open(config: Config) -> io::Result<Self> {
        Ok(Self { places: Arc::new(Places::open(&config.root)?), max_megabytes: config.max_megabytes })
    }

    /// Works on an instance's place, on a thread that may wait for the disk. A call that the framework drops goes on
    /// there; its repeat waits for it.
    async fn at<T: Send + 'static>(
        &self,
        instance: &Instance,
        work: impl FnOnce(&Place<'_>) -> io::Result<T> + Send + 'static,
    ) -> Result<T> {
        let (places, id) = (Arc::clone(&self.places), instance.id.clone());
        let done = tokio::task::spawn_blocking(move || work(&places.of(&id))).await;
        done.map_err(BrokerError::failed)?.map_err(failure)
    }
}

#[async_trait]
impl Broker for FilesBroker {
    fn catalog(&self) -> Catalog {
        let schema = json!({
            "type": "object",
            "properties": { "megabytes": {
                "description": "how much it may hold before it is closed to writing",
                "type": "integer", "minimum": 1, "maximum": self.max_megabytes,
            } },
            "additionalProperties": false,
        });
        let bind_schema = json!({
            "type": "object",
            "properties": { "read_only": { "description": "the app gets a read-only address", "type": "boolean" } },
            "additionalProperties": false,
        });
        let plan = |name, text| Plan::new(name, text).schema(schema.clone()).bind_schema(bind_schema.clone());
        Catalog::new("files".parse().expect("a valid name"))
            .plan(plan("folder", "a folder of its own"))
            .plan(plan("database", "a SQLite database of its own, in one file"))
    }

    async fn provision(&self, instance: &Instance) -> Result<Notes> {
        let form = form(&instance.plan)?;
        self.at(instance, move |place| place.become_a(form)).await?;
        Ok(Notes::new())
    }

    async fn bind(&self, instance: &Instance, binding: &Binding) -> Result<EnvVars> {
        let (form, account) = (form(&instance.plan)?, binding.id.clone());
        let link = self.at(instance, move |place| place.link(&account)).await?;
        let read_only = binding.parameters.get("read_only").and_then(serde_json::Value::as_bool) == Some(true);
        let path = link.join(form.inside()).display().to_string();
        let mode = if read_only { "ro" } else { "rw" };
        Ok(match form {
            Form::Folder => env_vars! { "FILES_FOLDER" => path, "FILES_MODE" => mode },
            Form::Database => env_vars! {
                "FILES_DATABASE_URL" => format!("file:{path}?mode={mode}"),
                "FILES_DATABASE" => path,
                "FILES_MODE" => mode,
            },
        })
    }

    async fn unbind(&self, instance: &Instance, binding: &Binding) -> Result<()> {
        let account = binding.id.clone();
        self.at(instance, move |place| place.unlink(&account)).await
    }

    async fn update(&self, instance: &Instance, to: &Update) -> Result<Notes> {
        let (form, limit) = (form(&to.plan)?, limit(&to.parameters));
        let used = self.at(instance, |place| place.used()).await?;
        if used > limit {
            let sentence = format!("it holds {} already, ask for more megabytes or remove something", megabytes(used));
            return Err(BrokerError::bad_request(sentence));
        }
        self.at(instance, move |place| place.become_a(form)).await?;
        Ok(instance.notes.clone())
    }

    async fn deprovision(&self, instance: &Instance) -> Result<()> {
        self.at(instance, |place| place.remove()).await
    }

    async fn status(&self, instance: &Instance) -> Result<Health> {
        let (form, limit) = (form(&instance.plan)?, limit(&instance.parameters));
        let (there, used) = self.at(instance, move |place| Ok((place.is_a(form), place.used()?))).await?;
        Ok(match used {
            _ if !there => Health::Down("its files are not where they should be".to_owned()),
            used if used > limit => Health::Notice(format!(
                "it holds {} of {}, so nothing can be written: remove something or ask for more megabytes",
                megabytes(used),
                megabytes(limit)
            )),
            _ => Health::Up,
        })
    }

    async fn info(&self, instance: &Instance) -> Result<Vec<InfoItem>> {
        let used = self.at(instance, |place| place.used()).await?;
        let text = format!("{} of {}", megabytes(used), megabytes(limit(&instance.parameters)));
        Ok(vec![InfoItem::new("Used", text)])
    }

    /// Puts back what is missing, also after an update that did not come to its end, and closes what holds too much.
    async fn reconcile(&self, Tenant { instance, bindings, .. }: &Tenant) -> Result<()> {
        let (form, limit) = (form(&instance.plan)?, limit(&instance.parameters));
        let accounts: Vec<_> = bindings.iter().map(|binding| binding.id.clone()).collect();
        self.at(instance, move |place| {
            place.become_a(form)?;
            for account in &accounts {
                place.link(account)?;
            }
            place.allow_writing(place.used()? <= limit)
        })
        .await
    }
}

fn form(plan: &PlanName) -> Result<Form> {
    match plan.as_str() {
        "folder" => Ok(Form::Folder),
        "database" => Ok(Form::Database),
        other => Err(BrokerError::bad_request(format!("the plan \"{other}\" is not offered any more"))),
    }
}

/// How many bytes an instance may hold; the schema has looked at the parameter.
fn limit(parameters: &Parameters) -> u64 {
    parameters.get("megabytes").and_then(serde_json::Value::as_u64).unwrap_or(DEFAULT_MEGABYTES) * MEGABYTE
}

fn megabytes(bytes: u64) -> String {
    let tenths = bytes.div_ceil(MEGABYTE / 10);
    format!("{}.{} MB", tenths / 10, tenths % 10)
}

/// What to tell of a disk that refuses: a full one may have room later, a refusal of ours is the caller's to mend.
fn failure(error: io::Error) -> BrokerError {
    match error.kind() {
        io::ErrorKind::InvalidInput => BrokerError::bad_request(error.to_string()),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::ResourceBusy => {
            BrokerError::unavailable(error)
        }
        _ => BrokerError::failed(error),
    }
}
