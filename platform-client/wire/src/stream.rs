//! Streams as they travel: progress, and log lines.

use crate::{Time, body::body};

/// Content type of a stream of [`StreamMessage`] lines, and of arrays of [`LogEntry`].
pub const JSON_STREAM: &str = "application/x-json-stream";

/// How the text of a deploy ends when it went well; anything else is a failure (contract section 1.7).
pub const DEPLOY_OK: &str = "\nOK\n";

/// Names the event of a deploy, 24 hex digits; sent before the body.
pub const EVENT_ID_HEADER: &str = "X-Tsuru-Eventid";

/// How much the caller wants to be told: `0`, `1` or `2`.
pub const VERBOSITY_HEADER: &str = "X-Tsuru-Verbosity";

body! {
    /// One line of a progress stream (contract section 1.6).
    pub struct StreamMessage {
        /// Printed as it is; brings its own line breaks.
        #[serde(rename = "Message", alias = "message")]
        pub message: String,
        /// When it was said; never for output of the app's own.
        #[serde(rename = "Timestamp", alias = "timestamp", skip_serializing_if = "Time::is_never")]
        pub timestamp: Time,
        /// Why the operation failed. Ends the stream.
        #[serde(rename = "Error", alias = "error", skip_serializing_if = "String::is_empty")]
        pub error: String,
    }

    /// A log line (contract section 7.9). It travels in an array, never alone.
    pub struct LogEntry {
        /// When it was written.
        #[serde(rename = "Date")]
        pub date: Time,
        /// The line, without its break.
        #[serde(rename = "Message")]
        pub message: String,
        /// The process that wrote it; `tsuru` for the platform itself.
        #[serde(rename = "Source")]
        pub source: String,
        /// The app.
        #[serde(rename = "Name")]
        pub name: String,
        /// `app`.
        #[serde(rename = "Type")]
        pub kind: String,
        /// The unit that wrote it; `api` for the platform itself.
        #[serde(rename = "Unit")]
        pub unit: String,
    }
}
