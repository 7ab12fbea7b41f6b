//! `doctor`: whether the broker could do its work, and what its operator will regret (SPEC K-13).

use std::{collections::HashMap, time::Duration};

use broker_core::{OpaqueId, cli::Findings};
use broker_hosting::{addresses_of, is_this_machine, look_at_advertised, look_at_authority, look_at_memory};
use redis::{FromRedisValue as _, RedisResult, ServerErrorKind};
use tokio::time::timeout;

use crate::{
    Config, RedisBroker,
    broker::{hosting, offers},
    check::{at, given_servers},
    link::{Link, Reach, product},
    plans::{Kind, Offer},
    tls::Tls,
};

/// How long all questions to one server may take.
const ASK_WITHIN: Duration = Duration::from_secs(30);
const SETTINGS: [&str; 3] = ["appendonly", "save", "aclfile"];
/// What the broker can do without.
const FOR_FIGURES: &str = "CLIENT LIST";

impl RedisBroker {
    /// Looks whether the broker could do its work beyond what [`check`](Self::check) looks at, and what of it the
    /// operator will regret: rights and settings of given servers, room and limits of own ones. Nothing is started
    /// or changed.
    pub async fn doctor(config: &Config, findings: &mut Findings) {
        // Why there are none, `check` says, and so it does of a URL and a host.
        let Ok((offers, _)) = offers(config).await else { return };
        let starts_some = offers.iter().any(|offer| offer.starts().is_some());
        let mut is_advertised = starts_some;
        for member in given_servers(&offers) {
            let Ok(reach) = at(&member) else { continue };
            let what = format!("shared server {}", member.id);
            is_advertised |= look_at_way(&reach, &what, findings);
            match timeout(ASK_WITHIN, look_at_server(&reach, &what, findings)).await {
                Ok(Ok(())) => {}
                Ok(Err(cause)) => findings.problem(what, format!("nothing more can be said of it: {cause:#}")),
                Err(_) => findings.problem(what, "it takes too long to answer: look what it is busy with"),
            }
        }
        if starts_some {
            let addresses = addresses_of(&config.advertise_host, &config.bind).await.unwrap_or_default();
            hosting(config, &offers, addresses).doctor(findings).await;
            look_at_promises(&offers, findings);
            if offers.iter().any(|offer| offer.starts().is_some() && offer.settings().tls == Tls::Required) {
                look_at_authority(&config.servers_dir, findings);
            }
        }
        if is_advertised {
            look_at_advertised(&config.advertise_host, findings).await;
        }
    }
}

/// How the server is reached; whether that is on this machine.
fn look_at_way(reach: &Reach, what: &str, findings: &mut Findings) -> bool {
    let is_here = is_this_machine(&reach.host);
    match &reach.trusted {
        Some(trusted) if trusted.accepts_any => findings.warning(
            what,
            "any certificate is taken for its own: who is on the way to it reads and changes everything; name its \
             authority's as `ca-file`",
        ),
        Some(_) => findings.found(what, "reached by TLS"),
        None if is_here => {}
        None => findings.warning(
            what,
            "passwords and data go to it without TLS: write its URL as rediss://, or keep the network between it, the \
             broker and the apps to yourself",
        ),
    }
    is_here
}

async fn look_at_server(reach: &Reach, what: &str, findings: &mut Findings) -> anyhow::Result<()> {
    let link = Link::new(reach.info.clone())?;
    let server = link.info("server").await?;
    findings.found(what, product(&server).unwrap_or_else(|| "of an unknown version".to_owned()));
    // The second is Valkey's.
    let modes = ["redis_mode", "server_mode"].map(|name| server.get(name).map(String::as_str));
    if modes.contains(&Some("cluster")) {
        let sentence = "it is one of a cluster, whose other servers know nothing of the accounts: give one that is not";
        findings.problem(what, sentence);
    }
    let replication = link.info("replication").await?;
    if replication.get("role").is_some_and(|role| role == "slave") {
        findings.problem(what, "it is a replica and takes no writes: give the URL of its primary");
    }
    look_at_rights(&link, reach.info.redis_settings().username().unwrap_or("default"), what, findings).await?;
    look_at_default_user(&link, what, findings).await?;
    look_at_memory_of(&link.info("memory").await?, what, findings);
    look_at_settings(link.config(&SETTINGS).await, what, findings)?;
    Ok(())
}

/// What the broker says to given servers, with keys of a tenant where there are some.
fn commands(tenant: &OpaqueId) -> Vec<String> {
    let key = format!("{tenant}:key");
    vec![
        "PING".to_owned(),
        "INFO server".to_owned(),
        "ACL USERS".to_owned(),
        format!("ACL GETUSER {tenant}"),
        format!("ACL SETUSER {tenant} reset"),
        format!("ACL DELUSER {tenant}"),
        format!("SCAN 0 MATCH {tenant}:* COUNT 1000"),
        format!("UNLINK {key}"),
        // Moves between shared and dedicated plans, and backups.
        format!("CLIENT TRACKING ON BCAST PREFIX {tenant}:"),
        "MULTI".to_owned(),
        "EXEC".to_owned(),
        format!("DUMP {key}"),
        format!("PEXPIRETIME {key}"),
        format!("EXISTS {key}"),
        format!("RESTORE {key} 0 value REPLACE ABSTTL"),
        "FUNCTION DUMP".to_owned(),
        format!("SET {key} value"),
        format!("RENAME {key} {key}"),
    ]
}

async fn look_at_rights(link: &Link, user: &str, what: &str, findings: &mut Findings) -> anyhow::Result<()> {
    if let Ok(false) = link.may(user, FOR_FIGURES).await {
        let sentence = format!("the user \"{user}\" may not use {FOR_FIGURES}: instances' connections are not counted");
        findings.warning(what, sentence);
    }
    let mut denied = Vec::new();
    for command in commands(&OpaqueId::generate()) {
        match link.may(user, &command).await {
            Ok(true) => {}
            Ok(false) => denied.push(name_of(&command)),
            Err(refused) if refused.kind() == ServerErrorKind::NoPerm.into() => {
                let sentence = "whether its user has all rights that the broker needs cannot be seen: allow it \
                                `+acl|dryrun`";
                findings.warning(what, sentence);
                return Ok(());
            }
            Err(other) => return Err(other.into()),
        }
    }
    if denied.is_empty() {
        findings.found(what, format!("the user \"{user}\" may do all that the broker does"));
    } else {
        let denied = denied.join(", ");
        findings.problem(
            what,
            format!("the user \"{user}\" may not use {denied} on all keys: allow that, or give an administrator's"),
        );
    }
    Ok(())
}

fn name_of(command: &str) -> String {
    let words = if ["ACL ", "CLIENT ", "FUNCTION "].iter().any(|of| command.starts_with(of)) { 2 } else { 1 };
    command.split(' ').take(words).collect::<Vec<_>>().join(" ")
}

async fn look_at_default_user(link: &Link, what: &str, findings: &mut Findings) -> anyhow::Result<()> {
    let flags = link.account("default").await?.unwrap_or_default();
    let flags = flags.get("flags").map(Vec::<String>::from_redis_value_ref).transpose()?.unwrap_or_default();
    let has = |flag: &str| flags.iter().any(|one| one == flag);
    if has("on") && has("nopass") {
        let sentence = "who reaches it is its user \"default\" without a password, and so reaches every tenant: set \
                        `requirepass`";
        findings.warning(what, sentence);
    }
    Ok(())
}

fn look_at_memory_of(memory: &HashMap<String, String>, what: &str, findings: &mut Findings) {
    match memory.get("maxmemory").map(String::as_str) {
        Some("0") => {
            let sentence =
                "it has no `maxmemory`: tenants may fill the machine, whose kernel then ends the server; set it";
            findings.warning(what, sentence);
        }
        Some(_) => {
            let limit = memory.get("maxmemory_human").map_or("limited", String::as_str);
            findings.found(what, format!("memory for data: {limit}"));
        }
        None => {}
    }
    match memory.get("maxmemory_policy").map(String::as_str) {
        None | Some("noeviction") => {}
        Some(policy) => findings.warning(
            what,
            format!(
                "its `maxmemory-policy` is {policy}: when it is full, a tenant's writes push out another's keys; set \
                 `noeviction`"
            ),
        ),
    }
}

fn look_at_settings(
    asked: RedisResult<HashMap<String, String>>,
    what: &str,
    findings: &mut Findings,
) -> anyhow::Result<()> {
    let settings = match asked {
        Ok(settings) => settings,
        Err(refused) if refused.kind() == ServerErrorKind::NoPerm.into() || refused.code() == Some("ERR") => {
            findings.found(what, "its settings cannot be read: whether it keeps data on disk is not known");
            return Ok(());
        }
        Err(other) => return Err(other.into()),
    };
    let is = |name: &str, value: &str| settings.get(name).is_some_and(|found| found == value);
    if is("appendonly", "no") && is("save", "") {
        findings.warning(
            what,
            "it keeps nothing on disk, and tenants lose their data when it restarts: set `appendonly yes`",
        );
    } else if is("appendonly", "no") {
        findings.warning(
            what,
            "it writes data to disk from time to time only, and tenants lose the rest when it ends: set `appendonly yes`",
        );
    } else {
        findings.found(what, "data is written to disk");
    }
    if is("aclfile", "") {
        findings.found(what, "it forgets accounts when it restarts: the broker gives them back within seconds");
    }
    Ok(())
}

/// Whether the broker's own servers have the memory that their plans promise.
fn look_at_promises(offers: &[Offer], findings: &mut Findings) {
    let mut promised: u64 = 0;
    for offer in offers {
        let (servers, settings) = match &offer.kind {
            Kind::Dedicated { settings, .. } => (offer.at_most, settings),
            Kind::Shared { servers, settings } => {
                let members = servers.members();
                let own = members.iter().filter(|member| matches!(member.site, broker_hosting::Site::Own)).count();
                (u32::try_from(own).ok(), settings)
            }
        };
        let each = settings.limits.memory.unwrap_or(settings.maxmemory.0);
        match servers {
            Some(servers) => promised = promised.saturating_add(each.saturating_mul(servers.into())),
            None => findings.warning(
                "memory",
                format!(
                    "the plan \"{}\" has no `at-most`, and its servers may want more than this machine has: set it",
                    offer.plan.name
                ),
            ),
        }
    }
    look_at_memory(promised, findings);
}
