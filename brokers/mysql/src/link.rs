//! What is said to the server: statements, in the words of the broker. Every one has a time limit and may
//! be repeated.

mod fence;
mod found;
mod room;

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use broker_core::{BrokerError, Result, Secret};
use broker_hosting::{Given, Trusted, wrong_with_tls};
use mysql_async::{
    ClientIdentity, Conn, Opts, OptsBuilder, Params, Pool, PoolConstraints, PoolOpts, SslOpts, params,
    prelude::Queryable as _,
};
use secrecy::ExposeSecret as _;
use tokio::{sync::OnceCell, time::timeout};

use crate::{
    look::{LastLook, Look},
    server::{MariaDb, USUAL_MODES, modes},
    tenant::{Access, Account, Charset, Database, Dialect, Limits},
    tls::Encryption,
};

pub(crate) use found::Found;
pub(crate) use room::Writable;

/// How long the server may take for one thing it is asked. A drop of a database waits for locks,
/// but no longer than [`LOCK_SECONDS`].
const WITHIN: Duration = Duration::from_secs(20);
const LOCK_SECONDS: u32 = 5;
/// Administrator's connections, all callers together.
const CONNECTIONS: usize = 4;
/// How a server refuses to make an account that it has.
const IS_THERE: u16 = 1396;

/// Why the server did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// It answered no. The text of a syntax error would repeat the statement, with its password.
    #[error("the server refused a statement with error {code}: {}", if *code == 1064 { "wrong syntax" } else { message })]
    Refused { code: u16, message: String },
    #[error("the server cannot be reached: {}", wrong_with_tls(.0).unwrap_or_else(|| .0.to_string()))]
    Unreachable(mysql_async::Error),
    #[error("the server did not answer within {}s", .0.as_secs())]
    Silent(Duration),
    #[error("{0}")]
    Words(#[from] BrokerError),
}

impl From<mysql_async::Error> for Fault {
    fn from(error: mysql_async::Error) -> Self {
        match error {
            mysql_async::Error::Server(refusal) => Self::Refused { code: refusal.code, message: refusal.message },
            other => Self::Unreachable(other),
        }
    }
}

impl From<Fault> for BrokerError {
    fn from(fault: Fault) -> Self {
        // Lock wait timeout, too many connections, deadlock, shutting down: these pass.
        match fault {
            Fault::Refused { code: 1040 | 1053 | 1205 | 1213, .. } | Fault::Unreachable(_) | Fault::Silent(_) => {
                Self::unavailable(fault)
            }
            Fault::Words(error) => error,
            Fault::Refused { .. } => Self::failed(fault),
        }
    }
}

/// What is told of a table's rows.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Rows {
    /// Equal ones are equal data, between servers of one dialect.
    Checksum,
    Count,
}

/// The administrator's connections to the server.
pub(crate) struct Link {
    reach: Reach,
    pool: Pool,
    dialect: OnceCell<Dialect>,
    last_look: LastLook,
}

/// How a server is reached, and who the broker is there.
#[derive(Clone)]
pub(crate) struct Reach {
    pub(crate) opts: Opts,
    /// Whom the broker trusts there, when it is reached by TLS; always with authorities, unless any certificate will do.
    pub(crate) trusted: Option<Trusted>,
    /// What its tenants are told of that.
    pub(crate) encryption: Option<Encryption>,
}

/// A given server. Says what is wrong with its URL without repeating it: it holds a password.
pub(crate) fn at_given(given: &Given) -> anyhow::Result<Reach> {
    const WANTED: &str = "the server's URL is not like mysql://USER:PASSWORD@HOST:PORT";
    let url = given.url.expose_secret();
    anyhow::ensure!(url.starts_with("mysql://"), WANTED);
    let opts = Opts::from_url(url).map_err(|_| anyhow::anyhow!(WANTED))?;
    anyhow::ensure!(opts.user().is_some_and(|user| !user.is_empty()) && !opts.ip_or_hostname().is_empty(), WANTED);
    if opts.ssl_opts().is_none() && !given.trust.is_some() {
        return Ok(Reach { opts, trusted: None, encryption: None });
    }
    let is_careless = |ssl: &SslOpts| ssl.accept_invalid_certs() || ssl.skip_domain_validation();
    anyhow::ensure!(
        !opts.ssl_opts().is_some_and(is_careless),
        "the server's URL turns the verification of its certificate off: name its authority as `ca-file`, or say \
         `insecure-accept-any-certificate`"
    );
    let trusted = given.trust.read().map_err(anyhow::Error::msg)?;
    let encryption = Some(Encryption { ca: trusted.ca.clone() });
    let trusted = trusted.with_authorities().map_err(anyhow::Error::msg)?;
    let opts = OptsBuilder::from_opts(opts).ssl_opts(with(&trusted)).into();
    Ok(Reach { opts, trusted: Some(trusted), encryption })
}

fn with(trusted: &Trusted) -> SslOpts {
    let pem = |text: &str| text.as_bytes().to_vec().into();
    let identity = trusted.identity.as_ref();
    let identity = identity.map(|(certificate, key)| ClientIdentity::new(pem(certificate), pem(key.expose_secret())));
    SslOpts::default()
        .with_root_certs(trusted.ca.iter().map(|ca| pem(ca)).collect())
        .with_client_identity(identity)
        // Without any, it cannot even trust all.
        .with_disable_built_in_roots(trusted.ca.is_some())
        .with_danger_accept_invalid_certs(trusted.accepts_any)
        .with_danger_skip_domain_validation(trusted.accepts_any)
}

/// The broker's account on its own server.
pub(crate) fn at_own(port: u16, user: &str, password: &Secret) -> Reach {
    let opts = OptsBuilder::default().ip_or_hostname("127.0.0.1").tcp_port(port);
    let opts = opts.user(Some(user)).pass(Some(password.expose())).into();
    Reach { opts, trusted: None, encryption: None }
}

impl Link {
    /// A link that connects when it is first used.
    pub(crate) fn new(reach: Reach) -> Self {
        let constraints = PoolConstraints::new(0, CONNECTIONS).unwrap_or_default();
        let pool = PoolOpts::default()
            .with_constraints(constraints)
            // What is asked leaves nothing behind in a session, and its statements stay prepared.
            .with_reset_connection(false)
            .with_inactive_connection_ttl(Duration::from_secs(60))
            .with_ttl_check_interval(Duration::from_secs(30));
        let pooled = OptsBuilder::from_opts(reach.opts.clone())
            .pool_opts(pool)
            .prefer_socket(false)
            .db_name(None::<String>)
            .setup(vec![format!("SET SESSION lock_wait_timeout={LOCK_SECONDS}")]);
        Self { reach, pool: Pool::new(pooled), dialect: OnceCell::new(), last_look: LastLook::default() }
    }

    /// Where the server is and who the broker is there, for programs that connect themselves.
    pub(crate) fn reach(&self) -> &Reach {
        &self.reach
    }

    /// Whether the server answers, and has the database.
    pub(crate) async fn has(&self, database: &Database) -> Result<bool, Fault> {
        let found: Option<u8> =
            self.first("SELECT 1 FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = ?", (database.as_str(),)).await?;
        Ok(found.is_some())
    }

    /// Whether a database has nothing in it, or is not there.
    pub(crate) async fn is_empty(&self, database: &Database) -> Result<bool, Fault> {
        const ASK: &str = "SELECT \
            EXISTS(SELECT 1 FROM information_schema.TABLES WHERE TABLE_SCHEMA = :db) OR \
            EXISTS(SELECT 1 FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA = :db) OR \
            EXISTS(SELECT 1 FROM information_schema.EVENTS WHERE EVENT_SCHEMA = :db)";
        let has_some: Option<bool> = self.first(ASK, params! { "db" => database.as_str() }).await?;
        Ok(!has_some.unwrap_or_default())
    }

    /// Which server it is, asked once.
    pub(crate) async fn dialect(&self) -> Result<Dialect, Fault> {
        let ask = async || {
            let version: Option<String> = self.first("SELECT VERSION()", ()).await?;
            let mariadb = version.unwrap_or_default().contains("MariaDB");
            Ok::<_, Fault>(if mariadb { Dialect::MariaDb } else { Dialect::MySql })
        };
        self.dialect.get_or_try_init(ask).await.copied()
    }

    /// Makes a database.
    pub(crate) async fn create(&self, database: &Database, charset: Charset) -> Result<(), Fault> {
        self.run(&[database.create(charset)]).await?;
        self.last_look.made(database.as_str());
        Ok(())
    }

    /// Changes the character set of a database's new tables.
    pub(crate) async fn alter(&self, database: &Database, charset: Charset) -> Result<(), Fault> {
        self.run(&[database.alter(charset)]).await
    }

    /// Makes an account work, whatever it was. Most are new.
    pub(crate) async fn allow(
        &self,
        account: &Account,
        database: &Database,
        secret: &Secret,
        terms: (Access, Limits),
    ) -> Result<(), Fault> {
        let dialect = self.dialect().await?;
        match self.run(&account.make(database, secret, terms, dialect)?).await {
            Err(Fault::Refused { code: IS_THERE, .. }) => {
                self.run(&account.make_over(database, secret, terms, dialect)?).await?;
            }
            made => made?,
        }
        self.last_look.made(account.as_str());
        Ok(())
    }

    /// Makes an account for what runs as it, locked.
    pub(crate) async fn stand_in(&self, account: &Account, database: &Database) -> Result<(), Fault> {
        self.run(&account.stand_in(database)?).await
    }

    /// Closes a database: its accounts are locked, their connections ended. Returns the accounts.
    pub(crate) async fn freeze(&self, database: &Database) -> Result<Vec<Account>, Fault> {
        let accounts = self.accounts_of(database).await?;
        for account in &accounts {
            self.shut(account).await?;
        }
        Ok(accounts)
    }

    /// Makes a database empty; its accounts stay.
    pub(crate) async fn clear(&self, database: &Database, charset: Charset) -> Result<(), Fault> {
        self.run(&[database.drop(), database.create(charset)]).await
    }

    /// Takes the mark of a restore away.
    pub(crate) async fn drop_mark(&self, database: &Database) -> Result<(), Fault> {
        self.run(&[database.mark().drop()]).await
    }

    /// Opens a database again, to be read and written. An account that was locked before for good has a password that
    /// nobody knows.
    pub(crate) async fn thaw(&self, database: &Database) -> Result<(), Fault> {
        self.unfence(database).await?;
        let accounts = self.accounts_of(database).await?;
        self.run(&accounts.iter().map(Account::unlock).collect::<Vec<_>>()).await
    }

    /// Ends an account and its open connections. One that views, triggers or routines of the database run as
    /// stays, locked: they would fail for everyone without it.
    pub(crate) async fn forbid(&self, account: &Account, database: &Database) -> Result<(), Fault> {
        self.shut(account).await?;
        if self.defines(account, database).await? {
            self.run(&[account.spoil()?]).await
        } else {
            self.run(&[account.drop()]).await
        }
    }

    /// Removes a database with all accounts that it has. Accounts first: their grants would outlive it.
    pub(crate) async fn erase(&self, database: &Database) -> Result<(), Fault> {
        let accounts = self.accounts_of(database).await?;
        for account in &accounts {
            self.shut(account).await?;
        }
        let databases = [database.mark().drop(), database.drop()];
        self.run(&accounts.iter().map(Account::drop).chain(databases).collect::<Vec<_>>()).await
    }

    /// All accounts that are a binding's and are not locked.
    pub(crate) async fn accounts(&self) -> Result<HashSet<String>, Fault> {
        let select = match self.dialect().await? {
            Dialect::MariaDb => {
                "SELECT User FROM mysql.global_priv WHERE User LIKE 'ub%' \
                 AND COALESCE(JSON_EXTRACT(Priv, '$.account_locked'), 'false') <> 'true'"
            }
            Dialect::MySql => "SELECT User FROM mysql.user WHERE User LIKE 'ub%' AND account_locked = 'N'",
        };
        let names: Vec<String> = self.all(select, ()).await?;
        Ok(names.into_iter().collect())
    }

    /// All databases that are an instance's.
    pub(crate) async fn databases(&self) -> Result<HashSet<String>, Fault> {
        let select = "SELECT SCHEMA_NAME FROM information_schema.SCHEMATA WHERE SCHEMA_NAME LIKE 'tb%'";
        let names: Vec<String> = self.all(select, ()).await?;
        Ok(names.into_iter().collect())
    }

    /// How many instances have a database here, without the marks of restores.
    pub(crate) async fn count(&self) -> Result<u64, Fault> {
        let select = "SELECT COUNT(*) FROM information_schema.SCHEMATA \
            WHERE SCHEMA_NAME LIKE 'tb%' AND CHAR_LENGTH(SCHEMA_NAME) = ?";
        let count: Option<u64> = self.first(select, (Database::LENGTH,)).await?;
        Ok(count.unwrap_or_default())
    }

    /// All databases and accounts, as they are or were a moment ago.
    pub(crate) async fn look(&self) -> Result<Arc<Look>, Fault> {
        self.last_look.at(self).await
    }

    /// All databases and accounts, as they are or were later than that.
    pub(crate) async fn look_since(&self, moment: Instant) -> Result<Arc<Look>, Fault> {
        self.last_look.since(self, moment).await
    }

    /// A number of the server's own, by its name in `SHOW GLOBAL STATUS`.
    pub(crate) async fn counter(&self, name: &str) -> Result<u64, Fault> {
        let select = "SELECT CAST(VARIABLE_VALUE AS UNSIGNED) FROM information_schema.GLOBAL_STATUS \
            WHERE VARIABLE_NAME = ?";
        let select = match self.dialect().await? {
            Dialect::MariaDb => select.to_owned(),
            Dialect::MySql => select.replace("information_schema.GLOBAL_STATUS", "performance_schema.global_status"),
        };
        let value: Option<u64> = self.first(&select, (name,)).await?;
        Ok(value.unwrap_or_default())
    }

    /// The server's settings that let tenants reach the machine or evade limits, in words for its operator.
    pub(crate) async fn weaknesses(&self) -> Result<Vec<&'static str>, Fault> {
        let mut found = Vec::new();
        match self.dialect().await? {
            Dialect::MariaDb => {
                let select = "SELECT @@have_symlink, COALESCE(@@enforce_storage_engine, '')";
                let settings: Option<(String, String)> = self.first(select, ()).await?;
                let (symlink, engine) = settings.unwrap_or_default();
                if symlink == "YES" {
                    found.push("tenants can make files elsewhere: set skip-symbolic-links");
                }
                if !engine.eq_ignore_ascii_case("InnoDB") {
                    found.push("tenants can use engines that lose data in a crash: set enforce-storage-engine=InnoDB");
                }
            }
            Dialect::MySql => {
                let disabled: Option<String> = self.first("SELECT @@disabled_storage_engines", ()).await?;
                if !disabled.unwrap_or_default().to_lowercase().contains("myisam") {
                    found.push(
                        "tenants can use engines that lose data in a crash: set \
                         disabled-storage-engines=MyISAM,CSV,ARCHIVE,BLACKHOLE,MERGE",
                    );
                }
            }
        }
        let local: Option<u8> = self.first("SELECT @@local_infile", ()).await?;
        if local == Some(1) {
            found.push("clients can be made to send files: set local-infile=0");
        }
        Ok(found)
    }

    async fn shut(&self, account: &Account) -> Result<(), Fault> {
        if self.dialect().await? == Dialect::MariaDb {
            return self.run(&[account.lock(), account.kill()]).await;
        }
        self.run(&[account.lock()]).await?;
        self.disconnect(account).await
    }

    /// Ends an account's connections.
    async fn disconnect(&self, account: &Account) -> Result<(), Fault> {
        if self.dialect().await? == Dialect::MariaDb {
            return self.run(&[account.kill()]).await;
        }
        let select = "SELECT ID FROM information_schema.PROCESSLIST WHERE USER = ?";
        let open = self.all(select, (account.as_str(),)).await?;
        self.end(&open).await
    }

    async fn end(&self, connections: &[u64]) -> Result<(), Fault> {
        for connection in connections {
            match self.run(&[format!("KILL {connection}")]).await {
                Err(Fault::Refused { code: 1094, .. }) | Ok(()) => {} // It ended by itself.
                Err(other) => return Err(other),
            }
        }
        Ok(())
    }

    /// Whether views, triggers, routines or events of a database run as an account. Triggers are looked for by their
    /// table's schema, which is theirs: asked by `TRIGGER_SCHEMA`, MariaDB opens every database that it has.
    async fn defines(&self, account: &Account, database: &Database) -> Result<bool, Fault> {
        let (routines, events) = match self.dialect().await? {
            // Its information_schema reads all there are of the server.
            Dialect::MariaDb => ("mysql.proc WHERE db", "mysql.event WHERE db"),
            Dialect::MySql => {
                ("information_schema.ROUTINES WHERE ROUTINE_SCHEMA", "information_schema.EVENTS WHERE EVENT_SCHEMA")
            }
        };
        let places = [
            routines,
            events,
            "information_schema.VIEWS WHERE TABLE_SCHEMA",
            "information_schema.TRIGGERS WHERE EVENT_OBJECT_SCHEMA",
        ];
        let has = |place| format!("EXISTS(SELECT 1 FROM {place} = :db AND DEFINER = :definer)");
        let names = params! { "db" => database.as_str(), "definer" => account.definer() };
        let found: Option<bool> = self.first(&format!("SELECT {}", places.map(has).join(" OR ")), names).await?;
        Ok(found.unwrap_or_default())
    }

    async fn accounts_of(&self, database: &Database) -> Result<Vec<Account>, Fault> {
        self.accounts_with(database, "TRUE").await
    }

    /// Those of a database's accounts for whose rights a condition holds, in columns of `mysql.db`.
    async fn accounts_with(&self, database: &Database, rights: &str) -> Result<Vec<Account>, Fault> {
        let select = format!("SELECT User FROM mysql.db WHERE Host = '%' AND Db = ? AND {rights}");
        let names: Vec<String> = self.all(&select, (database.as_str(),)).await?;
        Ok(names.iter().filter_map(|name| Account::read(name)).collect())
    }

    /// Whether connections of a database's accounts have to be encrypted from now on. Those that are open stay.
    pub(crate) async fn require_tls(&self, database: &Database, is_required: bool) -> Result<(), Fault> {
        let accounts = self.accounts_of(database).await?;
        self.run(&accounts.iter().map(|account| account.require_tls(is_required)).collect::<Vec<_>>()).await
    }

    /// Whether a server of the broker's own speaks TLS.
    pub(crate) async fn speaks_tls(&self) -> Result<bool, Fault> {
        let have: Option<String> = self.first("SELECT @@GLOBAL.have_ssl", ()).await?;
        Ok(have.as_deref() == Some("YES"))
    }

    /// Has a server of the broker's own read its certificate again, for new connections; those that are open stay.
    pub(crate) async fn read_certificate(&self) -> Result<(), Fault> {
        self.run(&["FLUSH SSL".to_owned()]).await
    }

    /// Whether a server runs with its settings, those that only a start brings into force.
    pub(crate) async fn fits(&self, settings: &MariaDb) -> Result<bool, Fault> {
        let ask = "SELECT @@GLOBAL.sql_mode, @@GLOBAL.max_connections, @@GLOBAL.innodb_buffer_pool_size";
        let running: Option<(String, u64, u64)> = self.first(ask, ()).await?;
        let Some((sql_mode, max_connections, buffer_pool)) = running else { return Ok(false) };
        let wanted = settings.sql_mode.as_deref().unwrap_or(USUAL_MODES);
        // The server rounds the buffer pool up to whole pieces.
        let (pool, least) = (buffer_pool >> 20, u64::from(settings.buffer_pool));
        Ok(modes(&sql_mode) == modes(wanted)
            && max_connections == u64::from(settings.max_connections)
            && (least..=least + least / 32 + 2).contains(&pool)
            && (settings.certifier.is_none() || self.speaks_tls().await?))
    }

    /// The server's name and version, as `mariadb 10.11.6`.
    pub(crate) async fn version(&self) -> Result<String, Fault> {
        let version: Option<String> = self.first("SELECT VERSION()", ()).await?;
        let number = version.unwrap_or_default();
        let number = number.split('-').next().unwrap_or_default();
        Ok(match self.dialect().await? {
            Dialect::MariaDb => format!("MariaDB {number}"),
            Dialect::MySql => format!("MySQL {number}"),
        })
    }

    /// The events of a database, by name.
    pub(crate) async fn events(&self, database: &Database) -> Result<BTreeSet<String>, Fault> {
        let select = "SELECT EVENT_NAME FROM information_schema.EVENTS WHERE EVENT_SCHEMA = ?";
        Ok(self.all::<String>(select, (database.as_str(),)).await?.into_iter().collect())
    }

    /// All that a database holds but its events, by name, and what is told of each table's rows. The larger it is the
    /// longer that takes: whoever asks says how long it may, and the tables have a connection of their own, which others
    /// need not wait for.
    pub(crate) async fn content(&self, database: &Database, rows: Rows) -> Result<BTreeSet<String>, Fault> {
        let name = database.as_str();
        let tables = "SELECT TABLE_NAME FROM information_schema.TABLES \
            WHERE TABLE_SCHEMA = ? AND TABLE_TYPE IN ('BASE TABLE', 'SEQUENCE') ORDER BY 1";
        let tables: Vec<String> = self.all(tables, (name,)).await?;
        let (mut content, mut apart) = (BTreeSet::new(), self.apart().await?);
        for table in tables {
            let quoted = database.table(&table);
            let ask = match rows {
                Rows::Checksum => format!("CHECKSUM TABLE {quoted}"),
                Rows::Count => format!("SELECT 'rows', COUNT(*) FROM {quoted}"),
            };
            let told: Option<(String, Option<u64>)> = apart.query_first(ask).await?;
            let told = told.and_then(|(_, number)| number);
            content.insert(format!("table {table} {told:?}"));
        }
        let others = "SELECT CONCAT('view ', TABLE_NAME) FROM information_schema.VIEWS WHERE TABLE_SCHEMA = :db \
            UNION ALL SELECT CONCAT('trigger ', TRIGGER_NAME) FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = :db \
            UNION ALL SELECT CONCAT(ROUTINE_TYPE, ' ', ROUTINE_NAME) FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA = :db";
        apart.disconnect().await?;
        let others: Vec<String> = self.all(others, params! { "db" => name }).await?;
        content.extend(others);
        Ok(content)
    }

    /// Views that refer to what is not there any more: no dump takes them along.
    pub(crate) async fn broken_views(&self, database: &Database) -> Result<Vec<String>, Fault> {
        const QUERY: &str = "SELECT TABLE_NAME FROM information_schema.VIEWS WHERE TABLE_SCHEMA = ? ORDER BY 1";
        let (name, mut views) = (database.as_str(), self.all::<String>(QUERY, (database.as_str(),)).await?);
        if views.is_empty() {
            return Ok(views);
        }
        let all: Vec<_> = views.iter().map(|view| database.table(view)).collect();
        let ask = format!("CHECK TABLE {}", all.join(", "));
        let said: Vec<(String, String, String, String)> =
            within(async { Ok(self.connection().await?.query(ask).await?) }).await?;
        let is_well = |view: &str| {
            said.iter().any(|(of, _, kind, text)| {
                of.strip_prefix(name).and_then(|of| of.strip_prefix('.')) == Some(view)
                    && kind == "status"
                    && text == "OK"
            })
        };
        views.retain(|view| !is_well(view));
        Ok(views)
    }

    /// Sends statements together: the first that is refused ends them.
    async fn run(&self, statements: &[String]) -> Result<(), Fault> {
        if statements.is_empty() {
            return Ok(());
        }
        within(async { Ok(self.connection().await?.query_drop(statements.join("; ")).await?) }).await
    }

    async fn first<T>(&self, select: &str, params: impl Into<Params> + Send) -> Result<Option<T>, Fault>
    where
        T: mysql_async::prelude::FromRow + Send + 'static,
    {
        within(async { Ok(self.connection().await?.exec_first(select, params).await?) }).await
    }

    pub(crate) async fn all<T>(&self, select: &str, params: impl Into<Params> + Send) -> Result<Vec<T>, Fault>
    where
        T: mysql_async::prelude::FromRow + Send + 'static,
    {
        within(async { Ok(self.connection().await?.exec(select, params).await?) }).await
    }

    /// A connection beside those of the pool.
    async fn apart(&self) -> Result<Conn, Fault> {
        let opts = OptsBuilder::from_opts(self.reach.opts.clone()).prefer_socket(false).db_name(None::<String>);
        within(async { Ok(Conn::new(opts).await?) }).await
    }

    /// A connection that its server has not ended, as the pool sees without asking.
    async fn connection(&self) -> Result<Conn, Fault> {
        Ok(self.pool.get_conn().await?)
    }
}

async fn within<T>(work: impl Future<Output = Result<T, Fault>> + Send) -> Result<T, Fault> {
    timeout(WITHIN, work).await.unwrap_or(Err(Fault::Silent(WITHIN)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_url_is_refused_without_its_password() {
        for bad in ["", "localhost", "redis://a:s3cret@b", "mysql://", "mysql://:s3cret@b", "mysql://a:s3cret@b:port"] {
            let refusal = at_given(&bad.into()).err().unwrap().to_string();
            assert_eq!(refusal, "the server's URL is not like mysql://USER:PASSWORD@HOST:PORT", "{bad}");
        }
        assert_eq!(at_given(&"mysql://a:b@c".into()).unwrap().opts.tcp_port(), 3306);
    }

    #[test] // SPEC M-19
    fn verification_is_turned_off_by_its_own_setting_alone() {
        let ssl = |given: &Given| at_given(given).map(|reach| reach.opts.ssl_opts().cloned());
        let mut given: Given = "mysql://a:s3cret@c?require_ssl=true".into();
        assert!(!ssl(&given).unwrap().unwrap().accept_invalid_certs());
        for off in ["verify_ca=false", "verify_identity=false"] {
            let careless: Given = format!("mysql://a:s3cret@c?require_ssl=true&{off}").into();
            let refusal = ssl(&careless).unwrap_err().to_string();
            assert!(refusal.contains("turns the verification of its certificate off") && !refusal.contains("s3cret"));
        }
        given.trust.insecure_accept_any_certificate = true;
        assert!(ssl(&given).unwrap().unwrap().accept_invalid_certs());
    }

    #[test]
    fn a_syntax_error_does_not_repeat_the_statement() {
        let fault = Fault::Refused { code: 1064, message: "near 's3cret'".to_owned() };
        assert_eq!(fault.to_string(), "the server refused a statement with error 1064: wrong syntax");
        let fault = Fault::Refused { code: 1045, message: "no".to_owned() };
        assert_eq!(fault.to_string(), "the server refused a statement with error 1045: no");
    }
}
