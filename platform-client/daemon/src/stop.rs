//! When a daemon is told to stop.

use tokio::signal::unix::{SignalKind, signal};

/// Returns on SIGTERM or SIGINT.
pub(crate) async fn told_to() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => tracing::info!("told to stop (SIGTERM)"),
        _ = interrupt.recv() => tracing::info!("told to stop (SIGINT)"),
    }
    Ok(())
}
