//! What is said to a Redis server: commands, in the words of the broker. Every one has a time limit and
//! may be repeated.

mod way;

use std::{
    collections::{HashMap, HashSet},
    path::Path,
    time::Duration,
};

use anyhow::Context as _;
use broker_core::{BrokerError, OpaqueId, Secret};
use broker_hosting::wrong_with_tls;
use redis::{
    Cmd, ConnectionInfo, FromRedisValue, Pipeline, PushInfo, RedisError, RedisResult, ServerErrorKind,
    aio::MultiplexedConnection, cmd, pipe,
};
use tokio::time::{Instant, sleep};
use way::Ways;

pub(crate) use self::way::{Reach, at_given};
use crate::{
    account::{Account, Described, Dialect, mark, marked},
    commands::Commands,
    settings::Settings,
    tls::Tls,
};

/// How long all data may take on its way to disk.
const WRITTEN_WITHIN: Duration = Duration::from_secs(300);
/// How many commands travel together.
const BATCH: usize = 500;

/// The administrator's connection to a server: one for all callers, made again when it is lost.
#[derive(Clone)]
pub(crate) struct Link {
    ways: Ways,
}

/// What a server says about itself.
#[derive(Clone)]
pub(crate) struct About {
    /// What its access rules depend on.
    pub(crate) dialect: Dialect,
    /// Another one after each start.
    pub(crate) run: String,
}

/// The accounts on a server.
#[derive(Debug, Default)]
pub(crate) struct Accounts {
    /// By their names, which are those of bindings.
    pub(crate) users: HashSet<OpaqueId>,
    /// The instances that are marked.
    pub(crate) marked: HashSet<OpaqueId>,
}

impl Link {
    /// A link that connects when it is first used.
    pub(crate) fn new(info: ConnectionInfo) -> anyhow::Result<Self> {
        Ok(Self { ways: Ways::to(info).context("the server's address is not usable")? })
    }

    /// The same to a server of the broker's own, whose certificate is signed by one of these authorities.
    pub(crate) fn to_own(port: u16, user: &str, password: &Secret, roots: &str) -> anyhow::Result<Self> {
        Ok(Self { ways: Ways::to_own(port, user, password, roots)? })
    }

    /// A link of its own to one of the server's databases, for values: they keep no other caller waiting. The server
    /// does not end it when clients use much memory, where that may be asked of it.
    pub(crate) async fn apart(&self, database: u16) -> RedisResult<Self> {
        let link = Self { ways: self.ways.apart(database)? };
        stay(link.ask(&staying()).await)?;
        Ok(link)
    }

    /// A connection of its own, on which the server may say something by itself. It is not ended either.
    pub(crate) async fn listening(
        &self,
        hear: impl Fn(PushInfo) + Send + Sync + 'static,
    ) -> RedisResult<MultiplexedConnection> {
        let mut connection = self.ways.listening(hear).await?;
        stay(staying().query_async(&mut connection).await)?;
        Ok(connection)
    }

    /// Whether the server answers, and is done with loading its data.
    pub(crate) async fn ping(&self) -> RedisResult<()> {
        let _: String = self.ask(&cmd("PING")).await?;
        Ok(())
    }

    /// The server's version, databases and present run.
    pub(crate) async fn about(&self) -> RedisResult<About> {
        let server = self.info("server").await?;
        let version = server.get("redis_version").and_then(|version| version_of(version)).unwrap_or((0, 0));
        let run = server.get("run_id").cloned().unwrap_or_default();
        let databases = match self.config(&["databases"]).await {
            Ok(settings) => settings.get("databases").and_then(|number| number.parse::<u32>().ok()),
            Err(refused) if refused.kind() == ServerErrorKind::NoPerm.into() || refused.code() == Some("ERR") => None,
            Err(other) => return Err(other),
        };
        Ok(About { dialect: Dialect { version, many_databases: databases != Some(1) }, run })
    }

    /// A section of the server's figures.
    pub(crate) async fn info(&self, section: &str) -> RedisResult<HashMap<String, String>> {
        let text: String = self.ask(cmd("INFO").arg(section)).await?;
        Ok(figures(&text))
    }

    /// How often databases were swapped since the server started.
    pub(crate) async fn swaps(&self) -> RedisResult<u64> {
        let commands = self.info("commandstats").await?;
        let calls = commands.get("cmdstat_swapdb").and_then(|text| text.strip_prefix("calls=")?.split(',').next());
        Ok(calls.and_then(|calls| calls.parse().ok()).unwrap_or_default())
    }

    /// Settings of the server, by their names.
    pub(crate) async fn config(&self, names: &[&str]) -> RedisResult<HashMap<String, String>> {
        self.ask(cmd("CONFIG").arg("GET").arg(names)).await
    }

    /// An account by its name, as the server tells it.
    pub(crate) async fn account(&self, user: &str) -> RedisResult<Option<HashMap<String, redis::Value>>> {
        self.ask(cmd("ACL").arg("GETUSER").arg(user)).await
    }

    /// Whether a user may run a command, which is not run.
    pub(crate) async fn may(&self, user: &str, command: &str) -> RedisResult<bool> {
        let words: Vec<_> = command.split(' ').collect();
        let answer: String = self.ask(cmd("ACL").arg("DRYRUN").arg(user).arg(words)).await?;
        Ok(answer == "OK")
    }

    /// Makes accounts be as they should, whatever they were. Returns the server's run that was told the last of them.
    pub(crate) async fn allow(&self, accounts: &[Account], dialect: Dialect) -> RedisResult<String> {
        let mut run = String::new();
        for batch in accounts.chunks(BATCH) {
            let mut together = pipe();
            for account in batch {
                together
                    .cmd("ACL")
                    .arg("SETUSER")
                    .arg(account.user.as_str())
                    .arg("reset")
                    .arg(account.rule(dialect))
                    .ignore();
            }
            let (server,): (String,) = self.ask_all(together.cmd("INFO").arg("server")).await?;
            run = figures(&server).remove("run_id").unwrap_or_default();
        }
        Ok(run)
    }

    /// Removes accounts; the server drops their connections with them.
    pub(crate) async fn forbid(&self, users: &[OpaqueId]) -> RedisResult<()> {
        for batch in users.chunks(BATCH) {
            let names: Vec<_> = batch.iter().map(OpaqueId::as_str).collect();
            let _: u64 = self.ask(cmd("ACL").arg("DELUSER").arg(names)).await?;
        }
        Ok(())
    }

    /// The accounts there are: of bindings, and the marks of instances.
    pub(crate) async fn accounts(&self) -> RedisResult<Accounts> {
        let names: Vec<String> = self.ask(cmd("ACL").arg("USERS")).await?;
        let mut accounts = Accounts::default();
        for name in names {
            if let Ok(user) = name.parse() {
                accounts.users.insert(user);
            } else {
                accounts.marked.extend(marked(&name));
            }
        }
        Ok(accounts)
    }

    /// How many connections each account has.
    pub(crate) async fn connections(&self) -> RedisResult<HashMap<String, u64>> {
        let list: String = self.ask(cmd("CLIENT").arg("LIST")).await?;
        let user = |line: &'_ str| Some(line.split(' ').find_map(|word| word.strip_prefix("user="))?.to_owned());
        let mut counts = HashMap::new();
        list.lines().filter_map(user).for_each(|user| *counts.entry(user).or_default() += 1);
        Ok(counts)
    }

    /// Marks instances, so that they are counted.
    pub(crate) async fn mark(&self, instance: &OpaqueId) -> RedisResult<()> {
        self.ask(cmd("ACL").arg("SETUSER").arg(mark(instance)).arg("reset")).await
    }

    /// Whether an instance is marked.
    pub(crate) async fn has_mark(&self, instance: &OpaqueId) -> RedisResult<bool> {
        let account: Option<redis::Value> = self.ask(cmd("ACL").arg("GETUSER").arg(mark(instance))).await?;
        Ok(account.is_some())
    }

    /// Removes an instance's mark.
    pub(crate) async fn unmark(&self, instance: &OpaqueId) -> RedisResult<()> {
        let _: u64 = self.ask(cmd("ACL").arg("DELUSER").arg(mark(instance))).await?;
        Ok(())
    }

    /// Makes a server that runs have these settings; says whether one was changed.
    pub(crate) async fn conform(&self, settings: &Settings) -> RedisResult<bool> {
        let wanted = settings.live();
        let found = self.config(&wanted.each_ref().map(|(name, _)| *name)).await?;
        let mut change = cmd("CONFIG").arg("SET").to_owned();
        let mut is_other = false;
        for (name, value) in wanted.iter().filter(|(name, value)| found.get(*name) != Some(value)) {
            change.arg(*name).arg(value);
            is_other = true;
        }
        if is_other {
            let () = self.ask(&change).await?;
        }
        Ok(is_other)
    }

    /// Waits until what a server held when it was told to write to disk is there.
    pub(crate) async fn written_out(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + WRITTEN_WITHIN;
        loop {
            let state = self.info("persistence").await?;
            let is = |name: &str, value: &str| state.get(name).is_some_and(|found| found == value);
            if is("aof_rewrite_in_progress", "0") && is("aof_rewrite_scheduled", "0") {
                anyhow::ensure!(is("aof_last_bgrewrite_status", "ok"), "the server cannot write its data to disk");
                return Ok(());
            }
            anyhow::ensure!(Instant::now() < deadline, "the server takes too long to write its data to disk");
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Limits how many connect at once.
    pub(crate) async fn limit_connections(&self, most: u32) -> RedisResult<()> {
        self.ask(cmd("CONFIG").arg("SET").arg("maxclients").arg(most)).await
    }

    /// Accounts as the server tells them; none for one that is not there. `ACL LIST` would tell all in one command, and
    /// stop a server with many accounts for seconds.
    pub(crate) async fn described(&self, users: &[OpaqueId]) -> RedisResult<Vec<Option<Described>>> {
        let mut found = Vec::with_capacity(users.len());
        for batch in users.chunks(BATCH) {
            let mut together = pipe();
            for user in batch {
                together.cmd("ACL").arg("GETUSER").arg(user.as_str());
            }
            let accounts: Vec<Option<HashMap<String, redis::Value>>> = self.ask_all(&together).await?;
            found.extend(accounts.into_iter().map(|account| account.as_ref().map(described)));
        }
        Ok(found)
    }

    /// The commands that the server has.
    pub(crate) async fn commands(&self) -> RedisResult<Commands> {
        let categories: Vec<String> = self.ask(cmd("ACL").arg("CAT")).await?;
        let mut together = pipe();
        for category in &categories {
            together.cmd("ACL").arg("CAT").arg(category);
        }
        let commands: Vec<HashSet<String>> = self.ask_all(&together).await?;
        Ok(Commands::new(categories.into_iter().zip(commands).collect()))
    }

    /// The accounts whose keys are the instance's.
    pub(crate) async fn users_of(&self, instance: &OpaqueId) -> RedisResult<Vec<OpaqueId>> {
        let users: Vec<OpaqueId> = self.accounts().await?.users.into_iter().collect();
        let described = self.described(&users).await?;
        let is_of = |found: &Option<Described>| found.as_ref().and_then(Described::prefix).as_ref() == Some(instance);
        Ok(users.into_iter().zip(described).filter(|(_, found)| is_of(found)).map(|(user, _)| user).collect())
    }

    /// Removes all keys of an instance.
    pub(crate) async fn erase(&self, instance: &OpaqueId) -> RedisResult<()> {
        self.erase_all(&format!("{instance}:*"), b"").await
    }

    /// Removes all keys that fit a pattern, but one. Twice: a scan may miss what moves while it runs.
    pub(crate) async fn erase_all(&self, pattern: &str, but: &[u8]) -> RedisResult<()> {
        for _ in 0..2 {
            let mut cursor = 0_u64;
            loop {
                let (next, mut keys) = self.scan(cursor, pattern).await?;
                keys.retain(|key| key != but);
                if !keys.is_empty() {
                    let _: u64 = self.ask(cmd("UNLINK").arg(keys)).await?;
                }
                cursor = next;
                if cursor == 0 {
                    break;
                }
            }
        }
        Ok(())
    }

    /// One of the keys that fit a pattern, if there is one.
    pub(crate) async fn any(&self, pattern: &str) -> RedisResult<Option<Vec<u8>>> {
        let mut cursor = 0_u64;
        loop {
            let (next, keys) = self.scan(cursor, pattern).await?;
            if let Some(key) = keys.into_iter().next() {
                return Ok(Some(key));
            }
            if next == 0 {
                return Ok(None);
            }
            cursor = next;
        }
    }

    /// Some of the keys that fit a pattern, and where to go on: 0 is the end. A key may come twice.
    pub(crate) async fn scan(&self, cursor: u64, pattern: &str) -> RedisResult<(u64, Vec<Vec<u8>>)> {
        self.ask(cmd("SCAN").arg(cursor).arg("MATCH").arg(pattern).arg("COUNT").arg(1000)).await
    }

    /// Removes all data.
    pub(crate) async fn empty(&self) -> RedisResult<()> {
        self.ask(cmd("FLUSHALL").arg("ASYNC")).await
    }

    /// The numbers of the databases that have keys.
    pub(crate) async fn databases_in_use(&self) -> RedisResult<Vec<u16>> {
        let keyspace = self.info("keyspace").await?;
        Ok(keyspace.keys().filter_map(|name| name.strip_prefix("db")?.parse().ok()).collect())
    }

    /// Whether libraries of functions are loaded.
    pub(crate) async fn has_functions(&self) -> RedisResult<bool> {
        let libraries: Vec<redis::Value> = self.ask(cmd("FUNCTION").arg("LIST")).await?;
        Ok(!libraries.is_empty())
    }

    /// Keeps accounts from writing, with their connections open, until they are allowed again.
    pub(crate) async fn fence(&self, users: &[OpaqueId]) -> RedisResult<()> {
        for batch in users.chunks(BATCH) {
            let mut together = pipe();
            for user in batch {
                let no_writes = ["-@write", "-publish", "-spublish"];
                together.cmd("ACL").arg("SETUSER").arg(user.as_str()).arg(&no_writes).ignore();
            }
            let () = self.ask_all(&together).await?;
        }
        Ok(())
    }

    /// Has a server of the broker's own use this certificate and key for new connections; those that are open stay.
    pub(crate) async fn certify(&self, file: &Path) -> RedisResult<()> {
        let mut change = cmd("CONFIG");
        change.arg("SET").arg("tls-auth-clients").arg("no");
        for name in ["tls-cert-file", "tls-key-file"] {
            change.arg(name).arg(file.as_os_str().as_encoded_bytes());
        }
        self.ask(&change).await
    }

    /// Has a server of the broker's own be reached by TLS or not; whether it was reached otherwise. Connections that
    /// are open stay.
    pub(crate) async fn listen(&self, port: u16, tls: Tls) -> RedisResult<bool> {
        let wanted = tls.ports(port);
        let found = self.config(&wanted.map(|(name, _)| name)).await?;
        if wanted.iter().all(|(name, port)| found.get(*name) == Some(&port.to_string())) {
            return Ok(false);
        }
        let mut change = cmd("CONFIG");
        change.arg("SET");
        wanted.iter().for_each(|(name, port)| {
            change.arg(*name).arg(*port);
        });
        let changed = self.ask(&change).await;
        self.ways.look().await;
        changed.map(|()| true)
    }

    pub(crate) async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> RedisResult<T> {
        match command.query_async(&mut self.ways.connection().await).await {
            Err(lost) if self.ways.may_repeat(&lost).await => {
                command.query_async(&mut self.ways.connection().await).await
            }
            answer => answer,
        }
    }

    /// The same for commands that travel together.
    pub(crate) async fn ask_all<T: FromRedisValue>(&self, commands: &Pipeline) -> RedisResult<T> {
        match commands.query_async(&mut self.ways.connection().await).await {
            Err(lost) if self.ways.may_repeat(&lost).await => {
                commands.query_async(&mut self.ways.connection().await).await
            }
            answer => answer,
        }
    }
}

/// Has the server not end a connection when clients use much memory.
fn staying() -> Cmd {
    let mut command = cmd("CLIENT");
    command.arg("NO-EVICT").arg("ON");
    command
}

/// Not every given server lets the broker ask for that.
fn stay(asked: RedisResult<()>) -> RedisResult<()> {
    match asked {
        Err(refused) if refused.kind() != ServerErrorKind::NoPerm.into() => Err(refused),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// What `INFO` tells, by name.
fn figures(text: &str) -> HashMap<String, String> {
    let pairs = text.lines().filter_map(|line| line.split_once(':'));
    pairs.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect()
}

fn described(account: &HashMap<String, redis::Value>) -> Described {
    let text =
        |name: &str| account.get(name).and_then(|value| String::from_redis_value_ref(value).ok()).unwrap_or_default();
    let list = |name: &str| {
        account.get(name).and_then(|value| Vec::<String>::from_redis_value_ref(value).ok()).unwrap_or_default()
    };
    let has_selectors = matches!(account.get("selectors"), Some(redis::Value::Array(more)) if !more.is_empty());
    Described {
        flags: list("flags"),
        passwords: list("passwords"),
        commands: text("commands"),
        keys: text("keys"),
        channels: text("channels"),
        has_selectors,
    }
}

/// What a server is, by its figures. Valkey tells its own version beside that of the Redis it is like.
pub(crate) fn product(figures: &HashMap<String, String>) -> Option<String> {
    let valkey = figures.get("valkey_version").map(|version| format!("Valkey {version}"));
    valkey.or_else(|| Some(format!("Redis {}", figures.get("redis_version")?)))
}

/// `7.0.15` is (7, 0).
pub(crate) fn version_of(text: &str) -> Option<(u16, u16)> {
    let mut numbers = text.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// A failure to speak with a server, for the framework: mostly it passes.
pub(crate) fn failure(error: RedisError) -> BrokerError {
    if let Some(wrong) = wrong_with_tls(&error) {
        return BrokerError::unavailable(format!("a server cannot be reached: {wrong}"));
    }
    if error.is_io_error() || error.is_timeout() || error.kind() == ServerErrorKind::BusyLoading.into() {
        BrokerError::unavailable(error)
    } else {
        BrokerError::failed(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_by_their_first_two_numbers() {
        assert_eq!(version_of("7.0.15"), Some((7, 0)));
        assert_eq!(version_of("valkey"), None);
    }
}
