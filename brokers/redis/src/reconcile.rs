//! `reconcile`: what differs between the records and the servers (SPEC K-19). Repairs are those of a broker that serves,
//! and removals those of an instance that is removed.

use std::sync::Arc;

use broker_core::{Broker as _, OpaqueId, Result, Tenant, cli::Drift};
use broker_hosting::{Certifier, Host, Member, addresses_of};

use crate::{
    Config, RedisBroker,
    account::Account,
    broker::{account, hosting, offers},
    fleet::SharedServers,
    plans::{Kind, Offer},
    settings::{Backend, Settings},
    tenants::{Found, Tenants, Traces, Wrong},
};

impl RedisBroker {
    /// Compares the servers with what the records say, and has what differs repaired where `drift` wants it. To look, it
    /// takes no folder into use and starts no server.
    ///
    /// # Errors
    /// When the configuration can't work, or another broker uses the servers' folder that something shall be repaired in.
    pub async fn compare(config: &Config, drift: &mut Drift) -> anyhow::Result<()> {
        let mut broker =
            if drift.repairs() { Self::start(config.clone()).await? } else { Self::to_look(config).await? };
        // No backup is due here.
        broker.archive = None;
        let tenants = drift.tenants();
        for offer in &broker.offers {
            if let Kind::Shared { servers, settings } = &offer.kind {
                for member in servers.members().iter() {
                    let theirs = tenants.iter().filter(|tenant| broker.is_on(tenant, offer, member)).collect();
                    broker.compare_shared(member, settings, theirs, drift).await;
                }
            }
        }
        let mut dedicated = 0;
        for tenant in tenants.iter() {
            match broker.home(&tenant.instance) {
                Ok(home) if !home.is_shared => {
                    dedicated += 1;
                    broker.compare_dedicated(tenant, &home.tenants, drift).await;
                }
                Ok(_) => {}
                Err(why) => drift.unseen(format!("instance {}", tenant.instance.name), why),
            }
        }
        let asks_engine = broker.offers.iter().any(|offer| offer.starts() == Some(Backend::Container));
        broker.host.compare(drift, asks_engine).await;
        drift.seen("dedicated servers", format!("{dedicated} that should be there"));
        Ok(())
    }

    async fn to_look(config: &Config) -> anyhow::Result<Self> {
        let (offers, installed) = offers(config).await?;
        let addresses = addresses_of(&config.advertise_host, &config.bind).await?;
        let host = Host::look(hosting(config, &offers, addresses))?;
        let certifier = Certifier::look(&config.servers_dir, "redis-broker", &config.advertise_host)?;
        Ok(Self::with(config, offers, installed, host, certifier))
    }

    fn is_on(&self, tenant: &Tenant, offer: &Offer, member: &Member) -> bool {
        let Kind::Shared { servers, .. } = &offer.kind else { return false };
        tenant.instance.plan == offer.plan.name
            && SharedServers::home(&tenant.instance, servers).is_ok_and(|home| home.id == member.id)
    }

    async fn compare_shared(&self, member: &Member, settings: &Settings, theirs: Vec<&Tenant>, drift: &mut Drift) {
        let what = format!("shared server {}", member.id);
        // To open one that was never made would make the file with its password.
        if self.shared.was_never_made(member) {
            for tenant in &theirs {
                let text = format!("the server of `{}` was never made", tenant.instance.name);
                drift.missing(&tenant.instance.id, &what, text, async || self.reconcile(tenant).await).await;
            }
            return drift.seen(what, "it is made with its first instance");
        }
        let looked = async {
            let tenants = self.shared.at(member, settings)?.tenants;
            if drift.repairs() {
                tenants.up().await?;
            }
            let Some(found) = tenants.found().await? else { return Ok(None) };
            let traces = found.traces(|id| drift.knows(id)).await?;
            Ok(Some((tenants, found, traces)))
        };
        match looked.await {
            Ok(Some((tenants, found, traces))) => {
                for tenant in &theirs {
                    self.compare_accounts(tenant, &tenants, &found, &what, drift).await;
                }
                for (instance, traces) in traces {
                    orphan(&tenants, &instance, traces, &what, drift).await;
                }
                drift.seen(what, format!("{} instances that should be there", theirs.len()));
            }
            Ok(None) => drift.unseen(what, "it does not run: a broker that serves starts it"),
            Err(why) => {
                let why: broker_core::BrokerError = why;
                drift.unseen(what, why);
            }
        }
    }

    async fn compare_dedicated(&self, tenant: &Tenant, tenants: &Arc<Tenants>, drift: &mut Drift) {
        let (id, what) = (&tenant.instance.id, format!("server of {}", tenant.instance.name));
        let found = match tenants.found().await {
            Ok(None) => {
                let is_made = tenants.own_port().is_ok_and(|port| port.is_some());
                let text = if is_made { "the server does not run" } else { "the server is not there" };
                drift.missing(id, &what, text, async || self.reconcile(tenant).await).await;
                if !drift.repairs() {
                    return;
                }
                tenants.found().await
            }
            found => found,
        };
        match found {
            Ok(Some(found)) => {
                self.compare_accounts(tenant, tenants, &found, &what, drift).await;
                for user in found.users() {
                    let forbid = async || tenants.forbid(id, std::slice::from_ref(user)).await;
                    drift.orphan(user, &what, format!("an account of instance {id}"), forbid).await;
                }
            }
            // It was said that it is missing.
            Ok(None) => {}
            Err(why) => drift.unseen(what, why),
        }
    }

    /// A look after an instance gives it all its accounts anew the first time, also those with other rights.
    async fn compare_accounts(&self, tenant: &Tenant, tenants: &Tenants, found: &Found, what: &str, drift: &mut Drift) {
        let Tenant { instance, bindings, .. } = tenant;
        match found.is_half_restored(&instance.id).await {
            Ok(false) => {}
            // Its accounts are kept back until a restore ends well (SPEC K-15).
            Ok(true) => {
                return drift.seen(what, format!("a restore of `{}` was cut off: restore again", instance.name));
            }
            Err(why) => return drift.unseen(what, why),
        }
        let repair = async || self.reconcile(tenant).await;
        // All of it is looked at before the first repair, which mends more than one thing.
        let wanted: Vec<Account> = match self.home(instance) {
            Ok(home) => bindings.iter().map(|binding| account(&home, instance, binding)).collect(),
            Err(why) => return drift.unseen(what, why),
        };
        let wrong = match found.wrong(&wanted).await {
            Ok(wrong) => wrong,
            Err(why) => return drift.unseen(what, why),
        };
        if self.has_moved(instance) {
            let text = format!("what a move of `{}` left elsewhere is still there", instance.name);
            drift.differs(&instance.id, what, text, repair).await;
        }
        if tenants.is_shared() && !found.accounts.marked.contains(&instance.id) {
            drift.missing(&instance.id, what, format!("the mark of `{}`", instance.name), repair).await;
        }
        for (account, wrong) in wrong {
            let of = bindings.iter().find(|binding| binding.id == account.user).map(|binding| &binding.consumer);
            let whose = of.map(|consumer| format!("the account of {consumer} at `{}`", instance.name));
            let whose = whose.unwrap_or_default();
            match wrong {
                Wrong::Missing => drift.missing(&account.user, what, whose, repair).await,
                Wrong::Differs(how) => drift.differs(&account.user, what, format!("{whose}: {how}"), repair).await,
            }
        }
    }
}

/// What a shared server has of an instance, beyond what the records know.
async fn orphan(tenants: &Tenants, instance: &OpaqueId, traces: Traces, what: &str, drift: &mut Drift) {
    let Traces { users, is_marked, has_keys } = traces;
    if drift.knows(instance) {
        for user in users {
            let text = format!("an account of instance {instance}");
            drift.orphan(&user, what, text, async || tenants.forbid(instance, std::slice::from_ref(&user)).await).await;
        }
        return;
    }
    let accounts = match users.len() {
        0 => None,
        1 => Some("one account".to_owned()),
        number => Some(format!("{number} accounts")),
    };
    let parts = [is_marked.then(|| "its mark".to_owned()), accounts, has_keys.then(|| "keys".to_owned())];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    let removal = async || -> Result<()> {
        tenants.forbid(instance, &users).await?;
        tenants.erase(instance).await
    };
    drift.orphan(instance, what, format!("an instance: {}", parts.join(", ")), removal).await;
}
