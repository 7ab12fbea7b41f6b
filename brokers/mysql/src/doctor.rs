//! `doctor`: whether the broker could do its work, and what its operator will regret (SPEC M-13).

use std::{collections::HashMap, process::Stdio, time::Duration};

use anyhow::Context as _;
use broker_core::cli::Findings;
use broker_hosting::{
    Hosting, Site, addresses_of, find_program, is_this_machine, look_at_advertised, look_at_authority, look_at_memory,
};
use tokio::{process::Command, time::timeout};

use crate::{
    Config, MysqlBroker,
    link::{self, Fault, Link, Reach},
    plans::{Dedicated, Kind, Offer, Plans},
    rights::{Grants, needed},
    servers::{given, hosting},
    tenant::Dialect,
};

/// How long all questions to one server may take.
const ASK_WITHIN: Duration = Duration::from_secs(60);
const VERSION_WITHIN: Duration = Duration::from_secs(5);
/// The oldest that lock accounts, and have the tables that are read.
const OLDEST_MARIADB: (u16, u16) = (10, 4);
const OLDEST_MYSQL: (u16, u16) = (8, 0);

impl MysqlBroker {
    /// Looks whether the broker could do its work beyond what [`check`](Self::check) looks at, and what of it the
    /// operator will regret: rights and settings of given servers, programs, room and limits of own ones. Nothing is
    /// started or changed.
    pub async fn doctor(config: &Config, findings: &mut Findings) {
        // What is wrong with the plans the catalog says; with a URL or a host, `check`.
        let Ok(plans) = Plans::of(config) else { return };
        let mut is_advertised = plans.starts_servers();
        for (id, given) in given(&plans) {
            let Ok(reach) = link::at_given(&given) else { continue };
            is_advertised |= is_this_machine(reach.opts.ip_or_hostname());
            let what = format!("shared server {id}");
            match timeout(ASK_WITHIN, look_at_server(&reach, &what, &plans.on(&id), findings)).await {
                Ok(Ok(())) => {}
                Ok(Err(cause)) => findings.problem(what, format!("nothing more can be said of it: {cause}")),
                Err(_) => findings.problem(what, "it takes too long to answer: look what it is busy with"),
            }
        }
        look_at_program("mariadb-dump", &config.mariadb_dump, None, findings).await;
        if plans.starts_servers() {
            look_at_program("mariadbd", &config.mariadbd, Some(OLDEST_MARIADB), findings).await;
            look_at_own(config, &plans, findings).await;
        }
        if is_advertised {
            look_at_advertised(&config.advertise_host, findings).await;
        }
    }
}

async fn look_at_own(config: &Config, plans: &Plans, findings: &mut Findings) {
    let dedicated = || {
        plans.all().iter().filter_map(|offer| match &offer.kind {
            Kind::Dedicated(plan) => Some((offer, plan)),
            Kind::Shared(_) => None,
        })
    };
    let addresses = addresses_of(&config.advertise_host, &config.bind).await.unwrap_or_default();
    let hosting = hosting(config, addresses);
    let containers = hosting.containers.clone().filter(|_| dedicated().any(|(_, plan)| plan.is_contained));
    Hosting { containers, ..hosting }.doctor(findings).await;
    let shared = plans.servers().iter().filter(|member| matches!(member.site, Site::Own)).count();
    let mut promised = bytes(config.buffer_pool).saturating_mul(shared as u64);
    for (offer, plan) in dedicated() {
        match offer.at_most {
            Some(servers) => promised = memory(plan).saturating_mul(servers.into()).saturating_add(promised),
            None => findings.warning(
                "memory",
                format!(
                    "the plan \"{}\" has no `at-most`, and its servers may want more than this machine has: set it",
                    offer.name
                ),
            ),
        }
    }
    look_at_memory(promised, findings);
    if plans.own_speak_tls() {
        look_at_authority(&config.servers_dir, findings);
    }
}

fn memory(plan: &Dedicated) -> u64 {
    plan.limits.memory.unwrap_or_else(|| bytes(plan.buffer_pool))
}

fn bytes(mebibytes: u32) -> u64 {
    u64::from(mebibytes) << 20
}

async fn look_at_server(reach: &Reach, what: &str, offers: &[&Offer], findings: &mut Findings) -> Result<(), Fault> {
    let link = Link::new(reach.clone());
    let (dialect, version) = (link.dialect().await?, link.version().await?);
    findings.add_result(what, new_enough(dialect, &version).map(|()| &version));
    let grants: Vec<String> = link.all("SHOW GRANTS", ()).await?;
    let user = reach.opts.user().unwrap_or_default();
    match Grants::read(&grants).lack(&needed(dialect)) {
        None => findings.found(what, format!("the user \"{user}\" may do all that the broker does")),
        Some(missing) => findings
            .problem(what, format!("the user \"{user}\" lacks {missing}: grant that, or give an administrator's URL")),
    }
    let variables: Vec<(String, String)> = link
        .all(
            "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('read_only', 'event_scheduler', 'sql_require_primary_key', \
             'innodb_force_primary_key', 'max_connections', 'skip_name_resolve', 'have_ssl', 'ssl_cert', 'log_bin', \
             'log_bin_trust_function_creators')",
            (),
        )
        .await?;
    let variables: HashMap<_, _> = variables.into_iter().collect();
    look_at_settings(&variables, what, findings);
    look_at_time(dialect, offers, what, findings);
    look_at_connections(&variables, offers, what, findings);
    look_at_tls(&variables, reach, offers, what, findings);
    Ok(())
}

fn new_enough(dialect: Dialect, version: &str) -> anyhow::Result<()> {
    let oldest = match dialect {
        Dialect::MariaDb => OLDEST_MARIADB,
        Dialect::MySql => OLDEST_MYSQL,
    };
    let number = version.split(' ').next_back().and_then(number_of).with_context(|| format!("{version} is unknown"))?;
    anyhow::ensure!(
        number >= oldest,
        "it is {version}, and {}.{} is the oldest that the broker can work with: upgrade it",
        oldest.0,
        oldest.1
    );
    Ok(())
}

/// `10.11.6` is (10, 11).
fn number_of(version: &str) -> Option<(u16, u16)> {
    let mut numbers = version.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn is_on(variables: &HashMap<String, String>, name: &str) -> bool {
    variables.get(name).is_some_and(|value| matches!(value.as_str(), "ON" | "YES" | "1"))
}

fn look_at_settings(variables: &HashMap<String, String>, what: &str, findings: &mut Findings) {
    if is_on(variables, "read_only") {
        findings.problem(what, "it is read-only, and tenants cannot write: give the URL of the primary");
    }
    if is_on(variables, "event_scheduler") {
        let sentence = "events of tenants run on it, without a limit of their time: set event-scheduler=OFF";
        findings.warning(what, sentence);
    }
    for name in ["sql_require_primary_key", "innodb_force_primary_key"] {
        if is_on(variables, name) {
            findings.warning(
                what,
                format!(
                    "{name} is on: what has a table without a primary key cannot be restored or moved there; set it off"
                ),
            );
        }
    }
    if is_on(variables, "log_bin") && !is_on(variables, "log_bin_trust_function_creators") {
        let sentence = "tenants cannot make functions and triggers on it, since it has a binary log (error 1419): set \
                        log-bin-trust-function-creators=ON";
        findings.warning(what, sentence);
    }
    if !is_on(variables, "skip_name_resolve") {
        let sentence = "it asks DNS for the name of each client, and logins wait for that: set skip-name-resolve";
        findings.warning(what, sentence);
    }
}

/// Of what MySQL has no setting for each account.
fn look_at_time(dialect: Dialect, offers: &[&Offer], what: &str, findings: &mut Findings) {
    if dialect == Dialect::MySql && offers.iter().any(|offer| offer.limits.statement_time > 0) {
        let sentence = "the plans' statement-time does not hold on MySQL, which limits no account's statements: set \
                        max-execution-time, for SELECT on the whole server";
        findings.warning(what, sentence);
    }
}

fn look_at_connections(variables: &HashMap<String, String>, offers: &[&Offer], what: &str, findings: &mut Findings) {
    let Some(greedy) = offers.iter().max_by_key(|offer| offer.limits.connections) else { return };
    let (of_one, plan) = (greedy.limits.connections, &greedy.name);
    let Some(all) = variables.get("max_connections").and_then(|number| number.parse::<u32>().ok()) else { return };
    if of_one >= all {
        findings.warning(
            what,
            format!(
                "it takes {all} connections, and one binding of the plan \"{plan}\" may have {of_one}, which shuts all \
                 others out: raise max-connections, or lower the plan's"
            ),
        );
    } else {
        findings.found(what, format!("{all} connections, at most {of_one} for a binding"));
    }
}

fn look_at_tls(
    variables: &HashMap<String, String>,
    reach: &Reach,
    offers: &[&Offer],
    what: &str,
    findings: &mut Findings,
) {
    let is_here = is_this_machine(reach.opts.ip_or_hostname());
    let has_certificate = variables.get("ssl_cert").is_some_and(|file| !file.is_empty());
    // Newer servers have no `have_ssl`.
    let offers_tls = variables.get("have_ssl").map_or(has_certificate, |have| have == "YES");
    match offers_tls {
        true => findings.found(what, "it offers TLS"),
        false if offers.iter().any(|offer| offer.limits.tls) => {
            let sentence = "it offers no TLS, and a plan or --require-tls refuses connections without: give it a \
                            certificate, or have the plan not require it";
            findings.problem(what, sentence);
        }
        false if is_here => findings.found(what, "it offers no TLS, and is on this machine"),
        false => findings.warning(
            what,
            "it offers no TLS, and passwords and data go to it in clear: give it a certificate, or keep the network to \
             yourself",
        ),
    }
    match &reach.trusted {
        Some(trusted) if trusted.accepts_any => findings.warning(
            what,
            "any certificate is taken for its own: who is on the way to it reads and changes everything; name its \
             authority's as `ca-file`",
        ),
        Some(_) => findings.found(what, "reached by TLS"),
        None if offers_tls && !is_here => findings.warning(
            what,
            "the broker's own connections to it are not encrypted: add `?require_ssl=true` to the URL, or name its \
             authority's certificate as `ca-file`",
        ),
        None => {}
    }
}

/// Asks a program for its version. That it is missing, `check` says.
async fn look_at_program(what: &str, name: &str, oldest: Option<(u16, u16)>, findings: &mut Findings) {
    let Ok(program) = find_program(name) else { return };
    let asked = Command::new(&program).arg("--version").stdin(Stdio::null()).kill_on_drop(true).output();
    let text = match timeout(VERSION_WITHIN, asked).await {
        Ok(Ok(answer)) => String::from_utf8_lossy(&answer.stdout).into_owned(),
        Ok(Err(cause)) => return findings.problem(what, format!("{} cannot be run: {cause}", program.display())),
        Err(_) => return findings.problem(what, format!("{} does not tell its version", program.display())),
    };
    // Some tell a version of their own before that of what they came with.
    let version = text.split_once("-MariaDB").and_then(|(before, _)| before.split_whitespace().next_back());
    match (version, oldest) {
        (Some(version), oldest) if number_of(version).is_some_and(|number| Some(number) >= oldest) => {
            findings.found(what, format!("MariaDB {version}"));
        }
        (_, Some((major, minor))) => findings.problem(
            what,
            format!("{} is no MariaDB of version {major}.{minor} or newer: install one", program.display()),
        ),
        (_, None) => findings.found(what, text.trim()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test] // SPEC M-13
    fn servers_that_cannot_lock_accounts_are_refused() {
        for (dialect, version) in [(Dialect::MariaDb, "MariaDB 10.3.39"), (Dialect::MySql, "MySQL 5.7.44")] {
            let refusal = new_enough(dialect, version).unwrap_err().to_string();
            assert!(refusal.starts_with(&format!("it is {version}, and ")), "{refusal}");
        }
        new_enough(Dialect::MariaDb, "MariaDB 10.4.0").unwrap();
        new_enough(Dialect::MySql, "MySQL 8.4.2").unwrap();
        new_enough(Dialect::MySql, "MySQL").unwrap_err();
    }
}
