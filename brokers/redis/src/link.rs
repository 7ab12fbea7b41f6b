//! What is said to a Redis server: commands, in the words of the broker. Every one has a time limit and
//! may be repeated.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use anyhow::Context as _;
use broker_core::{BrokerError, OpaqueId, Secret};
use redis::{
    Client, Cmd, ConnectionAddr, ConnectionInfo, FromRedisValue, IntoConnectionInfo as _, Pipeline, RedisError,
    RedisResult, ServerErrorKind,
    aio::{ConnectionManager, ConnectionManagerConfig},
    cmd, pipe,
};
use tokio::time::{Instant, sleep};

use crate::{
    account::{Account, Dialect, mark, marked},
    settings::Settings,
};

/// How long the server may take for one command. `SCAN` and `ACL` commands stay far below it.
const COMMAND_WITHIN: Duration = Duration::from_secs(5);
/// How long all data may take on its way to disk.
const WRITTEN_WITHIN: Duration = Duration::from_secs(300);
/// How long values may take, which are as large as apps make them.
const VALUES_WITHIN: Duration = Duration::from_secs(60);
const CONNECT_WITHIN: Duration = Duration::from_secs(2);
/// How many commands travel together.
const BATCH: usize = 500;

/// The administrator's connection to a server: one for all callers, made again when it is lost.
#[derive(Clone)]
pub(crate) struct Link {
    client: Client,
    connection: ConnectionManager,
}

/// What a server says about itself.
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

/// A server's address and the administrator's credentials there.
pub(crate) fn at(host: &str, port: u16, user: &str, password: &Secret) -> anyhow::Result<ConnectionInfo> {
    let info = ConnectionAddr::Tcp(host.to_owned(), port).into_connection_info()?;
    let login = info.redis_settings().clone().set_username(user).set_password(password.expose());
    Ok(info.set_redis_settings(login))
}

/// The same from a URL. Says what is wrong with it without repeating it: it holds a password.
pub(crate) fn at_url(url: &Secret) -> anyhow::Result<ConnectionInfo> {
    const WANTED: &str = "the shared server's URL is not like redis://USER:PASSWORD@HOST:PORT";
    anyhow::ensure!(
        !url.expose().starts_with("rediss://"),
        "the shared server's URL asks for TLS, which is not supported"
    );
    anyhow::ensure!(url.expose().starts_with("redis://"), WANTED);
    let info = url.expose().into_connection_info().map_err(|_| anyhow::anyhow!(WANTED))?;
    anyhow::ensure!(matches!(info.addr(), ConnectionAddr::Tcp(..)), WANTED);
    let first_database = info.redis_settings().clone().set_db(0);
    Ok(info.set_redis_settings(first_database))
}

impl Link {
    /// A link that connects when it is first used.
    pub(crate) fn new(info: ConnectionInfo) -> anyhow::Result<Self> {
        let client = Client::open(info).context("the server's address is not usable")?;
        Ok(Self::of(client, COMMAND_WITHIN)?)
    }

    fn of(client: Client, within: Duration) -> RedisResult<Self> {
        let config = ConnectionManagerConfig::new()
            .set_number_of_retries(1)
            .set_min_delay(Duration::from_millis(10))
            .set_max_delay(Duration::from_millis(100))
            .set_connection_timeout(Some(CONNECT_WITHIN))
            .set_response_timeout(Some(within));
        Ok(Self { connection: ConnectionManager::new_lazy_with_config(client.clone(), config)?, client })
    }

    /// A link of its own to one of the server's databases, for values: they keep no other caller waiting. The server
    /// does not end it when clients use much memory, where that may be asked of it.
    pub(crate) async fn apart(&self, database: u16) -> RedisResult<Self> {
        let info = self.client.get_connection_info().clone();
        let login = info.redis_settings().clone().set_db(database.into());
        let link = Self::of(Client::open(info.set_redis_settings(login))?, VALUES_WITHIN)?;
        match link.ask(cmd("CLIENT").arg("NO-EVICT").arg("ON")).await {
            Err(refused) if refused.kind() != ServerErrorKind::NoPerm.into() => Err(refused),
            Ok(()) | Err(_) => Ok(link),
        }
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
        let pairs = text.lines().filter_map(|line| line.split_once(':'));
        Ok(pairs.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect())
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

    /// Makes accounts be as they should, whatever they were.
    pub(crate) async fn allow(&self, accounts: &[Account], dialect: Dialect) -> RedisResult<()> {
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
            let () = self.ask_all(&together).await?;
        }
        Ok(())
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

    /// The accounts whose keys are the instance's. `ACL LIST` would tell in one command, and stop a server with
    /// many accounts for seconds.
    pub(crate) async fn users_of(&self, instance: &OpaqueId) -> RedisResult<Vec<OpaqueId>> {
        let mut found = Vec::new();
        let patterns = [format!("~{instance}:*"), format!("%R~{instance}:*")];
        let users: Vec<OpaqueId> = self.accounts().await?.users.into_iter().collect();
        for batch in users.chunks(BATCH) {
            let mut together = pipe();
            for user in batch {
                together.cmd("ACL").arg("GETUSER").arg(user.as_str());
            }
            let accounts: Vec<Option<HashMap<String, redis::Value>>> = self.ask_all(&together).await?;
            let is_of = |account: &Option<HashMap<String, redis::Value>>| {
                let keys = account.as_ref().and_then(|account| account.get("keys"));
                keys.and_then(|keys| String::from_redis_value_ref(keys).ok())
                    .is_some_and(|keys| patterns.contains(&keys))
            };
            found.extend(
                batch.iter().zip(&accounts).filter(|(_, account)| is_of(account)).map(|(user, _)| user.clone()),
            );
        }
        Ok(found)
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

    /// A connection that broke is only noticed when it is used: so once more, on the next one.
    pub(crate) async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> RedisResult<T> {
        let mut connection = self.connection.clone();
        match command.query_async(&mut connection).await {
            Err(lost) if lost.is_connection_dropped() => command.query_async(&mut connection).await,
            answer => answer,
        }
    }

    /// The same for commands that travel together.
    pub(crate) async fn ask_all<T: FromRedisValue>(&self, commands: &Pipeline) -> RedisResult<T> {
        let mut connection = self.connection.clone();
        match commands.query_async(&mut connection).await {
            Err(lost) if RedisError::is_connection_dropped(&lost) => commands.query_async(&mut connection).await,
            answer => answer,
        }
    }
}

/// `7.0.15` is (7, 0).
pub(crate) fn version_of(text: &str) -> Option<(u16, u16)> {
    let mut numbers = text.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// A failure to speak with a server, for the framework: mostly it passes.
pub(crate) fn failure(error: RedisError) -> BrokerError {
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
    fn a_wrong_url_is_refused_without_its_password() {
        for bad in
            ["", "localhost:6379", "http://a:s3cret@b/", "redis://", "rediss://a:s3cret@b/", "redis://a:s3cret@b:port"]
        {
            let refusal = at_url(&Secret::from(bad)).unwrap_err().to_string();
            assert!(refusal.starts_with("the shared server's URL"), "{bad}: {refusal}");
            assert!(!refusal.contains("s3cret"), "{refusal}");
        }
    }

    #[test]
    fn versions_are_read_by_their_first_two_numbers() {
        assert_eq!(version_of("7.0.15"), Some((7, 0)));
        assert_eq!(version_of("valkey"), None);
    }
}
