//! What the shared servers do, for those who watch them (SPEC M-12).

use std::time::Duration;

use broker_core::Metric;
use broker_hosting::Member;
use futures::future::join_all;
use tokio::time::timeout;

use crate::{
    link::{Fault, Link},
    servers::{Server, Servers},
};

/// How long a server may take to say what it does: all of them together have three seconds.
pub(crate) const ASK_WITHIN: Duration = Duration::from_secs(2);

/// The figures of servers, by their names. One that is down is `server_up 0`, and has no others; one that nobody needed
/// yet has none.
pub(crate) async fn of(servers: &Servers, members: &[Member]) -> Vec<Metric> {
    join_all(members.iter().map(|member| of_server(servers, member))).await.concat()
}

async fn of_server(servers: &Servers, member: &Member) -> Vec<Metric> {
    let server = servers.at(member);
    if server.as_ref().is_ok_and(Server::was_never_made) {
        return Vec::new();
    }
    let ask = async {
        let link = server.ok()?.if_up().await.ok()??;
        figures(&link).await.ok()
    };
    let figures = timeout(ASK_WITHIN, ask).await.ok().flatten();
    let up = Metric::gauge("server_up", "Whether a server answers", f64::from(u8::from(figures.is_some())));
    let metrics = [up].into_iter().chain(figures.into_iter().flatten());
    metrics.map(|metric| metric.label("server", member.id.as_str())).collect()
}

async fn figures(link: &Link) -> Result<[Metric; 4], Fault> {
    let connections = number(link.counter("THREADS_CONNECTED").await?);
    let databases = number(link.count().await?);
    let full = number(link.writable().await?.bounded.len() as u64);
    let statements = number(link.counter("QUESTIONS").await?);
    Ok([
        Metric::gauge("server_connections", "Connections that are open", connections),
        Metric::gauge("server_databases", "Databases of instances", databases),
        Metric::gauge("server_full_databases", "Databases of instances that took all their room", full),
        Metric::counter("server_statements", "Statements since the server started", statements),
    ])
}

#[expect(clippy::cast_precision_loss, reason = "metrics are floating point numbers")]
pub(crate) fn number(value: u64) -> f64 {
    value as f64
}
