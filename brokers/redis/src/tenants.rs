//! A server and the accounts on it, kept as the framework remembers them.

mod found;
mod residents;

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use broker_core::{BrokerError, Instance, InstanceName, OpaqueId, Result};
use broker_hosting::{Host, Place, Recent, ServerId, Turns};
use redis::{ConnectionInfo, RedisResult};
use residents::Residents;
use tokio::sync::Mutex;
use tracing::{info, warn};

use crate::{
    Size,
    account::{Account, Dialect},
    link::{About, Accounts, Link, failure},
    server::RedisServer,
    settings::{Persistence, Settings},
};

pub(crate) use found::{Found, Traces, Wrong};

/// The oldest version that keeps tenants apart.
pub(crate) const OLDEST: (u16, u16) = (7, 0);

/// For how long a look at a server is good, for each account and mark on it.
const LOOK_FOR_EACH: Duration = Duration::from_millis(1);

/// How long a list of connections serves the tenants who ask for theirs.
const LATELY: Duration = Duration::from_secs(5);

/// The accounts of one server. Changes to an instance come one at a time; neither others nor questions wait for them.
pub(crate) struct Tenants {
    server: Server,
    /// Whether several instances share the server, which are marked there then.
    is_shared: bool,
    turns: Turns<OpaqueId>,
    known: std::sync::Mutex<Known>,
    /// Held while accounts are restored, which is done for one instance after the other. Whoever has a turn never waits
    /// for it.
    watch: Mutex<Watch>,
    residents: std::sync::Mutex<Residents>,
    lately: Mutex<Option<(Instant, Arc<Connections>)>>,
}

/// How many connections accounts have.
type Connections = HashMap<String, u64>;

enum Server {
    /// One that the broker starts: its account file is ours to write, so it knows its tenants when it starts.
    Own {
        host: Arc<Host>,
        id: ServerId,
        setup: Box<std::sync::Mutex<RedisServer>>,
        link: std::sync::Mutex<Option<(u16, Link)>>,
    },
    /// One that was there: what it forgets in a restart is told again.
    Given {
        link: Link,
        /// What it said about itself; it may be another one after its next start.
        about: std::sync::Mutex<Option<About>>,
    },
}

#[derive(Default)]
struct Known {
    /// Bindings and instances that were taken away lately. The list a reconciliation works from may be older than
    /// that, and must not bring them back.
    gone: Recent<OpaqueId>,
    /// The instances whose accounts the server's present run was given, or seen to have.
    restored: HashSet<OpaqueId>,
    /// Accounts that were kept from writing, and are not let in anew yet.
    fenced: HashSet<OpaqueId>,
    /// The instances that were placed or seen here: a server that restarted forgets their marks for a moment.
    instances: HashSet<OpaqueId>,
}

#[derive(Default)]
struct Watch {
    /// The server as it was last seen.
    look: Option<Look>,
    /// The server's run that was told its certificate, and when that ends.
    certified: Option<(String, SystemTime)>,
}

/// A server's accounts at a moment.
struct Look {
    at: Instant,
    /// Changes when the server starts anew.
    run: String,
    accounts: Accounts,
}

impl Look {
    /// Tenants are looked after one by one, and a look lists all accounts: on a server with many of them it serves
    /// for many tenants.
    fn is_fresh(&self) -> bool {
        let count = self.accounts.users.len() + self.accounts.marked.len();
        self.at.elapsed() < LOOK_FOR_EACH * u32::try_from(count).unwrap_or(u32::MAX)
    }
}

/// A server that answers.
pub(crate) struct Up {
    pub(crate) link: Link,
    dialect: Dialect,
    /// The run that a given server told it by.
    run: Option<String>,
    /// Where the account file is.
    place: Option<Place>,
}

impl Tenants {
    /// On a server that is one instance's.
    pub(crate) fn on_own(host: Arc<Host>, id: ServerId, setup: RedisServer) -> Self {
        let setup = Box::new(std::sync::Mutex::new(setup));
        let server = Server::Own { host, id, setup, link: std::sync::Mutex::default() };
        Self::with(server, false)
    }

    /// On a server that the broker starts and several instances share.
    pub(crate) fn on_shared(host: Arc<Host>, id: ServerId, setup: RedisServer) -> Self {
        Self { is_shared: true, ..Self::on_own(host, id, setup) }
    }

    /// On a server that was there, and several instances share.
    pub(crate) fn on_given(info: ConnectionInfo) -> anyhow::Result<Self> {
        let server = Server::Given { link: Link::new(info)?, about: std::sync::Mutex::default() };
        Ok(Self::with(server, true))
    }

    fn with(server: Server, is_shared: bool) -> Self {
        let (turns, known, watch, residents, lately) = Default::default();
        Self { server, is_shared, turns, known, watch, residents, lately }
    }

    /// The names of the server's instances, as far as the broker looked after them.
    pub(crate) fn names(&self) -> Vec<InstanceName> {
        self.residents().names().cloned().collect()
    }

    /// How many connections each of these instances has on a shared server, which is asked once.
    pub(crate) async fn connections(&self, link: &Link) -> RedisResult<HashMap<OpaqueId, (InstanceName, u64)>> {
        let connections = link.connections().await?;
        Ok(self.residents().count(&connections))
    }

    /// How many connections each account of a shared server has, or had a moment ago: each of its tenants may ask.
    pub(crate) async fn connections_lately(&self, link: &Link) -> RedisResult<Arc<Connections>> {
        let mut lately = self.lately.lock().await;
        if let Some((_, counted)) = lately.as_ref().filter(|(when, _)| when.elapsed() < LATELY) {
            return Ok(Arc::clone(counted));
        }
        let counted = Arc::new(link.connections().await?);
        *lately = Some((Instant::now(), Arc::clone(&counted)));
        Ok(counted)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn residents(&self) -> MutexGuard<'_, Residents> {
        self.residents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether several instances share the server.
    pub(crate) fn is_shared(&self) -> bool {
        self.is_shared
    }

    /// Has the broker's own server be set up like this from its next start on.
    pub(crate) fn set_up(&self, fresh: RedisServer) {
        if let Server::Own { setup, .. } = &self.server {
            let mut setup = setup.lock().unwrap_or_else(PoisonError::into_inner);
            *setup = fresh.in_place_of(&setup);
        }
    }

    /// The server, started when it is the broker's own and down.
    pub(crate) async fn up(&self) -> Result<Up> {
        match &self.server {
            Server::Own { host, id, setup, .. } => {
                let setup = setup_of(setup);
                let running = host.ensure(id, &setup).await.map_err(BrokerError::unavailable)?;
                let place = host.find(id).map_err(BrokerError::unavailable)?;
                let place = place.filter(|place| place.port == running.port);
                let place = place.ok_or_else(|| BrokerError::unavailable(format!("the server {id} is gone")))?;
                Ok(Up { link: self.own_link(&place)?, dialect: setup.dialect(), run: None, place: Some(place) })
            }
            Server::Given { link, about } => {
                let known = about.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let about = match known {
                    Some(known) => known,
                    None => self.ask(link, about).await?,
                };
                Ok(Up { link: link.clone(), dialect: about.dialect, run: Some(about.run), place: None })
            }
        }
    }

    /// Asks a given server about itself.
    async fn ask(&self, link: &Link, about: &std::sync::Mutex<Option<About>>) -> Result<About> {
        let told = link.about().await.map_err(failure)?;
        if told.dialect.version < OLDEST {
            return Err(BrokerError::failed("the server is older than 7.0 and does not keep tenants apart"));
        }
        *about.lock().unwrap_or_else(PoisonError::into_inner) = Some(told.clone());
        Ok(told)
    }

    /// The way to the server, which is started when it is the broker's own and down.
    pub(crate) async fn link(&self) -> Result<Link> {
        match &self.server {
            Server::Own { .. } => Ok(self.up().await?.link),
            Server::Given { link, .. } => Ok(link.clone()),
        }
    }

    /// The server as it is; none when it is the broker's own and down.
    pub(crate) async fn if_up(&self) -> Result<Option<Link>> {
        match &self.server {
            Server::Own { host, id, .. } => {
                let runs = host.is_running(id).await.map_err(BrokerError::unavailable)?;
                self.own_link_if(runs, host, id)
            }
            Server::Given { link, .. } => Ok(Some(link.clone())),
        }
    }

    fn own_link_if(&self, runs: bool, host: &Host, id: &ServerId) -> Result<Option<Link>> {
        let place = if runs { host.find(id).map_err(BrokerError::unavailable)? } else { None };
        place.map(|place| self.own_link(&place)).transpose()
    }

    /// The port of a server of the broker's own; it is known as soon as the server was made.
    pub(crate) fn own_port(&self) -> Result<Option<u16>> {
        match &self.server {
            Server::Own { host, id, .. } => {
                Ok(host.find(id).map_err(BrokerError::unavailable)?.map(|place| place.port))
            }
            Server::Given { .. } => Ok(None),
        }
    }

    /// Makes a binding's account work (SPEC K-3).
    pub(crate) async fn allow(&self, instance: &OpaqueId, account: &Account) -> Result<()> {
        let _turn = self.turns.of(instance).await;
        self.known().gone.remove(&account.user);
        let up = self.up().await?;
        self.let_in(&up, std::slice::from_ref(account)).await
    }

    /// Has a server know accounts, now and after its next start.
    async fn let_in(&self, up: &Up, accounts: &[Account]) -> Result<()> {
        if let (Server::Own { setup, .. }, Some(place)) = (&self.server, &up.place) {
            let setup = setup_of(setup);
            setup.roster.add(place, accounts, &setup.rules()).await.map_err(BrokerError::unavailable)?;
        }
        let run = up.link.allow(accounts, up.dialect).await.map_err(failure)?;
        let Server::Given { link, about } = &self.server else { return Ok(()) };
        if up.run.as_ref() == Some(&run) {
            return Ok(());
        }
        // It started anew, and may be another version by now, whose accounts have other rules.
        let told = self.ask(link, about).await?;
        if told.dialect != up.dialect {
            up.link.allow(accounts, told.dialect).await.map_err(failure)?;
        }
        Ok(())
    }

    /// Makes accounts stop working and drops their connections (SPEC K-4). A server that is down has
    /// none, and forgets them before it starts again.
    pub(crate) async fn forbid(&self, instance: &OpaqueId, users: &[OpaqueId]) -> Result<()> {
        let _turn = self.turns.of(instance).await;
        self.forbid_now(users).await
    }

    async fn forbid_now(&self, users: &[OpaqueId]) -> Result<()> {
        {
            let mut known = self.known();
            for user in users {
                known.gone.insert(user.clone());
                known.fenced.remove(user);
            }
        }
        self.keep_out(users).await
    }

    /// First the server is not to know the accounts after its next start. Then it is asked whether it runs, after any
    /// start that goes on: that one may have known them still.
    async fn keep_out(&self, users: &[OpaqueId]) -> Result<()> {
        let link = match &self.server {
            Server::Given { link, .. } => Some(link.clone()),
            Server::Own { host, id, setup, .. } => {
                let Some(place) = host.find(id).map_err(BrokerError::unavailable)? else { return Ok(()) };
                let setup = setup_of(setup);
                setup.roster.remove(&place, users, &setup.rules()).await.map_err(BrokerError::unavailable)?;
                let runs = host.settled(id).await.map_err(BrokerError::unavailable)?;
                self.own_link_if(runs, host, id)?
            }
        };
        match link {
            Some(link) => link.forbid(users).await.map_err(failure),
            None => Ok(()),
        }
    }

    /// Removes an instance's mark and keys from a server that it shares with others (SPEC K-5). Its accounts were
    /// removed before, one by one.
    pub(crate) async fn erase(&self, instance: &OpaqueId) -> Result<()> {
        self.erase_all(instance, false).await
    }

    /// The same with the accounts that the server has of it: nobody removed them.
    pub(crate) async fn erase_with_accounts(&self, instance: &OpaqueId) -> Result<()> {
        self.erase_all(instance, true).await
    }

    async fn erase_all(&self, instance: &OpaqueId, with_accounts: bool) -> Result<()> {
        {
            // From then on nobody gives it back, so nobody is kept waiting while its keys are removed.
            let _turn = self.turns.of(instance).await;
            let mut known = self.known();
            known.gone.insert(instance.clone());
            known.restored.remove(instance);
            known.instances.remove(instance);
        }
        self.residents().left(instance);
        if self.was_never_made() {
            return Ok(());
        }
        let up = self.up().await?;
        if with_accounts {
            // They may be given back when the instance itself comes back.
            self.keep_out(&self.users_of(&up, instance).await?).await?;
        }
        // A backup that is being made looks for the mark at its end, and would be half of one.
        up.link.unmark(instance).await.map_err(failure)?;
        up.link.erase(instance).await.map_err(failure)?;
        up.link.end_restore(instance).await.map_err(failure)
    }

    async fn users_of(&self, up: &Up, instance: &OpaqueId) -> Result<Vec<OpaqueId>> {
        if up.place.is_none() {
            return up.link.users_of(instance).await.map_err(failure);
        }
        Ok(self.kept_of(up, instance).await?.into_iter().map(|account| account.user).collect())
    }

    /// The accounts of an instance that a server of the broker's own lets in after its next start.
    async fn kept_of(&self, up: &Up, instance: &OpaqueId) -> Result<Vec<Account>> {
        let (Server::Own { setup, .. }, Some(place)) = (&self.server, &up.place) else { return Ok(Vec::new()) };
        let accounts = setup_of(setup).roster.accounts(place).await.map_err(BrokerError::unavailable)?;
        let is_of = |account: &Account| !self.is_shared || account.is_of(instance);
        Ok(accounts.into_iter().filter(is_of).collect())
    }

    /// Keeps an instance's apps from writing, until its accounts are restored: by the next look at it (SPEC K-11). That
    /// holds when a server of the broker's own is started again meanwhile; a given one has no accounts then.
    pub(crate) async fn fence(&self, instance: &OpaqueId) -> Result<()> {
        let _turn = self.turns.of(instance).await;
        let up = self.up().await?;
        self.known().restored.remove(instance);
        if let (Server::Own { setup, .. }, Some(place)) = (&self.server, &up.place) {
            let (setup, accounts) = (setup_of(setup), self.kept_of(&up, instance).await?);
            let fenced: Vec<_> = accounts.iter().map(Account::that_reads).collect();
            setup.roster.add(place, &fenced, &setup.rules()).await.map_err(BrokerError::unavailable)?;
        }
        let users = self.users_of(&up, instance).await?;
        self.known().fenced.extend(users.iter().cloned());
        up.link.fence(&users).await.map_err(failure)
    }

    /// Takes an instance's accounts away and ends their connections, until they are restored (SPEC K-15).
    pub(crate) async fn close(&self, instance: &OpaqueId) -> Result<()> {
        let _turn = self.turns.of(instance).await;
        let up = self.up().await?;
        let users = self.users_of(&up, instance).await?;
        self.known().restored.remove(instance);
        self.keep_out(&users).await
    }

    /// Does so with these accounts: a close that was cut off may have left them with the server, or made none.
    pub(crate) async fn keep_closed(&self, instance: &OpaqueId, users: &[OpaqueId]) -> Result<()> {
        let _turn = self.turns.of(instance).await;
        self.up().await?;
        self.known().restored.remove(instance);
        self.keep_out(users).await
    }

    /// Marks an instance on a shared server, where it is counted from now on (SPEC K-10).
    pub(crate) async fn mark(&self, instance: &OpaqueId) -> Result<()> {
        let _turn = self.turns.of(instance).await;
        self.known().gone.remove(instance);
        // A server that keeps no tenants apart gets none.
        self.up().await?.link.mark(instance).await.map_err(failure)?;
        self.known().instances.insert(instance.clone());
        Ok(())
    }

    /// Whether an instance is on this shared server.
    pub(crate) async fn has(&self, instance: &OpaqueId) -> Result<bool> {
        if self.was_never_made() {
            return Ok(false);
        }
        self.link().await?.has_mark(instance).await.map_err(failure)
    }

    /// How many instances are on this shared server.
    pub(crate) async fn count(&self) -> Result<u64> {
        let known = self.known().instances.len();
        if self.was_never_made() {
            return Ok(known as u64);
        }
        let marked = self.up().await?.link.accounts().await.map_err(failure)?.marked.len();
        Ok(known.max(marked) as u64)
    }

    pub(crate) fn was_never_made(&self) -> bool {
        matches!(&self.server, Server::Own { host, id, .. } if !host.knows(id))
    }

    /// Puts settings into force, while the server runs where that can be done (SPEC K-8).
    pub(crate) async fn reshape(&self, fresh: RedisServer) -> Result<()> {
        let Server::Own { host, id, setup, .. } = &self.server else { return Ok(()) };
        let mut watch = self.watch.lock().await;
        let before = setup_of(setup);
        let fresh = fresh.in_place_of(&before);
        if let Some(why) = fresh.refusal_of_data(&before) {
            return Err(BrokerError::bad_request(why));
        }
        // One that kept nothing on disk is changed while it runs: started with a new setting, it would be empty.
        let link = match before.settings.persistence {
            Persistence::None => Some(self.up().await?.link),
            _ => self.if_up().await?,
        };
        if let Some(link) = &link {
            fits(link, &before.settings, &fresh.settings).await?;
            link.conform(&fresh.settings).await.map_err(failure)?;
            if before.settings.persistence == Persistence::None && fresh.settings.persistence != Persistence::None {
                link.written_out().await.map_err(BrokerError::unavailable)?;
            }
            if let Some(most) = fresh.settings.connections {
                link.limit_connections(most).await.map_err(failure)?;
            }
            if let Some(place) = host.find(id).map_err(BrokerError::unavailable)? {
                let run = link.about().await.map_err(failure)?.run;
                secure(&mut watch, link, &place, &fresh, run).await?;
            }
        }
        *setup.lock().unwrap_or_else(PoisonError::into_inner) = fresh.clone();
        host.update(id, &fresh).await.map_err(BrokerError::unavailable)?;
        match host.find(id).map_err(BrokerError::unavailable)? {
            Some(place) => fresh.keep_prepared(&place).await.map_err(BrokerError::unavailable),
            None => Ok(()),
        }
    }

    /// Removes a server of the broker's own with all it had (SPEC K-5).
    pub(crate) async fn remove(&self, instance: &OpaqueId) -> Result<()> {
        let _turn = self.turns.of(instance).await;
        self.known().gone.insert(instance.clone());
        match &self.server {
            Server::Own { host, id, link, setup } => {
                *link.lock().unwrap_or_else(PoisonError::into_inner) = None;
                host.remove(id).await.map_err(BrokerError::unavailable)?;
                setup_of(setup).roster.forget();
                Ok(())
            }
            Server::Given { .. } => Ok(()),
        }
    }

    /// Brings the server up and gives it an instance's accounts that it lost (SPEC K-6). Accounts that nobody
    /// remembers are left alone: they may be about to be remembered.
    pub(crate) async fn restore(&self, of: &Instance, accounts: Vec<Account>) -> Result<()> {
        let instance = &of.id;
        if self.known().gone.contains(instance) {
            return Ok(());
        }
        let mut watch = self.watch.lock().await;
        if !watch.look.as_ref().is_some_and(Look::is_fresh) {
            self.look(&mut watch).await?;
        }
        let Some(look) = &mut watch.look else { return Ok(()) };
        // Not before: a look takes its time, and others wait for theirs.
        let _turn = self.turns.of(instance).await;
        if self.known().gone.contains(instance) {
            return Ok(());
        }
        self.residents().looked_after(of, &accounts);
        let lost: Vec<Account> = {
            let known = self.known();
            let is_lost = |account: &Account| {
                let is_there = known.restored.contains(instance)
                    && look.accounts.users.contains(&account.user)
                    && !known.fenced.contains(&account.user);
                !is_there && !known.gone.contains(&account.user)
            };
            accounts.into_iter().filter(is_lost).collect()
        };
        if !lost.is_empty() {
            self.let_in(&self.up().await?, &lost).await?;
            {
                let mut known = self.known();
                for account in &lost {
                    known.fenced.remove(&account.user);
                }
            }
            look.accounts.users.extend(lost.iter().map(|account| account.user.clone()));
            info!("gave {} accounts to a server that may have lost them", lost.len());
        }
        if self.is_shared && !look.accounts.marked.contains(instance) {
            self.link().await?.mark(instance).await.map_err(failure)?;
            look.accounts.marked.insert(instance.clone());
        }
        let mut known = self.known();
        known.restored.insert(instance.clone());
        known.instances.insert(instance.clone());
        Ok(())
    }

    async fn look(&self, watch: &mut Watch) -> Result<()> {
        let up = self.up().await?;
        let run = match &self.server {
            Server::Given { link, about } => self.ask(link, about).await?.run,
            Server::Own { .. } => up.link.about().await.map_err(failure)?.run,
        };
        let accounts = up.link.accounts().await.map_err(failure)?;
        if let (Server::Own { id, setup, .. }, Some(place)) = (&self.server, &up.place) {
            let setup = setup_of(setup);
            if let Err(cause) = setup.keep_prepared(place).await {
                warn!("server {id} does not find its present settings when its engine starts it again: {cause}");
            }
            if up.link.conform(&setup.settings).await.map_err(failure)? {
                info!("server {id} runs with the settings of its plan again");
            }
            secure(watch, &up.link, place, &setup, run.clone()).await?;
        }
        if watch.look.as_ref().is_none_or(|look| look.run != run) {
            self.known().restored.clear();
        }
        watch.look = Some(Look { at: Instant::now(), run, accounts });
        Ok(())
    }

    fn own_link(&self, place: &Place) -> Result<Link> {
        let Server::Own { setup, link, .. } = &self.server else {
            return Err(BrokerError::failed("only the broker's own servers have such a link"));
        };
        let mut link = link.lock().unwrap_or_else(PoisonError::into_inner);
        match &*link {
            Some((port, link)) if *port == place.port => Ok(link.clone()),
            _ => {
                let fresh = setup_of(setup).link(place).map_err(BrokerError::failed)?;
                *link = Some((place.port, fresh.clone()));
                Ok(fresh)
            }
        }
    }
}

fn setup_of(setup: &std::sync::Mutex<RedisServer>) -> RedisServer {
    setup.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// Has a server of the broker's own be reached as its plan says, and have a certificate that is valid (SPEC K-18). Each
/// of its runs is told its certificate once more: whether an earlier broker came to that, nobody knows.
async fn secure(watch: &mut Watch, link: &Link, place: &Place, setup: &RedisServer, run: String) -> Result<()> {
    if let Some(certificate) = setup.certificate(place).map_err(BrokerError::unavailable)? {
        let told = Some((run, certificate.expires));
        if certificate.is_new || watch.certified != told {
            watch.certified = None;
            link.certify(&certificate.file).await.map_err(failure)?;
            watch.certified = told;
        }
    }
    if link.listen(place.port, setup.settings.tls).await.map_err(failure)? {
        info!("the server on port {} is reached as its plan says from now on", place.port);
    }
    Ok(())
}

/// Whether what is there has room after a change; a server that gives up keys when it is full is asked, too.
async fn fits(link: &Link, before: &Settings, fresh: &Settings) -> Result<()> {
    if fresh.maxmemory.0 >= before.maxmemory.0 {
        return Ok(());
    }
    let memory = link.info("memory").await.map_err(failure)?;
    let used = memory.get("used_memory").and_then(|used| used.parse().ok()).unwrap_or(0);
    if used < fresh.maxmemory.0 {
        return Ok(());
    }
    Err(BrokerError::bad_request(format!(
        "the instance uses {} and the plan has {}: remove data first, or choose a larger plan",
        Size(used),
        fresh.maxmemory
    )))
}
