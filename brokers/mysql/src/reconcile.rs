//! `reconcile`: what differs between the records and the servers (SPEC M-20). Repairs are those of a broker that serves,
//! and removals those of an instance that is removed.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use broker_core::{Broker as _, BrokerError, OpaqueId, Result, Tenant, cli::Drift};
use broker_hosting::{Member, ServerId, Site};

use crate::{
    Config, MysqlBroker,
    link::{Found, Link},
    plans::{Kind, Plans},
    servers::{Servers, is_dedicated},
    tenant::{Access, Account, Database},
};

impl MysqlBroker {
    /// Compares the servers with what the records say, and has what differs repaired where `drift` wants it. To look, it
    /// takes no folder into use and starts no server.
    ///
    /// # Errors
    /// When the configuration can't work, or another broker uses the servers' folder that something shall be repaired in.
    pub async fn compare(config: &Config, drift: &mut Drift) -> anyhow::Result<()> {
        let plans = Plans::of(config)?;
        let servers = if drift.repairs() {
            Servers::start(config, &plans).await?
        } else {
            Servers::to_look(config, &plans).await?
        };
        // Without an archive: nothing moves here, and no backup is due.
        let broker = Self::with(config, plans, servers, None, None);
        let tenants = drift.tenants();
        let (mut on_shared, mut dedicated) = (BTreeMap::<_, Vec<&Tenant>>::new(), Vec::new());
        for tenant in tenants.iter() {
            let instance = &tenant.instance;
            if is_dedicated(instance) {
                dedicated.push(tenant);
                continue;
            }
            match broker.servers.home(instance, broker.fleet(instance)) {
                Ok(home) => on_shared.entry(home.id).or_default().push(tenant),
                Err(why) => drift.unseen(format!("instance {}", instance.name), why),
            }
        }
        for member in broker.plans.servers() {
            let theirs = on_shared.remove(&member.id).unwrap_or_default();
            broker.compare_shared(&member, theirs, drift).await;
        }
        for (id, theirs) in on_shared {
            drift.unseen(
                format!("shared server {id}"),
                format!("no plan has it, and {} instances are on it", theirs.len()),
            );
        }
        for tenant in &dedicated {
            broker.compare_dedicated(tenant, drift).await;
        }
        if let Some(own) = &broker.servers.own {
            let is_contained = |kind: &Kind| matches!(kind, Kind::Dedicated(plan) if plan.is_contained);
            own.host.compare(drift, broker.plans.all().iter().any(|offer| is_contained(&offer.kind))).await;
        }
        drift.seen("dedicated servers", format!("{} that should be there", dedicated.len()));
        Ok(())
    }

    async fn compare_shared(&self, member: &Member, theirs: Vec<&Tenant>, drift: &mut Drift) {
        let what = format!("shared server {}", member.id);
        // To open one that was never made would make the file with its password.
        if matches!(member.site, Site::Own) && !self.servers.has_made(&member.id) {
            for tenant in &theirs {
                let text = format!("the server of `{}` was never made", tenant.instance.name);
                drift.missing(&tenant.instance.id, &what, text, async || self.reconcile(tenant).await).await;
            }
            return drift.seen(what, "it is made with its first instance");
        }
        let opened = async {
            let server = self.servers.at(member)?;
            if drift.repairs() { server.up().await.map(Some) } else { server.if_up().await }
        };
        match opened.await {
            Ok(Some(link)) => self.compare_server(&link, &theirs, &what, drift).await,
            Ok(None) => drift.unseen(what, "it does not run: a broker that serves starts it"),
            Err(why) => drift.unseen(what, why),
        }
    }

    async fn compare_dedicated(&self, tenant: &Tenant, drift: &mut Drift) {
        let (id, what) = (&tenant.instance.id, format!("server of {}", tenant.instance.name));
        let link = match self.server(&tenant.instance) {
            Ok(server) => match server.if_up().await {
                Ok(None) => {
                    let text =
                        if server.was_never_made() { "the server is not there" } else { "the server does not run" };
                    drift.missing(id, &what, text, async || self.reconcile(tenant).await).await;
                    if drift.repairs() { server.if_up().await } else { Ok(None) }
                }
                found => found,
            },
            Err(why) => Err(why),
        };
        match link {
            Ok(Some(link)) => self.compare_server(&link, &[tenant], &what, drift).await,
            // It was said that it is missing.
            Ok(None) => {}
            Err(why) => drift.unseen(what, why),
        }
    }

    async fn compare_server(&self, link: &Arc<Link>, theirs: &[&Tenant], what: &str, drift: &mut Drift) {
        let found = match link.found().await {
            Ok(found) => found,
            Err(why) => return drift.unseen(what, why),
        };
        for tenant in theirs {
            self.compare_tenant(tenant, link, &found, what, drift).await;
        }
        orphans(link, found, what, drift).await;
        drift.seen(what, format!("{} instances that should be there", theirs.len()));
    }

    async fn compare_tenant(&self, tenant: &Tenant, link: &Arc<Link>, found: &Found, what: &str, drift: &mut Drift) {
        let Tenant { instance, bindings, .. } = tenant;
        let repair = async || self.reconcile(tenant).await;
        // Half a restore: closed until a restore ends well, and nothing is to be given back (SPEC M-11).
        if found.marked.contains(&instance.id) {
            return;
        }
        let database = Database::of(instance);
        if found.databases.get(&instance.id) != Some(&true) {
            drift.missing(&instance.id, what, format!("the database of `{}`", instance.name), repair).await;
        } else if self.has_two_places(instance).unwrap_or(true) {
            let text = format!("what a move of `{}` left elsewhere is still there", instance.name);
            drift.differs(&instance.id, what, text, repair).await;
        }
        for binding in bindings {
            let (account, (access, limits)) = (Account::of(binding), self.terms(instance, binding));
            let whose = format!("the account of {} at `{}`", binding.consumer, instance.name);
            let Some(there) = found.accounts.get(&binding.id).filter(|there| !there.is_locked) else {
                drift.missing(&binding.id, what, whose, repair).await;
                continue;
            };
            // One of a full instance may less for now (SPEC M-16).
            let may_be_full = access == Access::Full && self.room(instance).is_some();
            let accesses = if may_be_full { &[access, Access::NoGrowth][..] } else { &[access] };
            let other = match there.other_than(&database, accesses, limits) {
                Some(other) => Some(other),
                None => match link.has_other_password(&account, &binding.secret).await {
                    Ok(is_other) => is_other.unwrap_or_default().then_some("it has another password"),
                    Err(why) => {
                        drift.unseen(what, why);
                        continue;
                    }
                },
            };
            if let Some(other) = other {
                let repair = async || {
                    let terms = self.present_terms(instance, binding, link).await?;
                    Ok(link.allow_only(&account, &database, &binding.secret, terms).await?)
                };
                drift.differs(&binding.id, what, format!("{whose}: {other}"), repair).await;
            }
        }
    }
}

/// What a server has beyond what the records know: by instance, with the accounts of its database, and accounts alone.
async fn orphans(link: &Link, found: Found, what: &str, drift: &mut Drift) {
    let mut accounts_of = BTreeMap::<OpaqueId, usize>::new();
    let unknown = found.accounts.into_iter().filter(|(id, _)| !drift.knows(id)).collect::<Vec<_>>();
    for (id, account) in unknown {
        let reached: Option<Vec<OpaqueId>> =
            account.rights.keys().map(|name| Database::read(name).map(|(instance, _)| instance)).collect();
        // One that may do something elsewhere is somebody's own.
        let Some(reached) = reached.filter(|_| !account.has_global_rights) else { continue };
        let of_known = reached.iter().find(|instance| drift.knows(instance));
        match (of_known, reached.first()) {
            // What its database has defined runs as this one (SPEC M-4).
            (Some(_), _) if account.is_locked => {}
            (Some(instance), _) => {
                let database = Database::with(instance);
                let removal = async || forbid(link, &id, &database).await;
                drift.orphan(&id, what, format!("an account of instance {instance}"), removal).await;
            }
            (None, Some(instance)) => *accounts_of.entry(instance.clone()).or_default() += 1,
            (None, None) => {
                let nothing = Database::with(&id);
                drift
                    .orphan(&id, what, "an account without a database", async || forbid(link, &id, &nothing).await)
                    .await;
            }
        }
    }
    let instances: BTreeSet<OpaqueId> = found.databases.keys().chain(accounts_of.keys()).cloned().collect();
    for instance in instances {
        let database = found.databases.contains_key(&instance).then(|| "its database".to_owned());
        let accounts = match accounts_of.get(&instance) {
            None => None,
            Some(1) => Some("one account".to_owned()),
            Some(number) => Some(format!("{number} accounts")),
        };
        let parts: Vec<String> = database.into_iter().chain(accounts).collect();
        let removal = async || Ok::<_, BrokerError>(link.erase(&Database::with(&instance)).await?);
        drift.orphan(&instance, what, format!("an instance: {}", parts.join(", ")), removal).await;
    }
}

async fn forbid(link: &Link, binding: &OpaqueId, database: &Database) -> Result<()> {
    Ok(link.forbid(&Account::with(binding), database).await?)
}

impl Servers {
    /// Whether a server of the broker's own was started before.
    fn has_made(&self, id: &ServerId) -> bool {
        self.own.as_ref().is_some_and(|own| own.host.knows(id))
    }
}
