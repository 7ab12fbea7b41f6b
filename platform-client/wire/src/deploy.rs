//! Deploys as they travel.

use crate::{Time, body::body};

body! {
    /// One deploy of `GET /deploys` (contract section 8.3).
    pub struct Deploy {
        /// 24 hex digits, or empty: anything else fails the stock client's decode.
        #[serde(rename = "ID")]
        pub id: String,
        /// The app.
        #[serde(rename = "App")]
        pub app: String,
        /// When it began.
        #[serde(rename = "Timestamp")]
        pub timestamp: Time,
        /// How long it took, in nanoseconds.
        #[serde(rename = "Duration")]
        pub duration: i64,
        /// The commit that was pushed, when one was.
        #[serde(rename = "Commit")]
        pub commit: String,
        /// Why it failed; empty when it did not.
        #[serde(rename = "Error")]
        pub error: String,
        /// What a rollback takes, `v3`.
        #[serde(rename = "Image")]
        pub image: String,
        /// The version's number.
        #[serde(rename = "Version")]
        pub version: i64,
        /// What it printed; only when one deploy is asked for.
        #[serde(rename = "Log")]
        pub log: String,
        /// Who did it.
        #[serde(rename = "User")]
        pub user: String,
        /// `app-deploy`, `git`, `image`, `rollback`, ...
        #[serde(rename = "Origin")]
        pub origin: String,
        /// Whether one can go back to it.
        #[serde(rename = "CanRollback")]
        pub can_rollback: bool,
        /// What changed.
        #[serde(rename = "Diff")]
        pub diff: String,
        /// What its author said about it.
        #[serde(rename = "Message")]
        pub message: String,
    }
}
