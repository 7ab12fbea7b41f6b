//! What the daemon says about itself, on standard error.

use std::io::IsTerminal as _;

use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::{
    EnvFilter, Layer as _, filter::filter_fn, fmt::MakeWriter, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};

/// Logs to standard error from here on; `RUST_LOG` says what.
pub(crate) fn begin() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,hyper=warn"));
    subscriber(filter, std::io::stderr().is_terminal(), std::io::stderr).init();
}

fn subscriber<W>(filter: EnvFilter, ansi: bool, writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let lines = tracing_subscriber::fmt::layer().with_ansi(ansi).with_writer(writer);
    tracing_subscriber::registry().with(lines.with_filter(filter_fn(is_safe))).with(filter)
}

/// The Docker client writes the bodies of its requests to its finer logs, and with them the variables
/// of units and builds: no setting lets that through (SPEC S-5).
fn is_safe(about: &Metadata<'_>) -> bool {
    !about.target().starts_with("bollard") || *about.level() <= Level::WARN
}

#[cfg(test)]
mod tests {
    use std::{
        io::{self, Write},
        sync::{Arc, Mutex},
    };

    use super::*;

    #[derive(Clone, Default)]
    struct Said(Arc<Mutex<Vec<u8>>>);

    impl Write for Said {
        fn write(&mut self, text: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(text)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test] // SPEC S-5
    fn bodies_of_docker_requests_are_not_logged_whatever_is_asked_for() {
        let said = Said::default();
        let writer = said.clone();
        let subscriber = subscriber(EnvFilter::new("trace,bollard::docker=trace"), false, move || writer.clone());

        tracing::subscriber::with_default(subscriber, || {
            tracing::debug!(target: "bollard::docker", "body: hunter2");
            tracing::warn!(target: "bollard::docker", "it is slow");
            tracing::debug!("this is ours");
        });

        let said = String::from_utf8(said.0.lock().unwrap().clone()).unwrap();
        assert!(!said.contains("hunter2"), "{said}");
        assert!(said.contains("it is slow") && said.contains("this is ours"), "{said}");
    }
}
