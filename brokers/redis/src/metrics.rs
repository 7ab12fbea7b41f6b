//! What servers use, for those who watch them (SPEC K-12).

use std::{sync::Arc, time::Duration};

use broker_core::Metric;
use futures::stream::{self, StreamExt as _};
use tokio::time::timeout;

use crate::tenants::Tenants;

/// How long a server may take to say what it uses: all of them together have three seconds.
const ASK_WITHIN: Duration = Duration::from_secs(1);
/// How many servers are asked at once.
const AT_ONCE: usize = 64;

/// A figure of a server: its name there, its name here, what it is, and whether it only grows.
const FIGURES: [(&str, &str, &str, bool); 5] = [
    ("used_memory", "server_memory_bytes", "Memory that a server uses.", false),
    ("maxmemory", "server_memory_limit_bytes", "Memory that a server may use for data.", false),
    ("connected_clients", "server_connections", "Connections that a server has.", false),
    ("total_commands_processed", "server_commands", "Commands that a server ran since its start.", true),
    ("evicted_keys", "server_evicted_keys", "Keys that a full server gave up since its start.", true),
];

/// The figures of servers by their kind of plan. A server that is down is `server_up 0`, and has no others.
pub(crate) async fn of(servers: Vec<(&'static str, String, Arc<Tenants>)>) -> Vec<Metric> {
    let asked: Vec<_> = servers.into_iter().map(|(kind, name, tenants)| of_server(kind, name, tenants)).collect();
    stream::iter(asked).buffer_unordered(AT_ONCE).collect::<Vec<_>>().await.concat()
}

async fn of_server(kind: &'static str, name: String, tenants: Arc<Tenants>) -> Vec<Metric> {
    let labeled = |metric: Metric| metric.label("server", name.as_str()).label("plan", kind);
    let ask = async {
        let link = tenants.if_up().await.ok()??;
        link.info("everything").await.ok()
    };
    let figures = timeout(ASK_WITHIN, ask).await.ok().flatten();
    let up = Metric::gauge("server_up", "Whether a server answers.", f64::from(u8::from(figures.is_some())));
    let mut metrics = vec![labeled(up)];
    for (theirs, ours, help, only_grows) in FIGURES {
        let found = figures.as_ref().and_then(|figures| figures.get(theirs)?.parse().ok());
        let metric = if only_grows { Metric::counter } else { Metric::gauge };
        metrics.extend(found.map(|value: f64| labeled(metric(ours.to_owned(), help.to_owned(), value))));
    }
    metrics
}
