//! What the broker's account has to be allowed on a given server, and what it is (SPEC M-13).

use std::fmt;

use crate::tenant::{Access, Dialect};

/// Where a right holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum On {
    Everything,
    /// The databases of instances.
    Tenants,
    /// A table of the server's own.
    System(&'static str),
}

/// A right that the broker needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Right {
    on: On,
    /// Any of these will do.
    privileges: Vec<&'static str>,
}

/// What was granted, by `SHOW GRANTS`: also what comes from roles, where those are in force.
#[derive(Debug, Default)]
pub(crate) struct Grants(Vec<Grant>);

#[derive(Debug)]
struct Grant {
    privileges: Vec<String>,
    database: String,
    table: String,
}

const GRANT_OPTION: &str = "GRANT OPTION";

/// What the statements of the broker need, by what servers refused without it.
pub(crate) fn needed(dialect: Dialect) -> Vec<Right> {
    // SUPER has those in it that were made of it later.
    let (own, accounts, defined): (&[&[_]], _, &[_]) = match dialect {
        Dialect::MariaDb => {
            (&[&["CONNECTION ADMIN", "SUPER"], &["SET USER", "SUPER"]], "global_priv", &["proc", "event"])
        }
        Dialect::MySql => (
            &[
                &["CONNECTION_ADMIN", "SUPER"],
                &["SET_ANY_DEFINER", "SET_USER_ID", "SUPER"],
                // For the bodies of tenants' routines.
                &["SHOW_ROUTINE", "SELECT"],
            ],
            "user",
            &[],
        ),
    };
    let everywhere: [&[&str]; 2] = [&["CREATE USER"], &["PROCESS"]];
    let everywhere = everywhere.into_iter().chain(own.iter().copied());
    let tables = [accounts, "db"].into_iter().chain(defined.iter().copied());
    let of_tenants = Access::Full.privileges().split(',').map(str::trim).chain([GRANT_OPTION]);
    everywhere
        .map(|privileges| Right { on: On::Everything, privileges: privileges.to_vec() })
        .chain(tables.map(|table| Right { on: On::System(table), privileges: vec!["SELECT"] }))
        .chain(of_tenants.map(|privilege| Right { on: On::Tenants, privileges: vec![privilege] }))
        .collect()
}

impl Grants {
    /// From the server's lines, of which some may hold a password's hash: nothing of them is ever shown.
    pub(crate) fn read(lines: &[String]) -> Self {
        Self(lines.iter().filter_map(|line| Grant::read(line)).collect())
    }

    /// Those that were not granted, in words; none when all were.
    pub(crate) fn lack(&self, needed: &[Right]) -> Option<String> {
        let missing: Vec<_> = needed.iter().filter(|right| !self.0.iter().any(|grant| grant.has(right))).collect();
        let mut places: Vec<On> = missing.iter().map(|right| right.on).collect();
        places.dedup();
        let at = |place: On| {
            let there = missing.iter().filter(|right| right.on == place);
            let privileges: Vec<_> = there.filter_map(|right| right.privileges.first().copied()).collect();
            format!("{} on {place}", privileges.join(", "))
        };
        let words: Vec<_> = places.into_iter().map(at).collect();
        (!words.is_empty()).then(|| words.join("; "))
    }
}

impl Grant {
    /// None for a line that grants a role.
    fn read(line: &str) -> Option<Self> {
        let (privileges, rest) = line.strip_prefix("GRANT ")?.split_once(" ON ")?;
        let (place, rest) = rest.split_once(" TO ")?;
        let (database, table) = place.rsplit_once('.')?;
        let mut privileges: Vec<_> = privileges.split(',').map(|name| name.trim().replace('_', " ")).collect();
        if rest.ends_with("WITH GRANT OPTION") {
            privileges.push(GRANT_OPTION.to_owned());
        }
        let bare = |name: &str| name.trim_matches('`').to_owned();
        Some(Self { privileges, database: bare(database), table: bare(table) })
    }

    fn has(&self, right: &Right) -> bool {
        let is_all = self.privileges.iter().any(|name| name == "ALL PRIVILEGES");
        let has = |privilege: &&str| {
            self.privileges.iter().any(|name| *name == privilege.replace('_', " "))
                || (is_all && *privilege != GRANT_OPTION)
        };
        self.is_for(right.on) && right.privileges.iter().any(has)
    }

    fn is_for(&self, place: On) -> bool {
        let is_whole = self.table == "*";
        match place {
            On::Everything => is_whole && self.database == "*",
            On::System(table) => match self.database.as_str() {
                "*" => is_whole,
                "mysql" => is_whole || self.table == table,
                _ => false,
            },
            // A pattern; names of databases begin with `tb`.
            On::Tenants => is_whole && matches!(self.database.as_str(), "*" | "%" | "t%" | "tb%"),
        }
    }
}

impl fmt::Display for On {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everything => write!(f, "*.*"),
            Self::Tenants => write!(f, "`tb%`.*"),
            Self::System(table) => write!(f, "`mysql`.`{table}`"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lack(dialect: Dialect, lines: &[&str]) -> Option<String> {
        let lines: Vec<_> = lines.iter().map(|line| (*line).to_owned()).collect();
        Grants::read(&lines).lack(&needed(dialect))
    }

    #[test] // SPEC M-13
    fn an_administrator_lacks_nothing_however_the_server_writes_it() {
        let all = "GRANT ALL PRIVILEGES ON *.* TO `root`@`%` IDENTIFIED BY PASSWORD '*00' WITH GRANT OPTION";
        assert_eq!(lack(Dialect::MariaDb, &[all]), None);
        let fixed = "GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, PROCESS, REFERENCES, INDEX, ALTER, SUPER, CREATE \
                     TEMPORARY TABLES, LOCK TABLES, EXECUTE, CREATE VIEW, SHOW VIEW, CREATE ROUTINE, ALTER ROUTINE, CREATE \
                     USER, EVENT, TRIGGER, CREATE ROLE ON *.* TO `root`@`%` WITH GRANT OPTION";
        assert_eq!(lack(Dialect::MySql, &[fixed]), None);
        let least = [
            "GRANT PROCESS, CREATE USER ON *.* TO `b`@`%`",
            "GRANT CONNECTION_ADMIN,SET_ANY_DEFINER,SHOW_ROUTINE ON *.* TO `b`@`%`",
            "GRANT SELECT ON `mysql`.* TO `b`@`%`",
            "GRANT ALL PRIVILEGES ON `tb%`.* TO `b`@`%` WITH GRANT OPTION",
            "GRANT `keeper`@`%` TO `b`@`%`",
        ];
        assert_eq!(lack(Dialect::MySql, &least), None);
        let said = lack(Dialect::MySql, &[least[0], least[2], least[3]]);
        assert_eq!(said.as_deref(), Some("CONNECTION_ADMIN, SET_ANY_DEFINER, SHOW_ROUTINE on *.*"));
    }

    #[test] // SPEC M-13
    fn what_is_missing_is_named_with_its_place() {
        let some = ["GRANT PROCESS ON *.* TO `b`@`%`", "GRANT ALL PRIVILEGES ON `tb%`.* TO `b`@`%`"];
        assert_eq!(
            lack(Dialect::MariaDb, &some).as_deref(),
            Some(
                "CREATE USER, CONNECTION ADMIN, SET USER on *.*; SELECT on `mysql`.`global_priv`; SELECT on `mysql`.`db`; \
                 SELECT on `mysql`.`proc`; SELECT on `mysql`.`event`; GRANT OPTION on `tb%`.*"
            )
        );
        // Neither a database of another name nor an escaped pattern is an instance's.
        for place in ["`app`.*", "`tb\\_%`.*", "`tb%`.`t`"] {
            let said =
                lack(Dialect::MySql, &[&format!("GRANT ALL PRIVILEGES ON {place} TO `b`@`%` WITH GRANT OPTION")]);
            assert!(said.is_some_and(|said| said.contains("TRIGGER, GRANT OPTION on `tb%`.*")), "{place}");
        }
    }
}
