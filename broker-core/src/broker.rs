//! The trait that an author implements.

#[cfg(feature = "server")]
use std::sync::Arc;

use async_trait::async_trait;

#[cfg(feature = "server")]
use crate::Routes;
use crate::{
    Binding, BrokerError, Catalog, Endpoint, EnvVars, Health, InfoItem, Instance, Metric, Notes, Result, Update,
};

/// A service that a platform can offer: one method for each thing it may be asked.
///
/// Every method is called again with the same identifiers and secrets when an answer was lost or
/// the broker stopped in between, so each means "make it so" (SPEC L-2): create what is missing,
/// leave what is there, succeed when there is nothing left to do. Calls about one instance never
/// overlap, but for binds and unbinds of different consumers (SPEC L-4), and for the questions
/// [`status`](Self::status) and [`info`](Self::info), which may come at any time. A call that takes too
/// long is dropped where it waits, and so is one whose instance is to be removed, half a second after that.
///
/// ```
/// use async_trait::async_trait;
/// use broker_core::{Binding, Broker, Catalog, EnvVars, Instance, Notes, Plan, Result};
///
/// struct Motd;
///
/// #[async_trait]
/// impl Broker for Motd {
///     fn catalog(&self) -> Catalog {
///         Catalog::new("motd".parse().unwrap()).plan(Plan::new("kind", "one kind word a day"))
///     }
///
///     async fn provision(&self, _: &Instance) -> Result<Notes> {
///         Ok(Notes::new())
///     }
///
///     async fn bind(&self, _: &Instance, _: &Binding) -> Result<EnvVars> {
///         Ok(EnvVars::from([("MOTD", "be kind")]))
///     }
/// }
/// ```
#[async_trait]
pub trait Broker: Send + Sync + 'static {
    /// The service and its plans. Asked once, when the server starts.
    fn catalog(&self) -> Catalog;

    /// Makes the instance. What it returns is remembered as [`Instance::notes`].
    async fn provision(&self, instance: &Instance) -> Result<Notes>;

    /// Gives a consumer access: what it will find in its environment. Asked again, with the same binding, when the
    /// consumer asks again, and when the instance was changed since (SPEC B-21).
    async fn bind(&self, instance: &Instance, binding: &Binding) -> Result<EnvVars>;

    /// Takes a consumer's access away, its open connections too. Nothing to do is a success, also when the
    /// instance was removed before.
    async fn unbind(&self, instance: &Instance, binding: &Binding) -> Result<()> {
        let _ = (instance, binding);
        Ok(())
    }

    /// Changes the instance's plan or parameters; `instance` is as it was. What it returns replaces
    /// [`Instance::notes`]. By default labels may change, the plan may not.
    async fn update(&self, instance: &Instance, to: &Update) -> Result<Notes> {
        if to.plan == instance.plan {
            Ok(instance.notes.clone())
        } else {
            Err(BrokerError::bad_request(
                "the plan of an instance of this service cannot be changed, create a new instance",
            ))
        }
    }

    /// Removes the instance and its data. A half-made one too; nothing to do is a success.
    async fn deprovision(&self, instance: &Instance) -> Result<()> {
        let _ = instance;
        Ok(())
    }

    /// How the instance is doing. Answers quickly.
    async fn status(&self, instance: &Instance) -> Result<Health> {
        let _ = instance;
        Ok(Health::Up)
    }

    /// What the platform shows with the instance. Answers quickly, holds no secret.
    async fn info(&self, instance: &Instance) -> Result<Vec<InfoItem>> {
        let _ = instance;
        Ok(Vec::new())
    }

    /// Where the instance's owner looks after it: a URL, which holds no secret. Asked often, and already while the
    /// instance is made, since some platforms keep what they are told then: best made of [`Instance::id`]. Without one,
    /// there is a page of the framework's where the server has a public URL (SPEC I-12).
    fn dashboard(&self, instance: &Instance) -> Option<String> {
        let _ = instance;
        None
    }

    /// Where apps reach the instance, for platforms of Open Service Broker, which may have to open a network for it: all
    /// addresses, or none to say nothing (SPEC O-8). Asked with every bind; best taken from [`Instance::notes`].
    fn endpoints(&self, instance: &Instance) -> Vec<Endpoint> {
        let _ = instance;
        Vec::new()
    }

    /// What users may know of the account that a binding has on the author's server: its name there, whether it may only
    /// read; never a secret. Shown with the instance's credentials (SPEC Y-7).
    fn account(&self, instance: &Instance, binding: &Binding) -> Vec<InfoItem> {
        let _ = (instance, binding);
        Vec::new()
    }

    /// What the author measures, for `/metrics`: numbers about the service, such as the memory of its servers. Labels may
    /// name servers and instances, never a person, an app or a secret (SPEC T-4). Asked at most every five seconds, and left
    /// out when it takes longer than three.
    async fn metrics(&self) -> Result<Vec<Metric>> {
        Ok(Vec::new())
    }

    /// What the author measures of one instance, for its users (SPEC Y-9): of any that is there, where
    /// [`metrics`](Self::metrics) may leave some out. Answers quickly; asked every five seconds at most for each of a thousand
    /// instances, and again soon where it fails. With `None`
    /// users get the measurements of `metrics` whose label `instance` is the instance's name.
    async fn instance_metrics(&self, tenant: &Tenant) -> Result<Option<Vec<Metric>>> {
        let _ = tenant;
        Ok(None)
    }

    /// Brings the server in line with what the framework remembers of one instance: called for each ready
    /// instance at start and then every few seconds, several instances at once. A server that lost its accounts
    /// in a restart gets them back here, so it should notice cheaply that nothing was lost. An instance or a
    /// binding that something is being done to is left out, so what is missing here need not be missing there;
    /// the call is dropped, and comes again, when a request wants one of them. By default there is nothing to do.
    async fn reconcile(&self, tenant: &Tenant) -> Result<()> {
        let _ = tenant;
        Ok(())
    }

    /// Operations of the author's own, beside those of the contract; asked once, when the server starts. By default
    /// there are none.
    #[cfg(feature = "server")]
    fn routes(self: Arc<Self>) -> Routes {
        Routes::new()
    }
}

/// An instance that should work, with the bindings that should.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Tenant {
    /// The instance, in state ready.
    pub instance: Instance,
    /// Its bindings, in state bound, and those that were replaced by a rotation and still work for a while.
    pub bindings: Vec<Binding>,
    /// What its bindings have, which no error may tell.
    #[cfg(feature = "server")]
    pub(crate) variables: Vec<EnvVars>,
}

impl Tenant {
    /// An instance and its bindings, for an author's tests.
    #[must_use]
    pub fn new(instance: Instance, bindings: Vec<Binding>) -> Self {
        Self {
            instance,
            bindings,
            #[cfg(feature = "server")]
            variables: Vec::new(),
        }
    }
}
