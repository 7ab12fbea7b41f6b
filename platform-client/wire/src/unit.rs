//! Units as they travel.

use chrono::{DateTime, Utc};

use crate::body::body;

body! {
    /// A unit of an app (contract section 16.2).
    pub struct Unit {
        /// Its identifier. A unit without one is not shown.
        #[serde(rename = "ID")]
        pub id: String,
        /// Its name: the same as the identifier here.
        #[serde(rename = "Name")]
        pub name: String,
        /// The app it belongs to.
        #[serde(rename = "AppName")]
        pub app_name: String,
        /// The process it runs.
        #[serde(rename = "ProcessName")]
        pub process_name: String,
        /// The app's platform.
        #[serde(rename = "Type")]
        pub kind: String,
        /// Where it listens, without the port.
        #[serde(rename = "IP")]
        pub ip: String,
        /// Where it listens as seen from inside the platform.
        #[serde(rename = "InternalIP")]
        pub internal_ip: String,
        /// One of the words of contract section 18.8.
        #[serde(rename = "Status")]
        pub status: String,
        /// Why it has that status.
        #[serde(rename = "StatusReason")]
        pub status_reason: String,
        /// Where it listens. An object, never a string: a string fails the stock client's whole decode.
        #[serde(rename = "Address")]
        pub address: Option<Url>,
        /// Where it listens, when at several places; wins over `address`.
        #[serde(rename = "Addresses")]
        pub addresses: Vec<Url>,
        /// The version it runs; 0 is not shown.
        #[serde(rename = "Version")]
        pub version: i64,
        /// Whether the router may send it requests.
        #[serde(rename = "Routable")]
        pub routable: bool,
        /// How often it was started again.
        #[serde(rename = "Restarts")]
        pub restarts: Option<i64>,
        /// When it was made.
        #[serde(rename = "CreatedAt")]
        pub created_at: Option<DateTime<Utc>>,
        /// Whether it answers; shown as `ready` instead of the status.
        #[serde(rename = "Ready")]
        pub ready: Option<bool>,
    }

    /// A URL taken apart, the way the stock client's language writes one.
    pub struct Url {
        /// Such as `http`.
        #[serde(rename = "Scheme")]
        pub scheme: String,
        /// Host and port, `10.0.0.7:8888`.
        #[serde(rename = "Host")]
        pub host: String,
        /// Path, if there is one.
        #[serde(rename = "Path", skip_serializing_if = "String::is_empty")]
        pub path: String,
    }
}

impl Url {
    /// An `http` URL of a host and port.
    #[must_use]
    pub fn http(host: impl ToString) -> Self {
        Self { scheme: "http".to_owned(), host: host.to_string(), path: String::new() }
    }
}
