//! The words: names of databases and accounts, and statements about them. Nothing here touches the network.
//!
//! Statements can't take names and passwords as parameters, so these are of types and characters
//! that need no quoting, and are quoted all the same.

use broker_core::{Binding, BrokerError, Instance, OpaqueId, Result, Secret};

/// An instance's database: `tb` and the instance's identifier. Without `_` and `%`, which are
/// wildcards in a grant (SPEC M-2).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Database(String);

impl Database {
    /// The length of a name.
    pub(crate) const LENGTH: usize = 26;

    pub(crate) fn of(instance: &Instance) -> Self {
        Self::with(&instance.id)
    }

    /// That of the instance with an identifier.
    pub(crate) fn with(id: &OpaqueId) -> Self {
        Self(format!("tb{id}"))
    }

    /// A name that the server told us: whose database it is, and whether it is the mark of a restore.
    pub(crate) fn read(name: &str) -> Option<(OpaqueId, bool)> {
        let rest = name.strip_prefix("tb")?;
        match rest.parse() {
            Ok(id) => Some((id, false)),
            Err(_) => Some((rest.strip_suffix('r')?.parse().ok()?, true)),
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// A table or view of it, as statements name it.
    pub(crate) fn table(&self, name: &str) -> String {
        format!("`{}`.`{}`", self.as_str(), name.replace('`', "``"))
    }

    /// An empty database that is there while a backup is restored into this one.
    pub(crate) fn mark(&self) -> Self {
        Self(format!("{}r", self.0))
    }

    pub(crate) fn create(&self, charset: Charset) -> String {
        format!("CREATE DATABASE IF NOT EXISTS `{}` {}", self.0, charset.clause())
    }

    /// For tables that are made from now on.
    pub(crate) fn alter(&self, charset: Charset) -> String {
        format!("ALTER DATABASE `{}` {}", self.0, charset.clause())
    }

    pub(crate) fn drop(&self) -> String {
        format!("DROP DATABASE IF EXISTS `{}`", self.0)
    }
}

/// A binding's account: `ub` and the binding's identifier (SPEC M-3).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Account(OpaqueId, String);

/// A character set, with the collation that fits most languages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Charset {
    #[default]
    Utf8mb4,
    Utf8mb3,
    Latin1,
    Ascii,
}

impl Charset {
    pub(crate) const NAMES: [&str; 4] = ["utf8mb4", "utf8mb3", "latin1", "ascii"];

    pub(crate) fn named(name: &str) -> Option<Self> {
        [Self::Utf8mb4, Self::Utf8mb3, Self::Latin1, Self::Ascii]
            .into_iter()
            .zip(Self::NAMES)
            .find_map(|(charset, known)| (known == name).then_some(charset))
    }

    fn clause(self) -> &'static str {
        match self {
            Self::Utf8mb4 => "CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci",
            Self::Utf8mb3 => "CHARACTER SET utf8mb3 COLLATE utf8mb3_unicode_ci",
            Self::Latin1 => "CHARACTER SET latin1 COLLATE latin1_swedish_ci",
            Self::Ascii => "CHARACTER SET ascii COLLATE ascii_general_ci",
        }
    }
}

/// What an account may do with its database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Full,
    /// Reads and removes, until the instance has room again (SPEC M-16).
    NoGrowth,
    /// Without routines: one that runs as its definer could write (SPEC M-7).
    ReadOnly,
}

/// What an account may use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) connections: u32,
    /// In seconds; 0 for no limit.
    pub(crate) statement_time: u32,
    pub(crate) tls: bool,
}

/// Which server it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    MariaDb,
    MySql,
}

impl Account {
    pub(crate) fn of(binding: &Binding) -> Self {
        Self::with(&binding.id)
    }

    /// That of the binding with an identifier.
    pub(crate) fn with(id: &OpaqueId) -> Self {
        Self(id.clone(), format!("ub{id}"))
    }

    /// The instance's own, which nobody logs in with: what a restore brings runs as it where its definer is none of the
    /// instance's. No binding has an instance's identifier.
    pub(crate) fn of_instance(instance: &Instance) -> Self {
        Self::with(&instance.id)
    }

    /// An account's name that the server told us; none when it is no binding's.
    pub(crate) fn read(name: &str) -> Option<Self> {
        name.strip_prefix("ub")?.parse().ok().map(|id| Self::with(&id))
    }

    /// The binding's identifier.
    pub(crate) fn id(&self) -> OpaqueId {
        self.0.clone()
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.1
    }

    /// Makes the account, if it is not there.
    pub(crate) fn make(
        &self,
        database: &Database,
        secret: &Secret,
        (access, limits): (Access, Limits),
        dialect: Dialect,
    ) -> Result<Vec<String>> {
        let terms = self.terms(secret, limits, dialect)?;
        Ok(vec![format!("CREATE USER {terms}"), self.grant(database, access)])
    }

    /// Makes the account that is there be as it should, whatever it was. The same consumer may have had more before.
    pub(crate) fn make_over(
        &self,
        database: &Database,
        secret: &Secret,
        (access, limits): (Access, Limits),
        dialect: Dialect,
    ) -> Result<Vec<String>> {
        let terms = self.terms(secret, limits, dialect)?;
        let revoked = (access != Access::Full).then(|| self.revoke());
        let altered = format!("ALTER USER {terms}");
        Ok([altered].into_iter().chain(revoked).chain([self.grant(database, access)]).collect())
    }

    fn terms(&self, secret: &Secret, limits: Limits, dialect: Dialect) -> Result<String> {
        let (account, password) = (self.quoted(), plain(secret)?);
        let tls = if limits.tls { "SSL" } else { "NONE" };
        let time = match dialect {
            Dialect::MariaDb => format!(" MAX_STATEMENT_TIME {}", limits.statement_time),
            Dialect::MySql => String::new(),
        };
        let connections = limits.connections;
        Ok(format!(
            "{account} IDENTIFIED BY '{password}' REQUIRE {tls} WITH MAX_USER_CONNECTIONS {connections}{time} ACCOUNT UNLOCK"
        ))
    }

    fn grant(&self, database: &Database, access: Access) -> String {
        format!("GRANT {} ON `{}`.* TO {}", access.privileges(), database.as_str(), self.quoted())
    }

    /// Takes all away that it may do.
    pub(crate) fn revoke(&self) -> String {
        format!("REVOKE ALL PRIVILEGES, GRANT OPTION FROM {}", self.quoted())
    }

    /// Makes an account that what it defined can run as, and with which nobody logs in.
    pub(crate) fn stand_in(&self, database: &Database) -> Result<Vec<String>> {
        let (account, nobodys) = (self.quoted(), Secret::generate());
        let password = plain(&nobodys)?;
        Ok(vec![
            format!("CREATE USER IF NOT EXISTS {account} IDENTIFIED BY '{password}' ACCOUNT LOCK"),
            self.grant(database, Access::Full),
        ])
    }

    /// What the account's instance has no room for is refused; connections that are open know nothing of it.
    pub(crate) fn bound(&self, database: &Database) -> String {
        format!("REVOKE {GROWTH} ON `{}`.* FROM {}", database.as_str(), self.quoted())
    }

    pub(crate) fn unbound(&self, database: &Database) -> String {
        format!("GRANT {GROWTH} ON `{}`.* TO {}", database.as_str(), self.quoted())
    }

    /// What would change the database is refused; connections that are open know nothing of it.
    pub(crate) fn fence(&self, database: &Database) -> String {
        format!("REVOKE {WRITES} ON `{}`.* FROM {}", database.as_str(), self.quoted())
    }

    /// Takes that back; an instance that has no room for it is bounded again by the next look.
    pub(crate) fn unfence(&self, database: &Database) -> String {
        format!("GRANT {WRITES} ON `{}`.* TO {}", database.as_str(), self.quoted())
    }

    /// No new connections; those that are open are ended by [`kill`](Self::kill).
    pub(crate) fn lock(&self) -> String {
        format!("ALTER USER IF EXISTS {} ACCOUNT LOCK", self.quoted())
    }

    pub(crate) fn require_tls(&self, is_required: bool) -> String {
        format!("ALTER USER IF EXISTS {} REQUIRE {}", self.quoted(), if is_required { "SSL" } else { "NONE" })
    }

    pub(crate) fn unlock(&self) -> String {
        format!("ALTER USER IF EXISTS {} ACCOUNT UNLOCK", self.quoted())
    }

    /// Ends the account's open connections, where one statement can.
    pub(crate) fn kill(&self) -> String {
        format!("KILL USER '{}'", self.1)
    }

    pub(crate) fn drop(&self) -> String {
        format!("DROP USER IF EXISTS {}", self.quoted())
    }

    /// For an account that stays locked: the password that apps knew is no longer on the server.
    pub(crate) fn spoil(&self) -> Result<String> {
        Ok(format!(
            "ALTER USER IF EXISTS {} IDENTIFIED BY '{}' ACCOUNT LOCK",
            self.quoted(),
            plain(&Secret::generate())?
        ))
    }

    /// The account as it is written in the `DEFINER` column of the server's tables.
    pub(crate) fn definer(&self) -> String {
        format!("{}@%", self.1)
    }

    fn quoted(&self) -> String {
        format!("'{}'@'%'", self.1)
    }
}

impl Access {
    pub(crate) fn privileges(self) -> &'static str {
        match self {
            Self::Full => PRIVILEGES,
            Self::NoGrowth => WITHOUT_GROWTH,
            Self::ReadOnly => "SELECT, SHOW VIEW",
        }
    }

    /// The same as the server tells it: `Y` or `N` for each of [`PRIVILEGE_COLUMNS`].
    pub(crate) fn letters(self) -> String {
        let has = |column: &&str| {
            let spelled = column.trim_end_matches("_priv").replace("tmp_table", "temporary_tables").replace('_', " ");
            self.privileges().split(',').any(|privilege| privilege.trim().eq_ignore_ascii_case(&spelled))
        };
        PRIVILEGE_COLUMNS.iter().map(|column| if has(column) { 'Y' } else { 'N' }).collect()
    }
}

/// What may be granted on a database, as columns of `mysql.db`: those that each server has.
pub(crate) const PRIVILEGE_COLUMNS: [&str; 19] = [
    "Select_priv",
    "Insert_priv",
    "Update_priv",
    "Delete_priv",
    "Create_priv",
    "Drop_priv",
    "Grant_priv",
    "References_priv",
    "Index_priv",
    "Alter_priv",
    "Create_tmp_table_priv",
    "Lock_tables_priv",
    "Create_view_priv",
    "Show_view_priv",
    "Create_routine_priv",
    "Alter_routine_priv",
    "Execute_priv",
    "Event_priv",
    "Trigger_priv",
];

/// All that a tenant may do in its database.
const PRIVILEGES: &str = "SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, INDEX, ALTER, REFERENCES, \
    CREATE TEMPORARY TABLES, LOCK TABLES, CREATE VIEW, SHOW VIEW, CREATE ROUTINE, ALTER ROUTINE, EXECUTE, EVENT, TRIGGER";

/// Those of them by which a database grows.
const GROWTH: &str = "INSERT, UPDATE, CREATE, ALTER, INDEX, CREATE TEMPORARY TABLES";

/// The rest of them.
const WITHOUT_GROWTH: &str = "SELECT, DELETE, DROP, REFERENCES, LOCK TABLES, CREATE VIEW, SHOW VIEW, CREATE ROUTINE, \
    ALTER ROUTINE, EXECUTE, EVENT, TRIGGER";

/// Those by which a database changes. An account that lacks them and has `REFERENCES`, which is of no use without them, is
/// one that is fenced: those that read for good have neither.
const WRITES: &str = "INSERT, UPDATE, DELETE, CREATE, DROP, INDEX, ALTER, CREATE TEMPORARY TABLES, LOCK TABLES, CREATE VIEW, \
    CREATE ROUTINE, ALTER ROUTINE, EVENT, TRIGGER";

/// A password for a statement, which can't take it as a parameter.
pub(crate) fn plain(secret: &Secret) -> Result<&str> {
    let password = secret.expose();
    if !password.is_empty() && password.bytes().all(|b| b.is_ascii_alphanumeric()) {
        Ok(password)
    } else {
        Err(BrokerError::failed("a password has other characters than letters and digits"))
    }
}

#[cfg(test)]
mod tests {
    use broker_core::Consumer;

    use super::*;

    fn binding() -> Binding {
        Binding::new(Consumer::App("blog".parse().unwrap()))
    }

    #[test] // SPEC M-2
    fn names_are_short_and_hold_no_wildcards() {
        let instance = Instance::new("my_%_cache".replace('%', "x").parse().unwrap(), "shared".parse().unwrap());
        let (database, account) = (Database::of(&instance), Account::of(&binding()));
        for name in [database.as_str(), account.as_str()] {
            assert_eq!(name.len(), Database::LENGTH);
            assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()), "{name}");
        }
        assert_eq!(Account::read(account.as_str()), Some(account));
        assert_eq!(Database::read(database.as_str()), Some((instance.id.clone(), false)));
        assert_eq!(Database::read(database.mark().as_str()), Some((instance.id.clone(), true)));
        assert_eq!(Database::read("tbl_orders"), None);
        assert_eq!(Account::read("ubuntu"), None);
        assert_eq!(Account::read("root"), None);
    }

    #[test]
    fn character_sets_have_the_names_that_users_type() {
        assert_eq!(Charset::named("latin1"), Some(Charset::Latin1));
        assert!(Charset::NAMES.iter().all(|name| Charset::named(name).unwrap().clause().contains(name)));
        assert_eq!(Charset::named("utf8mb4; DROP"), None);
    }

    #[test] // SPEC M-20
    fn rights_are_known_as_the_server_tells_them() {
        assert_eq!(Access::Full.letters(), "YYYYYYNYYYYYYYYYYYY");
        assert_eq!(Access::ReadOnly.letters(), "YNNNNNNNNNNNNYNNNNN");
    }

    #[test] // SPEC M-16
    fn what_a_full_instance_may_still_do_is_all_but_grow() {
        let names = |list: &str| list.split(", ").map(str::to_owned).collect::<std::collections::BTreeSet<_>>();
        let (growth, rest) = (names(GROWTH), names(WITHOUT_GROWTH));
        assert!(growth.is_disjoint(&rest));
        assert_eq!(&growth | &rest, names(PRIVILEGES));
    }

    #[test] // SPEC M-9
    fn what_is_fenced_may_do_all_but_change_and_is_told_from_what_only_reads() {
        let names = |list: &str| list.split(", ").map(str::to_owned).collect::<std::collections::BTreeSet<_>>();
        let rest = &names(PRIVILEGES) - &names(WRITES);
        assert_eq!(rest, names("SELECT, SHOW VIEW, EXECUTE, REFERENCES"));
        assert!(names(WRITES).is_subset(&names(PRIVILEGES)));
        assert!(!names(Access::ReadOnly.privileges()).contains("REFERENCES"));
        assert!(names(WITHOUT_GROWTH).contains("REFERENCES"));
    }

    #[test]
    fn a_password_that_would_need_quoting_is_refused() {
        for bad in ["", "a'b", "a\\b", "a b"] {
            assert!(plain(&Secret::from(bad)).is_err(), "{bad}");
        }
    }

    #[test] // SPEC M-3
    fn an_account_gets_its_limits() {
        let instance = Instance::new("db".parse().unwrap(), "shared".parse().unwrap());
        let (binding, database) = (binding(), Database::of(&instance));
        let limits = Limits { connections: 7, statement_time: 9, tls: true };

        let (account, secret, terms) = (Account::of(&binding), &binding.secret, (Access::Full, limits));
        let made = account.make(&database, secret, terms, Dialect::MariaDb).unwrap();
        let made_over = account.make_over(&database, secret, terms, Dialect::MariaDb).unwrap();
        let on_mysql = account.make(&database, secret, terms, Dialect::MySql).unwrap();

        assert!(made[0].ends_with("REQUIRE SSL WITH MAX_USER_CONNECTIONS 7 MAX_STATEMENT_TIME 9 ACCOUNT UNLOCK"));
        assert_eq!(made_over[0], made[0].replace("CREATE", "ALTER"));
        assert!(on_mysql[0].ends_with("REQUIRE SSL WITH MAX_USER_CONNECTIONS 7 ACCOUNT UNLOCK"));
        assert!(made[1].contains(&format!("ON `{}`.* TO", database.as_str())));
        assert_eq!(made_over[1], made[1]);
    }
}
