//! What Docker says by itself.

use std::{collections::HashMap, pin::Pin, time::Duration};

use bollard::{errors::Error as Failure, models::EventMessage, query_parameters::EventsOptionsBuilder};
use chrono::Utc;
use futures::{Stream, StreamExt, stream};

use crate::{
    client::Client,
    unit::{INSTANCE, ROLE},
};

/// Something that may have changed what there is.
pub(crate) enum Change {
    /// Something happened to a unit's container.
    Unit {
        /// The container's identifier.
        container: String,
        /// What, in Docker's word.
        action: String,
        /// The container's labels.
        labels: HashMap<String, String>,
    },
    /// The connection was lost for a while: anything may have changed.
    Anything,
}

/// What makes a difference. Docker tells of every command that is run in a container, too.
const ACTIONS: [&str; 8] = ["create", "start", "die", "oom", "pause", "unpause", "update", "destroy"];
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

type Messages = Pin<Box<dyn Stream<Item = Result<EventMessage, Failure>> + Send>>;

struct Watch {
    client: Client,
    filters: HashMap<String, Vec<String>>,
    messages: Option<Messages>,
    /// From when on; Docker tells what has happened since, so nothing falls between two connections.
    since: i64,
    pause: Duration,
}

/// What happens to this platform's units from the call on, or to one app's. Never ends.
pub(crate) fn watch(client: &Client, more_labels: &[String]) -> impl Stream<Item = Change> + Send + use<> {
    let mut labels = vec![format!("{INSTANCE}={}", client.config.instance), format!("{ROLE}=unit")];
    labels.extend_from_slice(more_labels);
    let filters = [
        ("type".to_owned(), vec!["container".to_owned()]),
        ("label".to_owned(), labels),
        ("event".to_owned(), ACTIONS.map(str::to_owned).to_vec()),
    ];
    let mut watch = Watch {
        client: client.clone(),
        filters: filters.into(),
        messages: None,
        since: Utc::now().timestamp(),
        pause: Duration::from_millis(100),
    };
    watch.listen();
    stream::unfold(watch, |mut watch| async move { Some((watch.next().await, watch)) })
}

impl Watch {
    fn listen(&mut self) {
        let options = EventsOptionsBuilder::default().since(&self.since.to_string()).filters(&self.filters).build();
        self.messages = Some(Box::pin(self.client.docker.events(Some(options))));
    }

    async fn next(&mut self) -> Change {
        loop {
            let Some(messages) = &mut self.messages else {
                self.reconnect().await;
                return Change::Anything;
            };
            match messages.next().await {
                Some(Ok(message)) => {
                    self.pause = Duration::from_millis(100);
                    self.since = message.time.unwrap_or(self.since);
                    if let Some(change) = change(message) {
                        return change;
                    }
                }
                Some(Err(failure)) => {
                    tracing::warn!(error = %failure, "lost Docker's events, connecting again");
                    self.messages = None;
                }
                None => self.messages = None,
            }
        }
    }

    async fn reconnect(&mut self) {
        loop {
            tokio::time::sleep(self.pause).await;
            self.pause = (self.pause * 2).min(LONGEST_PAUSE);
            if self.client.docker.ping().await.is_ok() {
                self.listen();
                return;
            }
        }
    }
}

fn change(message: EventMessage) -> Option<Change> {
    let actor = message.actor?;
    Some(Change::Unit { container: actor.id?, action: message.action?, labels: actor.attributes? })
}
