//! What servers and instances use, for those who watch them (SPEC K-12, K-21).

use std::{cmp::Reverse, collections::HashMap, sync::Arc, time::Duration};

use broker_core::{Binding, BrokerError, InstanceName, Metric, OpaqueId, Result, Tenant};
use futures::stream::{self, StreamExt as _};
use tokio::time::timeout;

use crate::{link::Link, tenants::Tenants};

/// How long a server may take to say what it uses, and as long again whose its connections are: all of them together
/// have three seconds.
const ASK_WITHIN: Duration = Duration::from_secs(1);
/// How many servers are asked at once.
const AT_ONCE: usize = 64;
/// How many metrics are shown (SPEC T-22). Those of servers go first.
const MOST: usize = 1000;
/// A list of more connections than these would keep a server from its work.
const LISTED: u64 = 10_000;

/// A figure of a server: its name there, its name here, what it is, and whether it only grows.
type Figure = (&'static str, &'static str, &'static str, bool);

const OF_SERVERS: [Figure; 5] = [
    ("used_memory", "server_memory_bytes", "Memory that a server uses.", false),
    ("maxmemory", "server_memory_limit_bytes", "Memory that a server may use for data.", false),
    (CLIENTS, "server_connections", "Connections that a server has.", false),
    (COMMANDS, "server_commands", "Commands that a server ran since its start.", true),
    ("evicted_keys", "server_evicted_keys", "Keys that a full server gave up since its start.", true),
];

/// The same of an instance that has the server for itself.
const OF_INSTANCES: [Figure; 5] = [
    ("used_memory", "instance_memory_bytes", "Memory that an instance uses.", false),
    ("maxmemory", "instance_memory_limit_bytes", "Memory that an instance may use for data.", false),
    (CLIENTS, CONNECTIONS, COUNTED, false),
    ("maxclients", "instance_connections_limit", "Connections that an instance may have.", false),
    (COMMANDS, "instance_commands", "Commands that an instance's server ran since its start.", true),
];

const COMMANDS: &str = "total_commands_processed";
const CLIENTS: &str = "connected_clients";
const CONNECTIONS: &str = "instance_connections";
const COUNTED: &str = "Connections that an instance has.";

/// The figures of servers by their kind of plan, and of as many instances on them as there is room for: those with the
/// most connections. A server that is down is `server_up 0`, and has no others.
pub(crate) async fn of(servers: Vec<(&'static str, String, Arc<Tenants>)>) -> Vec<Metric> {
    let asked: Vec<_> = servers.into_iter().map(|(kind, name, tenants)| of_server(kind, name, tenants)).collect();
    let answers = stream::iter(asked).buffer_unordered(AT_ONCE).collect::<Vec<_>>().await;
    let (of_servers, of_instances): (Vec<_>, Vec<_>) = answers.into_iter().unzip();
    shown(of_servers.concat(), of_instances.concat())
}

fn shown(mut metrics: Vec<Metric>, mut instances: Vec<OfInstance>) -> Vec<Metric> {
    instances.sort_by_key(|instance| Reverse(instance.connections));
    for instance in instances {
        if metrics.len() + instance.metrics.len() > MOST {
            break;
        }
        metrics.extend(instance.metrics);
    }
    metrics
}

#[derive(Clone)]
struct OfInstance {
    connections: u64,
    metrics: Vec<Metric>,
}

impl OfInstance {
    fn labeled(self, kind: &str, server: &str) -> Self {
        Self { metrics: self.metrics.into_iter().map(|metric| labeled(metric, kind, server)).collect(), ..self }
    }
}

/// The figures of one instance, under the same names, whoever looks after it.
pub(crate) async fn of_instance(
    Tenant { instance, bindings, .. }: &Tenant,
    (kind, name, tenants): (&'static str, String, Arc<Tenants>),
) -> Result<Vec<Metric>> {
    let silent = || BrokerError::unavailable("the server does not tell what the instance uses");
    let (link, figures) = asked(&tenants).await.ok_or_else(silent)?;
    let found = match tenants.is_shared() {
        false => on_own(instance.name.clone(), &figures),
        true if is_crowded(&figures) => return Ok(Vec::new()),
        true => match timeout(ASK_WITHIN, tenants.connections_lately(&link)).await.map_err(|_| silent())? {
            Ok(open) => {
                let of = |binding: &Binding| open.get(binding.id.as_str());
                of_shared(instance.name.clone(), bindings.iter().filter_map(of).sum())
            }
            // The broker's account there may not ask.
            Err(_) => return Ok(Vec::new()),
        },
    };
    Ok(found.labeled(kind, &name).metrics)
}

async fn of_server(kind: &'static str, name: String, tenants: Arc<Tenants>) -> (Vec<Metric>, Vec<OfInstance>) {
    let answer = asked(&tenants).await;
    let up = Metric::gauge("server_up", "Whether a server answers.", f64::from(u8::from(answer.is_some())));
    let mut metrics = vec![labeled(up, kind, &name)];
    let Some((link, figures)) = answer else { return (metrics, Vec::new()) };
    metrics.extend(found(&OF_SERVERS, &figures).map(|metric| labeled(metric, kind, &name)));
    let instances = match tenants.is_shared() {
        true => on_shared(&tenants, &link, &figures).await,
        false => tenants.names().into_iter().map(|name| on_own(name, &figures)).collect(),
    };
    (metrics, instances.into_iter().map(|instance| instance.labeled(kind, &name)).collect())
}

/// What a server says of itself; none when it is down.
async fn asked(tenants: &Tenants) -> Option<(Link, HashMap<String, String>)> {
    let ask = async {
        let link = tenants.if_up().await.ok()??;
        let figures = link.info("everything").await.ok()?;
        Some((link, figures))
    };
    timeout(ASK_WITHIN, ask).await.ok().flatten()
}

fn labeled(metric: Metric, kind: &str, server: &str) -> Metric {
    metric.label("server", server).label("plan", kind)
}

fn found<'a>(wanted: &'a [Figure], figures: &'a HashMap<String, String>) -> impl Iterator<Item = Metric> + 'a {
    wanted.iter().filter_map(|(theirs, ours, help, only_grows)| {
        let metric = if *only_grows { Metric::counter } else { Metric::gauge };
        Some(metric((*ours).to_owned(), (*help).to_owned(), figures.get(*theirs)?.parse().ok()?))
    })
}

fn on_own(name: InstanceName, figures: &HashMap<String, String>) -> OfInstance {
    let metrics = found(&OF_INSTANCES, figures).map(|metric| metric.label("instance", name.as_str())).collect();
    OfInstance { connections: clients(figures), metrics }
}

async fn on_shared(tenants: &Tenants, link: &Link, figures: &HashMap<String, String>) -> Vec<OfInstance> {
    let counted = timeout(ASK_WITHIN, connections(tenants, link, figures)).await.unwrap_or_default();
    counted.into_values().map(|(name, open)| of_shared(name, open)).collect()
}

fn of_shared(name: InstanceName, open: u64) -> OfInstance {
    #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
    let metric = Metric::gauge(CONNECTIONS, COUNTED, open as f64).label("instance", name.as_str());
    OfInstance { connections: open, metrics: vec![metric] }
}

/// How many connections instances have on a shared server, by one question; nothing when that would cost it too much, or
/// the broker's account there may not ask.
pub(crate) async fn connections(
    tenants: &Tenants,
    link: &Link,
    figures: &HashMap<String, String>,
) -> HashMap<OpaqueId, (InstanceName, u64)> {
    if is_crowded(figures) { HashMap::new() } else { tenants.connections(link).await.unwrap_or_default() }
}

fn is_crowded(figures: &HashMap<String, String>) -> bool {
    clients(figures) > LISTED
}

fn clients(figures: &HashMap<String, String>) -> u64 {
    figures.get(CLIENTS).and_then(|count| count.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test] // SPEC K-21
    fn of_too_many_instances_those_with_the_most_connections_are_shown_after_all_servers() {
        let metric = |name: String| Metric::gauge(name, "", 0.0);
        let servers: Vec<_> = (0..MOST - 5).map(|number| metric(format!("server_{number}"))).collect();
        let instance = |connections| OfInstance {
            connections,
            metrics: vec![metric(format!("memory_{connections}")), metric(format!("connections_{connections}"))],
        };

        let shown = shown(servers.clone(), [1, 7, 3].map(instance).into());

        let fit: Vec<_> = [7, 3].map(instance).into_iter().flat_map(|instance| instance.metrics).collect();
        assert_eq!(shown, [servers, fit].concat());
    }
}
