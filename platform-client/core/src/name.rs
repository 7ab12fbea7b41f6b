//! Names of the platform's own things. Those it shares with brokers come from `broker_core`.
//!
//! The rules are SPEC N-1 to N-12. Nothing here touches the network or the clock.

use broker_core::checked_name;

checked_name! {
    /// A platform's name, such as `python` (SPEC N-8).
    PlatformName, is_label,
    |_: &str| "Invalid platform name, it should have at most 40 characters, containing only lower case letters, numbers or dashes, starting with a letter."
}

checked_name! {
    /// A pool's name (SPEC N-8).
    PoolName, is_label,
    |_: &str| "Invalid pool name, it should have at most 40 characters, containing only lower case letters, numbers or dashes, starting with a letter."
}

checked_name! {
    /// An app plan's name, such as `small` (SPEC N-8).
    PlanName, |raw: &str| !raw.is_empty() && raw.len() <= 40 && raw.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.')),
    |_: &str| "Invalid plan name, it should have at most 40 letters, numbers, dots or dashes."
}

checked_name! {
    /// A team's name (SPEC N-9).
    TeamName, is_team_name,
    |_: &str| "Invalid team name, it should have 2 to 63 characters, containing only lower case letters, numbers, dashes or underscores, starting with a letter."
}

checked_name! {
    /// A process type of an app, such as `web` (SPEC N-10).
    ProcessName, |raw: &str| !raw.is_empty() && raw.len() <= 40 && raw.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_')),
    |_: &str| "Invalid process name, it should have at most 40 letters, numbers, dashes or underscores."
}

checked_name! {
    /// A domain name of the user's own that leads to an app; `*.` in front matches one level (SPEC N-11).
    Cname, is_cname,
    |_: &str| "Invalid cname"
}

checked_name! {
    /// Who a user is: an e-mail address (SPEC N-12).
    Email, is_email,
    |_: &str| "Invalid email"
}

impl ProcessName {
    /// The process that answers requests when an app has one of that name.
    #[must_use]
    pub fn web() -> Self {
        Self("web".into())
    }
}

/// `^[a-z][a-z0-9-]{0,39}$`
fn is_label(raw: &str) -> bool {
    raw.len() <= 40
        && raw.starts_with(|c: char| c.is_ascii_lowercase())
        && raw.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'))
}

/// `^[a-z][a-z0-9_\-]{1,62}$`
fn is_team_name(raw: &str) -> bool {
    (2..=63).contains(&raw.len())
        && raw.starts_with(|c: char| c.is_ascii_lowercase())
        && raw.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'))
}

/// `^(\*\.)?[a-zA-Z0-9][\w-.]+$`, at most 253 characters.
fn is_cname(raw: &str) -> bool {
    let host = raw.strip_prefix("*.").unwrap_or(raw);
    (2..=253).contains(&host.len())
        && host.starts_with(|c: char| c.is_ascii_alphanumeric())
        && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

/// `local@domain.tld` with a lower-case host.
fn is_email(raw: &str) -> bool {
    let Some((local, host)) = raw.split_once('@') else { return false };
    let Some((_, tld)) = host.rsplit_once('.') else { return false };
    !local.is_empty()
        && raw.len() <= 254
        && local.bytes().all(|b| b.is_ascii_alphanumeric() || b".!#$%&'*+-=?^_`{|}~".contains(&b))
        && host.split('.').all(|label| !label.is_empty())
        && host.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.'))
        && tld.len() >= 2
        && tld.bytes().all(|b| b.is_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test] // SPEC N-11
    fn cnames_may_have_one_leading_wildcard() {
        for good in ["www.example.com", "*.example.com", "a_b.c"] {
            assert!(good.parse::<Cname>().is_ok(), "{good}");
        }
        for bad in ["", "-a.b", "a b", "*", "*.*.com", "a/b", "a:80"] {
            assert!(bad.parse::<Cname>().is_err(), "{bad}");
        }
    }

    #[test] // SPEC N-12
    fn emails_need_a_domain_with_a_top_level() {
        assert!("alice@example.com".parse::<Email>().is_ok());
        for bad in ["admin@localhost", "admin", "@example.com", "a@b@c.de", "a b@c.de"] {
            assert!(bad.parse::<Email>().is_err(), "{bad}");
        }
    }
}
