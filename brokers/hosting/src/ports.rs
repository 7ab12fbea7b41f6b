//! Ports for servers.

use std::{fmt, io, net::IpAddr, ops::RangeInclusive, str::FromStr, time::Duration};

use crate::HostError;

/// A range of ports, written `20000-20999`.
///
/// ```
/// # use broker_hosting::Ports;
/// assert_eq!("20000-20999".parse::<Ports>().unwrap().to_string(), "20000-20999");
/// assert!("20999-20000".parse::<Ports>().is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ports(RangeInclusive<u16>);

/// How long it may take to look a name up.
const LOOKED_UP_WITHIN: Duration = Duration::from_secs(5);

impl Ports {
    pub(crate) fn range(&self) -> &RangeInclusive<u16> {
        &self.0
    }

    /// All ports, first those after `last` and then from the start.
    pub(crate) fn after(&self, last: u16) -> impl Iterator<Item = u16> + '_ {
        let later = self.0.clone().filter(move |port| *port > last);
        later.chain(self.0.clone().filter(move |port| *port <= last))
    }
}

impl FromStr for Ports {
    type Err = String;

    fn from_str(raw: &str) -> Result<Self, String> {
        let range = raw.split_once('-').and_then(|(first, last)| Some(first.parse().ok()?..=last.parse().ok()?));
        range
            .filter(|range| *range.start() > 0 && !range.is_empty())
            .map(Self)
            .ok_or_else(|| "a range of ports is written like 20000-20999".to_owned())
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.0.start(), self.0.end())
    }
}

/// The addresses that servers listen at so that `host` leads to them: those of `bind` when there are
/// any, else the ones that `host` is or stands for.
///
/// # Errors
/// When `host` is a name that stands for no address, so that `bind` is needed.
pub async fn addresses_of(host: &str, bind: &[IpAddr]) -> Result<Vec<IpAddr>, HostError> {
    if !bind.is_empty() {
        return Ok(bind.to_vec());
    }
    let addresses = look_up(host).await;
    if addresses.is_empty() { Err(HostError::UnknownHost(host.to_owned())) } else { Ok(addresses) }
}

/// Whether a host is this machine itself, as the broker names it.
#[must_use]
pub fn is_this_machine(host: &str) -> bool {
    host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

/// The host under which apps reach a server that is there for the broker: what is this machine for it is not for them.
#[must_use]
pub fn seen_by_apps(host: &str, advertised: &str) -> String {
    if is_this_machine(host) { advertised.to_owned() } else { host.to_owned() }
}

/// The addresses that a host is or stands for; none when nobody says so in time.
pub(crate) async fn look_up(host: &str) -> Vec<IpAddr> {
    if let Ok(address) = host.trim_matches(['[', ']']).parse() {
        return vec![address];
    }
    let found = tokio::time::timeout(LOOKED_UP_WITHIN, tokio::net::lookup_host((host, 0))).await;
    found.into_iter().flatten().flatten().map(|address| address.ip()).collect()
}

/// Whether a server could listen on the port now, at each of the addresses.
pub(crate) fn is_free(addresses: &[IpAddr], port: u16) -> Result<bool, HostError> {
    for address in addresses {
        match std::net::TcpListener::bind((*address, port)) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => {
                return Err(HostError::NoAddress(*address));
            }
            Err(_) => return Ok(false),
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_hold_no_port_are_refused() {
        for bad in ["", "80", "0-10", "9-8", "1-65536", "a-b"] {
            assert!(bad.parse::<Ports>().is_err(), "{bad}");
        }
    }

    #[tokio::test]
    async fn servers_listen_where_their_advertised_host_leads_to() {
        let address: IpAddr = "172.17.0.1".parse().unwrap();
        assert_eq!(addresses_of("172.17.0.1", &[]).await.unwrap(), [address]);
        assert_eq!(addresses_of("redis.example", &[address]).await.unwrap(), [address]);
        assert!(addresses_of("localhost", &[]).await.unwrap().iter().all(IpAddr::is_loopback));
        let refusal = addresses_of("nowhere.invalid", &[]).await.unwrap_err().to_string();
        assert!(refusal.contains("nowhere.invalid"), "{refusal}");
    }

    #[test]
    fn apps_reach_a_server_on_this_machine_under_the_advertised_host() {
        for here in ["127.0.0.1", "localhost", "::1"] {
            assert_eq!(seen_by_apps(here, "172.17.0.1"), "172.17.0.1");
        }
        assert_eq!(seen_by_apps("cache.example", "172.17.0.1"), "cache.example");
    }

    #[test]
    fn ports_go_on_after_the_last_one_and_wrap_around() {
        let ports: Ports = "5-8".parse().unwrap();
        assert_eq!(ports.after(6).collect::<Vec<_>>(), [7, 8, 5, 6]);
        assert_eq!(ports.after(0).collect::<Vec<_>>(), [5, 6, 7, 8]);
    }
}
