//! `check`: whether a broker of this configuration would start.

use anyhow::Context as _;
use broker_core::cli::Findings;
use broker_hosting::{Member, Site, addresses_of, wrong_with_tls};
use redis::{ErrorKind, ServerErrorKind};

use crate::{
    Config, RedisBroker,
    backups::SERVICE,
    broker::offers,
    link::{self, Link, Reach},
    plans::{Kind, Offer},
    server::Installed,
    tenants::OLDEST,
};

impl RedisBroker {
    /// Looks at the programs and the servers that the configuration names; nothing is started or changed.
    pub async fn check(config: &Config, findings: &mut Findings) {
        let offers = match offers(config).await {
            Ok((offers, _)) => offers,
            Err(problem) => return findings.problem("plans", format!("{problem:#}")),
        };
        let names: Vec<_> = offers.iter().map(|offer| offer.plan.name.as_str()).collect();
        findings.found("plans", names.join(", "));
        match Installed::find(&config.redis_server).await {
            Ok(_) => findings.found("redis-server", &config.redis_server),
            Err(missing) => findings.found("redis-server", format!("none, and no plan needs it: {missing:#}")),
        }
        for member in given_servers(&offers) {
            let what = format!("shared server {}", member.id);
            let reach = match at(&member) {
                Ok(reach) => reach,
                Err(wrong) => {
                    findings.problem(what, format!("{wrong:#}"));
                    continue;
                }
            };
            match examine(&reach).await {
                Ok(doubts) if doubts.is_empty() => findings.found(what, reach.info.addr()),
                Ok(doubts) => doubts.iter().for_each(|doubt| findings.warning(&what, doubt)),
                Err(problem) => findings.problem(what, format!("{problem:#}")),
            }
        }
        config.backups.check(SERVICE, findings).await;
        let addresses = addresses_of(&config.advertise_host, &config.bind).await;
        let addresses = addresses.map(|_| &config.advertise_host).map_err(anyhow::Error::from);
        findings.add_result("advertise-host", addresses);
    }
}

/// The servers of shared plans that are given by URL.
pub(crate) fn given_servers(offers: &[Offer]) -> Vec<Member> {
    let servers = offers.iter().filter_map(|offer| match &offer.kind {
        Kind::Shared { servers, .. } => Some(servers.members()),
        Kind::Dedicated { .. } => None,
    });
    servers.flat_map(|members| members.to_vec()).filter(|member| matches!(member.site, Site::Given(_))).collect()
}

/// A given server's address, and the administrator's credentials there.
pub(crate) fn at(member: &Member) -> anyhow::Result<Reach> {
    match &member.site {
        Site::Given(given) => link::at_given(given),
        Site::Own => anyhow::bail!("the server {} is the broker's own", member.id),
    }
}

/// Looks whether tenants can be kept apart on a server given by URL.
pub(crate) async fn examine(reach: &Reach) -> anyhow::Result<Vec<String>> {
    let server = reach.info.addr();
    let link = Link::new(reach.info.clone())?;
    let asked = match link.accounts().await {
        Ok(_) => link.about().await,
        Err(refused) => Err(refused),
    };
    let about = match asked {
        Ok(about) => about,
        Err(refused) if refused.kind() == ErrorKind::AuthenticationFailed || refused.code() == Some("NOAUTH") => {
            return Err(refused)
                .with_context(|| format!("the shared server {server} refuses the user and password of its URL"));
        }
        Err(refused) if refused.kind() == ServerErrorKind::NoPerm.into() => {
            return Err(refused).with_context(|| {
                format!("the user in the URL of the shared server {server} may not manage its accounts: give an administrator's")
            });
        }
        Err(down) => {
            if let Some(wrong) = wrong_with_tls(&down) {
                anyhow::bail!("the shared server {server} cannot be used: {wrong}");
            }
            return Ok(vec![format!(
                "the shared server {server} does not answer, calls that need it will fail until it does: {down}"
            )]);
        }
    };
    let (major, minor) = about.dialect.version;
    anyhow::ensure!(
        about.dialect.version >= OLDEST,
        "the shared server {server} is version {major}.{minor}, and 7.0 is the oldest that keeps tenants apart"
    );
    let many = about.dialect.many_databases.then(|| {
        format!("the shared server {server} has several databases: its tenants get no SELECT and COPY, `databases 1` would allow them")
    });
    Ok(many.into_iter().collect())
}
