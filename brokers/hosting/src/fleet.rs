//! On which of several shared servers an instance is placed.
//!
//! Where an instance was placed is kept by whoever placed it, with the instance, and how many a server has is asked of
//! the server, which is remembered for a moment only. So replicas of a broker need not know each other; within one
//! process no two placements take the same last room (SPEC H-10).

mod file;
mod in_use;

use std::{
    collections::HashMap,
    error::Error,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use async_trait::async_trait;
use futures::future::join_all;
use secrecy::SecretString;
use tokio::time::timeout;
use tracing::warn;

use crate::{ServerId, Trust};

pub use file::PlanServers;
pub use in_use::InUse;

/// How long a server may take to say what it has.
const ASK_WITHIN: Duration = Duration::from_secs(5);
/// For how long a count is good: a server takes longer for it the more it has. A plan is not full by an older one.
const COUNT_FOR: Duration = Duration::from_millis(200);

/// A server that takes tenants.
#[derive(Clone, Debug)]
pub struct Member {
    /// Its name, which stays: instances remember it.
    pub id: ServerId,
    /// Where it is.
    pub site: Site,
    /// How many tenants it takes.
    pub capacity: u64,
    /// Whether it takes no new ones; those that are there stay.
    pub draining: bool,
}

/// Where a server of a fleet is.
#[derive(Clone, Debug)]
pub enum Site {
    /// The broker starts it, under the member's name.
    Own,
    /// It is there already.
    Given(Given),
}

impl Site {
    /// The server that an operator gave by URL, with whom to trust there; without a URL, the broker starts one.
    ///
    /// # Errors
    /// When somebody is to be trusted and there is no URL, in a sentence for the operator.
    pub fn of(url: Option<SecretString>, trust: Trust) -> Result<Self, String> {
        match url {
            Some(url) => Ok(Self::Given(Given { url, trust })),
            None if trust.is_some() => {
                Err("--shared-ca-file and the like are for a server that is given by URL".to_owned())
            }
            None => Ok(Self::Own),
        }
    }
}

/// A server that was there before the broker.
#[derive(Clone, Debug)]
pub struct Given {
    /// Where it is, and an administrator's password there.
    pub url: SecretString,
    /// Whom the broker trusts there, when the URL asks for TLS.
    pub trust: Trust,
}

impl<T: Into<SecretString>> From<T> for Given {
    fn from(url: T) -> Self {
        Self { url: url.into(), trust: Trust::default() }
    }
}

/// What servers have: asked of the servers themselves, so that other replicas' tenants count too. A server that
/// answers with an error is left out of a placement.
#[async_trait]
pub trait Census: Send + Sync {
    /// How many tenants a server has.
    async fn count(&self, member: &Member) -> Result<u64, Box<dyn Error + Send + Sync>>;

    /// Whether an instance is on a server already, since it was placed there before and nobody remembers.
    async fn has(&self, member: &Member, instance: &str) -> Result<bool, Box<dyn Error + Send + Sync>>;
}

/// Why there is no place.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FleetError {
    /// All servers have as many tenants as they take.
    #[error("all {servers} servers of the plan are full: ask the operator to add one, or remove unused instances")]
    Full {
        /// How many servers take tenants.
        servers: usize,
    },
    /// Every server is draining, or there is none.
    #[error("no server of the plan takes new instances: ask the operator to add one")]
    NoServer,
    /// No server that could have room answers.
    #[error("no server of the plan answers: {cause}")]
    Unreachable {
        /// What the first of them said.
        cause: String,
    },
    /// The server that an instance remembers was taken out of the file.
    #[error("the server \"{0}\" is not among its plan's servers any more: put it back, as draining")]
    Gone(String),
    /// The file of servers can't be used.
    #[error("the servers in {} cannot be used: {cause}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What is wrong, with its line where there is one.
        cause: String,
    },
}

/// The servers of a plan. Servers are added and drained by changing the file: the next placement reads it.
///
/// ```toml
/// [[server]]
/// id = "shared-1"            # started by the broker
/// capacity = 500
///
/// [[server]]
/// id = "big"                 # there already
/// url-file = "big.url"       # beside this file; or url = "..."
/// trust = { ca-file = "ca.pem" }  # see [`Trust`]
/// capacity = 2000
/// draining = true            # no new tenants
/// ```
#[derive(Debug)]
pub struct Fleet {
    file: Option<PathBuf>,
    known: Mutex<(Option<Stamp>, Arc<[Member]>)>,
    rooms: Arc<Mutex<Rooms>>,
    /// Held while a server counts: all that want to know at the same time ask once.
    counting: Mutex<HashMap<ServerId, Arc<tokio::sync::Mutex<()>>>>,
}

/// By what a changed file is noticed.
type Stamp = (SystemTime, u64);

/// Room that is taken for an instance until it is there, or was given up.
#[derive(Debug, Default)]
struct Rooms {
    /// Grows with each beginning and each end.
    clock: u64,
    /// Since when the placements that go on have to know of rooms.
    going_on: Vec<u64>,
    taken: HashMap<String, Room>,
    counts: HashMap<ServerId, Count>,
}

/// How many tenants a server had.
#[derive(Clone, Copy, Debug)]
struct Count {
    tenants: u64,
    /// Before it was asked.
    since: u64,
    /// When it answered.
    at: Instant,
}

#[derive(Clone, Debug)]
struct Room {
    server: ServerId,
    holders: usize,
    /// Since when nobody holds it. It counts beside every count of the server from before.
    left_at: Option<u64>,
}

/// A server with room for an instance. Held until the instance is there, so that the server counts it.
#[derive(Debug)]
pub struct Placement {
    /// The server to make the instance on; its `id` is what is to be remembered.
    pub member: Member,
    _room: Option<Taken>,
}

/// Room that goes with its value.
#[derive(Debug)]
struct Taken {
    instance: String,
    rooms: Arc<Mutex<Rooms>>,
}

impl Fleet {
    /// Servers that never change.
    #[must_use]
    pub fn of(members: Vec<Member>) -> Self {
        Self {
            file: None,
            known: Mutex::new((None, members.into())),
            rooms: Arc::default(),
            counting: Mutex::default(),
        }
    }

    /// The servers that a file names.
    ///
    /// # Errors
    /// When the file can't be read, or names a server twice.
    pub fn read(file: &Path) -> Result<Self, FleetError> {
        let fleet = Self { file: Some(file.to_owned()), ..Self::of(Vec::new()) };
        fleet.refresh()?;
        Ok(fleet)
    }

    /// Reads the file again when it changed, and says whether it did. A file that can't be used changes nothing.
    /// Placements do this themselves; a broker does it on SIGHUP, to show the error.
    ///
    /// # Errors
    /// When the file can't be used.
    pub fn refresh(&self) -> Result<bool, FleetError> {
        let Some(file) = &self.file else { return Ok(false) };
        let refused = |cause: String| FleetError::File { path: file.clone(), cause };
        let found = std::fs::metadata(file).map_err(|cause| refused(cause.to_string()))?;
        let stamp = found.modified().ok().map(|changed| (changed, found.len()));
        if stamp.is_some() && stamp == self.known.lock().unwrap_or_else(PoisonError::into_inner).0 {
            return Ok(false);
        }
        let members = file::read(file).map_err(refused)?;
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = (stamp, members.into());
        Ok(true)
    }

    /// All servers, also those that are draining.
    #[must_use]
    pub fn members(&self) -> Arc<[Member]> {
        if let Err(why) = self.refresh() {
            warn!("{why}: the servers known before are used");
        }
        Arc::clone(&self.known.lock().unwrap_or_else(PoisonError::into_inner).1)
    }

    /// The server that an instance remembers; the first one for an instance that remembers none, because it was made
    /// when there was but one. That one may have had a name of its own before there was a file, and is the first
    /// one of the file now: `formerly` has such names.
    ///
    /// # Errors
    /// When it was taken out of the file, which should be done only when it has no tenants any more.
    pub fn home(&self, remembered: Option<&str>, formerly: &[&str]) -> Result<Member, FleetError> {
        let members = self.members();
        let first = || members.first().cloned();
        let Some(name) = remembered else { return first().ok_or(FleetError::NoServer) };
        if let Some(member) = members.iter().find(|member| member.id.as_str() == name) {
            return Ok(member.clone());
        }
        let was_the_only_one = self.file.is_some() && formerly.contains(&name);
        was_the_only_one.then(first).flatten().ok_or_else(|| FleetError::Gone(name.to_owned()))
    }

    /// The server that has an instance already; else room for it on the one that is used least, measured by what it
    /// takes. Asked again for an instance whose placement is held, the same server.
    ///
    /// # Errors
    /// When no server has room, or none answers.
    pub async fn place(&self, instance: &str, census: &dyn Census) -> Result<Placement, FleetError> {
        let members = self.members();
        if let [only] = &*members
            && only.capacity == u64::MAX
            && !only.draining
        {
            return Ok(Placement { member: only.clone(), _room: None });
        }
        let turn = Turn::begin(&self.rooms);
        let mut seen = self.look(&turn, &members, instance, census, turn.began).await;
        if seen.placement.is_none() && seen.is_older {
            // Tenants may have left since they were counted.
            seen = self.look(&turn, &members, instance, census, turn.now).await;
        }
        let open = members.iter().filter(|member| !member.draining).count();
        match (seen.placement, seen.silent) {
            (Some(placement), _) => Ok(placement),
            (None, _) if open == 0 => Err(FleetError::NoServer),
            (None, Some(cause)) => Err(FleetError::Unreachable { cause }),
            (None, None) => Err(FleetError::Full { servers: open }),
        }
    }

    /// Looks for a place, by what servers have or had after a moment of the rooms' clock.
    async fn look(&self, turn: &Turn<'_>, members: &[Member], instance: &str, census: &dyn Census, newer: u64) -> Seen {
        let asked = members.iter().map(async |member| {
            let answer = timeout(ASK_WITHIN, self.ask(turn, census, member, instance, newer)).await;
            let answer = answer.unwrap_or_else(|_| Err("it does not answer".into()));
            answer.map_err(|cause| (member, format!("server \"{}\": {cause}", member.id)))
        });
        let answers = join_all(asked).await;
        // One that does not answer takes nothing now, whatever it may have.
        let silent = answers.iter().filter_map(|answer| answer.as_ref().err());
        let silent = silent.filter(|(member, _)| !member.draining).map(|(_, cause)| cause.clone()).next();
        let (mut home, mut counted) = (None, Vec::new());
        for answer in answers.into_iter().filter_map(Result::ok) {
            match answer {
                Answer::Home(member) => home = Some(Placement { member: member.clone(), _room: None }),
                Answer::Draining => {}
                Answer::Tenants(member, count) => counted.push((member, count)),
            }
        }
        let is_older = counted.iter().any(|(_, count)| count.since < turn.now);
        let placement = home.or_else(|| {
            let member = turn.take(instance, &counted)?;
            let room = Taken { instance: instance.to_owned(), rooms: Arc::clone(&self.rooms) };
            Some(Placement { member, _room: Some(room) })
        });
        Seen { placement, silent, is_older }
    }

    async fn ask<'a>(
        &self,
        turn: &Turn<'_>,
        census: &dyn Census,
        member: &'a Member,
        instance: &str,
        newer: u64,
    ) -> Result<Answer<'a>, Box<dyn Error + Send + Sync>> {
        if census.has(member, instance).await? {
            return Ok(Answer::Home(member));
        }
        if member.draining {
            return Ok(Answer::Draining);
        }
        let counting = {
            let mut all = self.counting.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(all.entry(member.id.clone()).or_default())
        };
        let _counting = counting.lock().await;
        if let Some(known) = turn.counted(&member.id, newer) {
            return Ok(Answer::Tenants(member, known));
        }
        let since = turn.clock();
        let tenants = census.count(member).await?;
        // Those who waited for it use it, however long it took.
        let count = Count { tenants, since, at: Instant::now() };
        turn.remember(&member.id, count);
        Ok(Answer::Tenants(member, count))
    }
}

/// What is found when an instance is placed.
struct Seen {
    placement: Option<Placement>,
    /// What the first server says that takes tenants and does not answer.
    silent: Option<String>,
    /// Whether some of what servers have was counted for an earlier placement.
    is_older: bool,
}

/// What a server says when an instance is placed.
enum Answer<'a> {
    /// It has the instance.
    Home(&'a Member),
    /// It has not, and takes none.
    Draining,
    /// It has not, and so many others.
    Tenants(&'a Member, Count),
}

/// A placement that goes on, from before servers are asked.
struct Turn<'a> {
    rooms: &'a Mutex<Rooms>,
    now: u64,
    /// The oldest count that it may use is from then.
    began: u64,
}

impl<'a> Turn<'a> {
    fn begin(rooms: &'a Mutex<Rooms>) -> Self {
        let mut all = rooms.lock().unwrap_or_else(PoisonError::into_inner);
        all.clock += 1;
        all.counts.retain(|_, count| count.at.elapsed() < COUNT_FOR);
        let now = all.clock;
        let began = all.counts.values().map(|count| count.since).fold(now, u64::min);
        all.going_on.push(began);
        Self { rooms, now, began }
    }

    fn rooms(&self) -> MutexGuard<'_, Rooms> {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn clock(&self) -> u64 {
        self.rooms().clock
    }

    /// A count of a server that is no older than this, nor than counts may be.
    fn counted(&self, server: &ServerId, newer: u64) -> Option<Count> {
        let serves = |count: &Count| count.since >= newer && count.at.elapsed() < COUNT_FOR;
        self.rooms().counts.get(server).copied().filter(serves)
    }

    fn remember(&self, server: &ServerId, count: Count) {
        self.rooms().counts.insert(server.clone(), count);
    }

    /// Takes room on the least used of the servers that were counted.
    fn take(&self, instance: &str, counted: &[(&Member, Count)]) -> Option<Member> {
        let mut rooms = self.rooms();
        let held = rooms.taken.get_mut(instance).filter(|room| room.left_at.is_none());
        if let Some(room) = held
            && let Some((member, _)) = counted.iter().find(|(member, _)| member.id == room.server)
        {
            room.holders += 1;
            return Some((*member).clone());
        }
        let not_counted = |member: &Member, since| {
            let counts = |room: &&Room| room.server == member.id && room.left_at.is_none_or(|left| left > since);
            rooms.taken.values().filter(counts).count() as u64
        };
        let used = counted.iter().map(|(member, count)| (*member, count.tenants + not_counted(member, count.since)));
        let (best, _) = used.filter(|(member, used)| *used < member.capacity).min_by(|(a, used_a), (b, used_b)| {
            let share =
                |member: &Member, used: u64| u128::from(used) * u128::from(u64::MAX) / u128::from(member.capacity);
            share(a, *used_a).cmp(&share(b, *used_b)).then_with(|| a.id.cmp(&b.id))
        })?;
        let room = Room { server: best.id.clone(), holders: 1, left_at: None };
        rooms.taken.insert(instance.to_owned(), room);
        Some(best.clone())
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut rooms = self.rooms();
        if let Some(ours) = rooms.going_on.iter().position(|began| *began == self.began) {
            rooms.going_on.swap_remove(ours);
        }
        rooms.forget();
    }
}

impl Rooms {
    /// Forgets rooms that were left before all counts that are still used.
    fn forget(&mut self) {
        let counts = self.counts.values().map(|count| count.since);
        let oldest = self.going_on.iter().copied().chain(counts).min().unwrap_or(u64::MAX);
        self.taken.retain(|_, room| room.left_at.is_none_or(|left| left > oldest));
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let mut rooms = self.rooms.lock().unwrap_or_else(PoisonError::into_inner);
        rooms.clock += 1;
        let now = rooms.clock;
        if let Some(room) = rooms.taken.get_mut(&self.instance) {
            room.holders -= 1;
            room.left_at = (room.holders == 0).then_some(now);
        }
        rooms.forget();
    }
}

#[cfg(test)]
mod tests;
