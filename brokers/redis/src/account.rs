//! Who may do what on a Redis server: access rules, as arguments of `ACL SETUSER` and as lines of the
//! server's own account file. Nothing here touches the network.
//!
//! The rules were tried against a real server; the tests in `tests/isolation.rs` try again.

use broker_core::{Binding, Instance, OpaqueId, Secret};
use sha2::{Digest as _, Sha256};

use crate::{commands::Commands, settings::is_read_only};

/// The broker's own account on the servers that it starts.
pub(crate) const ADMIN: &str = "broker";

/// An account of a binding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    /// Its name: the binding's identifier (SPEC K-3).
    pub(crate) user: OpaqueId,
    /// Only this is ever told to a server.
    password_sha256: String,
    /// What of the server is the tenant's.
    scope: Scope,
    /// Whether it may only look (SPEC K-9).
    read_only: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Scope {
    /// All of it.
    Server,
    /// Keys and channels that start with this identifier and a colon.
    Prefix(OpaqueId),
}

/// An account as a server tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Described {
    pub(crate) flags: Vec<String>,
    pub(crate) passwords: Vec<String>,
    pub(crate) commands: String,
    pub(crate) keys: String,
    pub(crate) channels: String,
    /// Whether it has more rights, apart from these.
    pub(crate) has_selectors: bool,
}

impl Described {
    /// The instance whose keys are all that it reaches.
    pub(crate) fn prefix(&self) -> Option<OpaqueId> {
        let keys = self.keys.strip_prefix("%R~").or_else(|| self.keys.strip_prefix('~'))?;
        keys.strip_suffix(":*")?.parse().ok()
    }
}

/// What the rules depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dialect {
    /// The server's major and minor version.
    pub(crate) version: (u16, u16),
    /// Whether the server has more than one logical database, which no rule can keep tenants out of.
    pub(crate) many_databases: bool,
}

impl Account {
    /// Access to a whole server.
    pub(crate) fn on_server(binding: &Binding) -> Self {
        Self::of(binding, Scope::Server)
    }

    /// Access to one instance's keys on a server with other tenants.
    pub(crate) fn on_prefix(binding: &Binding, instance: &Instance) -> Self {
        Self::of(binding, Scope::Prefix(instance.id.clone()))
    }

    fn of(binding: &Binding, scope: Scope) -> Self {
        let read_only = is_read_only(&binding.parameters);
        Self { user: binding.id.clone(), password_sha256: sha256(&binding.secret), scope, read_only }
    }

    /// Whether the account is of this instance on a shared server.
    pub(crate) fn is_of(&self, instance: &OpaqueId) -> bool {
        self.prefix() == Some(instance)
    }

    /// The same account, which may only look.
    pub(crate) fn that_reads(&self) -> Self {
        Self { read_only: true, ..self.clone() }
    }

    /// The instance whose keys it reaches, on a server with other tenants.
    pub(crate) fn prefix(&self) -> Option<&OpaqueId> {
        match &self.scope {
            Scope::Server => None,
            Scope::Prefix(instance) => Some(instance),
        }
    }

    /// How an account differs from what the rule makes of it, in a few words.
    pub(crate) fn other_than(&self, found: &Described, dialect: Dialect, commands: &Commands) -> Option<&'static str> {
        let rule = self.rule(dialect);
        let patterns = |signs: &[&str]| {
            let found = rule.iter().filter(|word| signs.iter().any(|sign| word.starts_with(sign)));
            found.cloned().collect::<Vec<_>>().join(" ")
        };
        let wanted = commands.allowed(rule.iter().map(String::as_str));
        let is_allowed_others = commands.allowed(found.commands.split(' ')) != wanted;
        let has = |flag: &str| found.flags.iter().any(|known| known == flag);
        if !has("on") {
            Some("it is off")
        } else if has("nopass") || found.passwords != [self.password_sha256.as_str()] {
            Some("it has another password")
        } else if found.keys != patterns(&["~", "%"]) || found.channels != patterns(&["&"]) {
            Some("it reaches other keys or channels")
        } else if is_allowed_others || found.has_selectors || has("skip-sanitize-payload") {
            Some("it may use other commands")
        } else {
            None
        }
    }

    /// The rule that allows just what the account is for.
    pub(crate) fn rule(&self, dialect: Dialect) -> Vec<String> {
        let mut rule = vec!["on".to_owned(), format!("#{}", self.password_sha256)];
        match &self.scope {
            Scope::Server => {
                rule.push(self.keys());
                rule.extend(words(WHOLE_SERVER));
            }
            Scope::Prefix(id) => {
                rule.extend(["resetkeys".to_owned(), self.keys(), "resetchannels".to_owned(), format!("&{id}:*")]);
                rule.extend(words(OWN_PREFIX));
                if dialect.version >= (7, 2) {
                    rule.extend(words("+client|setinfo +client|no-touch"));
                }
                if dialect.many_databases {
                    // COPY ... DB would reach another database even where SELECT is denied.
                    rule.extend(words("-select -copy"));
                }
            }
        }
        if self.read_only {
            rule.extend(words(NO_WRITES));
        }
        rule
    }

    /// The keys that it reaches, as a rule has them.
    fn keys(&self) -> String {
        let sign = if self.read_only { "%R~" } else { "~" };
        self.prefix().map_or_else(|| format!("{sign}*"), |instance| format!("{sign}{instance}:*"))
    }

    /// The account in a line, without what its rule has for all like it.
    pub(crate) fn line(&self) -> String {
        format!("user {} #{} {}\n", self.user, self.password_sha256, self.keys())
    }

    /// Reads such a line, or one of a server's account file.
    pub(crate) fn read(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        let user = (words.next()? == "user").then(|| words.next())??.parse().ok()?;
        let words: Vec<_> = words.collect();
        let password_sha256 = words.iter().find_map(|word| word.strip_prefix('#'))?.to_owned();
        let pattern = |start| words.iter().find_map(|word| word.strip_prefix(start));
        let (read_only, keys) = pattern("%R~").map(|keys| (true, keys)).or(pattern("~").map(|keys| (false, keys)))?;
        let scope = match keys {
            "*" => Scope::Server,
            pattern => Scope::Prefix(pattern.strip_suffix(":*")?.parse().ok()?),
        };
        Some(Self { user, password_sha256, scope, read_only })
    }
}

/// The content of a server's account file: nobody without an account, the broker, these tenants.
pub(crate) fn account_file(admin: &Secret, accounts: &[Account], dialect: Dialect) -> String {
    let mut file = format!("user default off nopass nocommands\nuser {ADMIN} on #{} ~* &* +@all\n", sha256(admin));
    for account in accounts {
        file.push_str(&format!("user {} {}\n", account.user, account.rule(dialect).join(" ")));
    }
    file
}

fn sha256(secret: &Secret) -> String {
    hex::encode(Sha256::digest(secret.expose()))
}

fn words(text: &str) -> impl Iterator<Item = String> + '_ {
    text.split_whitespace().map(str::to_owned)
}

/// An allow-list: categories that a new version adds commands to are named only where all of their commands
/// take keys, which the prefix then guards.
const OWN_PREFIX: &str = "
    -@all +@string +@hash +@list +@set +@sortedset +@stream +@bitmap +@hyperloglog +@geo
    +subscribe +unsubscribe +psubscribe +punsubscribe +ssubscribe +sunsubscribe +publish +spublish
    +multi +exec +discard +watch +unwatch
    +del +unlink +exists +touch +type +expire +expireat +pexpire +pexpireat +expiretime +pexpiretime
    +ttl +pttl +persist +rename +renamenx +copy +dump +object
    -@dangerous +sort +sort_ro
    +ping +echo +hello +auth +quit +reset +select +time +wait
    +client|id +client|info +client|getname +client|setname +client|reply +client|help
    +command +memory|usage +acl|whoami";

/// All but what reaches the machine, other machines, or the broker's account.
const WHOLE_SERVER: &str = "
    &* +@all -@admin -@dangerous +info +keys +flushdb +flushall +sort +sort_ro +swapdb +role +lastsave
    +client|list +client|unblock +client|no-evict +slowlog|get +slowlog|len
    +latency|latest +latency|histogram +latency|history
    +restore -acl +acl|whoami +acl|cat +acl|genpass";

/// Neither keys, nor messages, nor what others run.
const NO_WRITES: &str = "-@write -publish -spublish -script|flush -script|kill -function|kill -client|unblock";

/// The account, which nobody can use, that marks an instance on a shared server: by it tenants are counted.
pub(crate) fn mark(instance: &OpaqueId) -> String {
    format!("{MARK}{instance}")
}

/// The instance that an account marks.
pub(crate) fn marked(user: &str) -> Option<OpaqueId> {
    user.strip_prefix(MARK)?.parse().ok()
}

const MARK: &str = "tenant-";

#[cfg(test)]
mod tests {
    use broker_core::Consumer;

    use super::*;

    const OLD: Dialect = Dialect { version: (7, 0), many_databases: false };

    fn binding() -> Binding {
        Binding::new(Consumer::App("blog".parse().unwrap()))
    }

    fn instance() -> Instance {
        Instance::new("cache".parse().unwrap(), "shared".parse().unwrap())
    }

    #[test] // SPEC K-3
    fn accounts_are_read_as_they_were_written_and_hold_no_password() {
        let (instance, one, two, mut three) = (instance(), binding(), binding(), binding());
        three.parameters.insert("read-only".to_owned(), true.into());
        let accounts = [
            Account::on_server(&one),
            Account::on_prefix(&two, &instance),
            Account::on_server(&three),
            Account::on_prefix(&three, &instance),
        ];

        let file = account_file(&Secret::from("s3cret"), &accounts, OLD);

        let of = |text: &str| text.lines().filter_map(Account::read).collect::<Vec<_>>();
        assert_eq!(of(&file), accounts);
        assert_eq!(of(&accounts.each_ref().map(Account::line).concat()), accounts);
        assert!(!file.contains("s3cret") && !file.contains(one.secret.expose()));
        assert!(accounts[1].is_of(&instance.id) && !accounts[0].is_of(&instance.id));
    }

    #[test]
    fn a_damaged_line_is_nobodys_account() {
        for bad in ["", "user", "user blog on #00 ~* &*", "user default off nopass nocommands"] {
            assert_eq!(Account::read(bad), None, "{bad}");
        }
    }

    #[test] // SPEC K-2
    fn a_server_with_many_databases_gets_the_narrower_rule() {
        let account = Account::on_prefix(&binding(), &instance());
        let narrow = account.rule(Dialect { many_databases: true, ..OLD });
        assert!(narrow.ends_with(&["-select".to_owned(), "-copy".to_owned()]));
        assert!(!account.rule(OLD).contains(&"-copy".to_owned()));
        assert!(account.rule(Dialect { version: (7, 2), ..OLD }).contains(&"+client|setinfo".to_owned()));
    }
}
