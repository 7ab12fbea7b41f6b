//! Between the framework and an author's code: what it gives back is of a size that can be kept and told (SPEC T-10),
//! and what its errors and panics say holds no secret that the framework knows of (SPEC S-11).

mod discretion;

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;

use crate::{
    Binding, Broker, BrokerError, Catalog, Endpoint, EnvVars, Health, InfoItem, Instance, Metric, Notes, Result,
    Routes, Secret, Tenant, Update,
    line::{cut, one_line},
};
use discretion::discreetly_at_once;
pub(crate) use discretion::{discreet_here, discreetly, masked, text_of};

/// Variables of a binding, and notes of an instance, in bytes.
const KEPT: usize = 256 * 1024;
/// Levels of objects and lists within notes: a record that is deeper could not be read again.
const DEPTH: usize = 64;
/// Lines that are shown with an instance, and the characters of each part.
const SHOWN: usize = 100;
const SHOWN_TEXT: usize = 4096;
/// Variables of fewer bytes are taken for no secret.
const SHORTEST_PASSWORD: usize = 8;

/// An author's broker that keeps the rules of this module.
pub(crate) struct Checked(Arc<dyn Broker>);

impl Checked {
    pub(crate) fn around(broker: Arc<dyn Broker>) -> Arc<dyn Broker> {
        Arc::new(Self(broker))
    }
}

/// Every call is passed on: one that is left out here would never reach the author.
#[async_trait]
impl Broker for Checked {
    fn catalog(&self) -> Catalog {
        self.0.catalog()
    }

    async fn provision(&self, instance: &Instance) -> Result<Notes> {
        kept(asked(&[&instance.secret], self.0.provision(instance)).await?)
    }

    async fn bind(&self, instance: &Instance, binding: &Binding) -> Result<EnvVars> {
        given(asked(&[&instance.secret, &binding.secret], self.0.bind(instance, binding)).await?)
    }

    async fn unbind(&self, instance: &Instance, binding: &Binding) -> Result<()> {
        asked(&[&instance.secret, &binding.secret], self.0.unbind(instance, binding)).await
    }

    async fn update(&self, instance: &Instance, to: &Update) -> Result<Notes> {
        kept(asked(&[&instance.secret], self.0.update(instance, to)).await?)
    }

    async fn deprovision(&self, instance: &Instance) -> Result<()> {
        asked(&[&instance.secret], self.0.deprovision(instance)).await
    }

    async fn status(&self, instance: &Instance) -> Result<Health> {
        let health = asked(&[&instance.secret], self.0.status(instance)).await?;
        Ok(match health {
            Health::Up => Health::Up,
            Health::Notice(line) => Health::Notice(one_line(&line)),
            Health::Down(line) => Health::Down(one_line(&line)),
        })
    }

    async fn info(&self, instance: &Instance) -> Result<Vec<InfoItem>> {
        Ok(shown(asked(&[&instance.secret], self.0.info(instance)).await?))
    }

    fn dashboard(&self, instance: &Instance) -> Option<String> {
        discreetly_at_once(vec![instance.secret.clone()], || self.0.dashboard(instance))
    }

    fn endpoints(&self, instance: &Instance) -> Vec<Endpoint> {
        let mut endpoints = discreetly_at_once(vec![instance.secret.clone()], || self.0.endpoints(instance));
        endpoints.truncate(SHOWN);
        endpoints
    }

    /// No password is shown, whatever its author thought (SPEC Y-7).
    fn account(&self, instance: &Instance, binding: &Binding) -> Vec<InfoItem> {
        let secrets = [&instance.secret, &binding.secret];
        let items = discreetly_at_once(secrets.map(Secret::clone).into(), || self.0.account(instance, binding));
        let discreet = |item: InfoItem| InfoItem::new(masked(&item.label, &secrets), masked(&item.value, &secrets));
        // Before it is cut: half a secret would not be found.
        shown(items.into_iter().map(discreet).collect())
    }

    async fn metrics(&self) -> Result<Vec<Metric>> {
        asked(&[], self.0.metrics()).await
    }

    async fn instance_metrics(&self, tenant: &Tenant) -> Result<Option<Vec<Metric>>> {
        asked(&secrets_of(tenant), self.0.instance_metrics(tenant)).await
    }

    async fn reconcile(&self, tenant: &Tenant) -> Result<()> {
        asked(&secrets_of(tenant), self.0.reconcile(tenant)).await
    }

    fn routes(self: Arc<Self>) -> Routes {
        self.0.clone().routes()
    }
}

/// What the author answers, whose errors and panics hold none of these secrets.
async fn asked<T>(secrets: &[&Secret], answer: impl Future<Output = Result<T>>) -> Result<T> {
    let known = secrets.iter().map(|&secret| secret.clone()).collect();
    discreetly(known, async { answer.await.map_err(discreet_here) }).await
}

/// What an author who is given a tenant may say, and nobody may read: the variables of its bindings, too. One that is
/// shorter than a password is a port, or a word that would be masked wherever it stands.
pub(crate) fn secrets_of(tenant: &Tenant) -> Vec<&Secret> {
    let bindings = tenant.bindings.iter().map(|binding| &binding.secret);
    let variables = tenant.variables.iter().flat_map(EnvVars::iter).map(|(_, value)| value);
    let variables = variables.filter(|value| value.expose().len() >= SHORTEST_PASSWORD);
    [&tenant.instance.secret].into_iter().chain(bindings).chain(variables).collect()
}

/// As much of it as people read.
fn shown(mut items: Vec<InfoItem>) -> Vec<InfoItem> {
    items.truncate(SHOWN);
    let short = |item: InfoItem| InfoItem::new(cut(&item.label, SHOWN_TEXT), cut(&item.value, SHOWN_TEXT));
    items.into_iter().map(short).collect()
}

fn kept(notes: Notes) -> Result<Notes> {
    let mut left = KEPT;
    match notes.iter().try_for_each(|(name, value)| weigh(name.len(), value, DEPTH, &mut left)) {
        Some(()) => Ok(notes),
        None => Err(BrokerError::failed(format!(
            "the notes are larger than {KEPT} bytes, or nested more than {DEPTH} levels deep: keep large things on the server"
        ))),
    }
}

/// Takes what a value weighs from what is left, about as many bytes as its text has.
fn weigh(name: usize, value: &Value, depth: usize, left: &mut usize) -> Option<()> {
    let own = match value {
        Value::String(text) => text.len(),
        _ => 8,
    };
    *left = left.checked_sub(own + name + 4)?;
    match value {
        Value::Object(members) => {
            let depth = depth.checked_sub(1)?;
            members.iter().try_for_each(|(name, value)| weigh(name.len(), value, depth, left))
        }
        Value::Array(items) => {
            let depth = depth.checked_sub(1)?;
            items.iter().try_for_each(|item| weigh(0, item, depth, left))
        }
        _ => Some(()),
    }
}

fn given(env: EnvVars) -> Result<EnvVars> {
    let size: usize = env.iter().map(|(name, value)| name.as_str().len() + value.expose().len()).sum();
    if size <= KEPT {
        return Ok(env);
    }
    Err(BrokerError::failed(format!("the binding's variables have {size} bytes, an app's environment takes {KEPT}")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Gives back more than can be kept, and says a secret where it fails.
    struct Immoderate;

    #[async_trait]
    impl Broker for Immoderate {
        fn catalog(&self) -> Catalog {
            Catalog::new("fake".parse().unwrap())
        }
        async fn provision(&self, instance: &Instance) -> Result<Notes> {
            let deep = (0..70).fold(json!(1), |inner, _| json!([inner]));
            let large = json!("x".repeat(KEPT));
            Ok(Notes::from_iter([("n".to_owned(), if instance.team == "deep" { deep } else { large })]))
        }
        async fn bind(&self, _: &Instance, _: &Binding) -> Result<EnvVars> {
            Ok(EnvVars::from([("LARGE", "x".repeat(KEPT).as_str())]))
        }
        async fn unbind(&self, _: &Instance, binding: &Binding) -> Result<()> {
            Err(BrokerError::unavailable(format!("no answer to AUTH\n{}", binding.secret.expose())))
        }
        async fn status(&self, _: &Instance) -> Result<Health> {
            Ok(Health::Down("down\nfor good".repeat(1000)))
        }
        async fn info(&self, _: &Instance) -> Result<Vec<InfoItem>> {
            Ok((0..200).map(|_| InfoItem::new("l".repeat(5000), "v".repeat(5000))).collect())
        }
        fn dashboard(&self, instance: &Instance) -> Option<String> {
            Some(discreet_here(BrokerError::bad_request(instance.secret.expose())).to_string())
        }
        fn endpoints(&self, instance: &Instance) -> Vec<Endpoint> {
            vec![Endpoint::tcp(self.dashboard(instance).unwrap(), 1)]
        }
        fn account(&self, _: &Instance, binding: &Binding) -> Vec<InfoItem> {
            let login = format!("u/{}", binding.secret.expose());
            // The last of what is shown of it is a part of a secret.
            let long = "x".repeat(SHOWN_TEXT - 10) + binding.secret.expose();
            vec![InfoItem::new("Login", login), InfoItem::new("Long", long)]
        }
    }

    fn cause(error: &BrokerError) -> String {
        std::error::Error::source(error).unwrap().to_string()
    }

    #[tokio::test] // SPEC T-10
    async fn an_author_that_gives_too_much_fails_or_is_cut() {
        let broker = Checked::around(Arc::new(Immoderate));
        let mut instance = Instance::new("cache".parse().unwrap(), "small".parse().unwrap());
        let binding = Binding::new(crate::Consumer::App("web".parse().unwrap()));

        assert!(cause(&broker.provision(&instance).await.unwrap_err()).contains("larger than 262144 bytes"));
        instance.team = "deep".to_owned();
        assert!(cause(&broker.provision(&instance).await.unwrap_err()).contains("more than 64 levels"));
        assert!(cause(&broker.bind(&instance, &binding).await.unwrap_err()).contains("262149 bytes"));
        let Health::Down(line) = broker.status(&instance).await.unwrap() else { panic!("not down") };
        assert!(line.starts_with("down for good") && line.chars().count() <= 1001);
        let info = broker.info(&instance).await.unwrap();
        assert!(info.len() == 100 && info[0].label.chars().count() == 4097 && info[0].value.chars().count() == 4097);
    }

    #[tokio::test] // SPEC S-11
    async fn an_authors_error_loses_the_bindings_secret_and_its_line_breaks() {
        let broker = Checked::around(Arc::new(Immoderate));
        let instance = Instance::new("cache".parse().unwrap(), "small".parse().unwrap());
        let binding = Binding::new(crate::Consumer::App("web".parse().unwrap()));

        let error = broker.unbind(&instance, &binding).await.unwrap_err();

        assert_eq!(cause(&error), "no answer to AUTH [secret]");
    }

    #[test] // SPEC S-11, Y-7
    fn what_waits_for_nothing_is_asked_with_its_secret_known_too() {
        let broker = Checked::around(Arc::new(Immoderate));
        let instance = Instance::new("cache".parse().unwrap(), "small".parse().unwrap());

        assert_eq!(broker.dashboard(&instance).unwrap(), "[secret]");
        assert_eq!(broker.endpoints(&instance)[0].host, "[secret]");
        let binding = Binding::new(crate::Consumer::App("web".parse().unwrap()));
        let account = broker.account(&instance, &binding);
        assert_eq!(account[0], InfoItem::new("Login", "u/[secret]"));
        assert_eq!(account[1].value, "x".repeat(SHOWN_TEXT - 10) + "[secret]");
    }

    #[test]
    fn every_call_of_the_trait_is_passed_on() {
        let calls = |source: &str, from: &str| {
            let body = source.split_once(from).unwrap().1.split_once("\n}\n").unwrap().0.to_owned();
            let calls = body.lines().filter_map(|line| {
                let line = line.trim();
                line.strip_prefix("async fn ").or_else(|| line.strip_prefix("fn ")).map(str::to_owned)
            });
            calls.map(|call| call.split('(').next().unwrap().to_owned()).collect::<Vec<_>>()
        };
        let of_trait = calls(include_str!("broker.rs"), "pub trait Broker");
        assert!(of_trait.len() > 5);
        assert_eq!(of_trait, calls(include_str!("author.rs"), "impl Broker for Checked"));
    }
}
