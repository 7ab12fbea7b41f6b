//! What an operation tells its user while it runs.

use std::sync::{Arc, Mutex};

use tokio::sync::mpsc;

/// Bytes of text that are kept for an event's log.
const KEPT: usize = 1 << 20;
/// Bytes of text that wait for a listener.
const WAITING: usize = 4 << 20;
/// Stands where text is left out.
const LEFT_OUT: &str = "\n[output is left out here: it came faster than it was read]\n";

/// Lines for the user who waits, kept for the event's log as well.
///
/// The user may go away: the operation goes on, and the log still gets everything. Of what a user does
/// not read, a few megabytes wait (SPEC P-12).
#[derive(Clone, Debug)]
pub struct Progress {
    listener: Option<Voice>,
    log: Arc<Mutex<String>>,
}

impl Progress {
    /// Progress that somebody reads.
    #[must_use]
    pub fn channel() -> (Self, Told) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let backlog = Arc::<Mutex<Backlog>>::default();
        let voice = Voice { sender, backlog: Arc::clone(&backlog) };
        (Self { listener: Some(voice), log: Arc::default() }, Told { receiver, backlog })
    }

    /// Progress that only the log keeps.
    #[must_use]
    pub fn silent() -> Self {
        Self { listener: None, log: Arc::default() }
    }

    /// Tells a line; the line break is added.
    pub fn line(&self, text: impl AsRef<str>) {
        self.raw(format!("{}\n", text.as_ref()));
    }

    /// Tells a section, as clients know to set it off: `---- text ----`.
    pub fn section(&self, text: impl AsRef<str>) {
        self.line(format!("---- {} ----", text.as_ref()));
    }

    /// Tells a step within a section: ` ---> text`.
    pub fn step(&self, text: impl AsRef<str>) {
        self.line(format!(" ---> {}", text.as_ref()));
    }

    /// Passes on text as it is, such as a build's output.
    pub fn raw(&self, text: String) {
        let mut log = self.log.lock().expect("no holder of the log panics");
        if log.len() < KEPT {
            log.push_str(&text);
        }
        drop(log);
        if let Some(listener) = &self.listener {
            listener.say(text);
        }
    }

    /// Everything told so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.log.lock().expect("no holder of the log panics").clone()
    }
}

/// Text that was told and not read yet.
#[derive(Debug, Default)]
struct Backlog {
    bytes: usize,
    leaves_out: bool,
}

#[derive(Clone, Debug)]
struct Voice {
    sender: mpsc::UnboundedSender<String>,
    backlog: Arc<Mutex<Backlog>>,
}

impl Voice {
    fn say(&self, text: String) {
        let mut backlog = self.backlog.lock().expect("no holder of the backlog panics");
        let fits = backlog.bytes + text.len() <= WAITING;
        let text = match (fits, backlog.leaves_out) {
            (true, _) => text,
            (false, false) => LEFT_OUT.to_owned(),
            (false, true) => return,
        };
        backlog.leaves_out = !fits;
        backlog.bytes += text.len();
        // The user went away: the log has the text.
        let _gone = self.sender.send(text);
    }
}

/// What is told to a user, as it comes.
#[derive(Debug)]
pub struct Told {
    receiver: mpsc::UnboundedReceiver<String>,
    backlog: Arc<Mutex<Backlog>>,
}

impl Told {
    /// The next text; none when no more will come. Nothing is lost when this is dropped half-way.
    pub async fn recv(&mut self) -> Option<String> {
        let text = self.receiver.recv().await;
        self.read(text)
    }

    /// The next text if there is one already.
    pub fn try_recv(&mut self) -> Option<String> {
        let text = self.receiver.try_recv().ok();
        self.read(text)
    }

    fn read(&self, text: Option<String>) -> Option<String> {
        let read = text.as_ref().map_or(0, String::len);
        let mut backlog = self.backlog.lock().expect("no holder of the backlog panics");
        backlog.bytes = backlog.bytes.saturating_sub(read);
        drop(backlog);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test] // SPEC P-12
    async fn a_listener_who_does_not_read_costs_a_few_megabytes_and_is_told_what_is_missing() {
        let (progress, mut told) = Progress::channel();
        let megabyte = "x".repeat(1 << 20);

        (0..50).for_each(|_| progress.raw(megabyte.clone()));
        let mut heard = Vec::new();
        while let Some(text) = told.try_recv() {
            heard.push(text);
        }
        progress.line("read again");

        assert_eq!(heard.len(), 5);
        assert_eq!(heard[4], LEFT_OUT);
        assert_eq!(told.recv().await.as_deref(), Some("read again\n"));
    }
}
