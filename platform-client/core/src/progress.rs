//! What an operation tells its user while it runs.

use std::sync::{Arc, Mutex};

use tokio::sync::mpsc;

/// Lines for the user who waits, kept for the event's log as well.
///
/// The user may go away: the operation goes on, and the log still gets everything.
#[derive(Clone, Debug)]
pub struct Progress {
    listener: Option<mpsc::UnboundedSender<String>>,
    log: Arc<Mutex<String>>,
}

impl Progress {
    /// Progress that somebody reads.
    #[must_use]
    pub fn channel() -> (Self, mpsc::UnboundedReceiver<String>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self { listener: Some(sender), log: Arc::default() }, receiver)
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
        const KEPT: usize = 1 << 20;
        let mut log = self.log.lock().expect("no holder of the log panics");
        if log.len() < KEPT {
            log.push_str(&text);
        }
        drop(log);
        if let Some(listener) = &self.listener {
            // The user went away: the log has the text.
            let _gone = listener.send(text);
        }
    }

    /// Everything told so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.log.lock().expect("no holder of the log panics").clone()
    }
}
