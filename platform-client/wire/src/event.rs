//! Events as they travel.

use serde_json::Value;

use crate::{Time, body::body};

body! {
    /// One event of `GET /events`, and `GET /events/{id}` (contract section 14).
    pub struct Event {
        /// 24 hex digits.
        #[serde(rename = "UniqueID")]
        pub unique_id: String,
        /// When it began.
        #[serde(rename = "StartTime")]
        pub start_time: Time,
        /// When it ended; never while it runs.
        #[serde(rename = "EndTime")]
        pub end_time: Time,
        /// When it is forgotten.
        #[serde(rename = "ExpireAt")]
        pub expire_at: Time,
        /// What it is about.
        #[serde(rename = "Target")]
        pub target: EventTarget,
        /// What else it touches.
        #[serde(rename = "ExtraTargets")]
        pub extra_targets: Vec<EventExtraTarget>,
        /// What is done.
        #[serde(rename = "Kind")]
        pub kind: EventKind,
        /// Who does it.
        #[serde(rename = "Owner")]
        pub owner: EventOwner,
        /// From where.
        #[serde(rename = "SourceIP")]
        pub source_ip: String,
        /// Why it failed; empty when it did not.
        #[serde(rename = "Error")]
        pub error: String,
        /// What it printed.
        #[serde(rename = "Log")]
        pub log: String,
        /// The same by lines, when kept so.
        #[serde(rename = "StructuredLog")]
        pub structured_log: Value,
        /// When it last said that it is alive.
        #[serde(rename = "LockUpdateTime")]
        pub lock_update_time: Time,
        /// Who wants it to stop.
        #[serde(rename = "CancelInfo")]
        pub cancel_info: CancelInfo,
        /// Whether it can be asked to stop.
        #[serde(rename = "Cancelable")]
        pub cancelable: bool,
        /// Whether it has not ended.
        #[serde(rename = "Running")]
        pub running: bool,
        /// What was asked, and what came out, as plain JSON; only when one event is asked for.
        #[serde(rename = "CustomData", skip_serializing_if = "EventCustomData::is_empty")]
        pub custom_data: EventCustomData,
    }

    /// What an event is about.
    pub struct EventTarget {
        /// Such as `app` or `service-instance`.
        #[serde(rename = "Type")]
        pub kind: String,
        /// Such as `blog` or `mysql/blogdb`.
        #[serde(rename = "Value")]
        pub value: String,
    }

    /// Something else an event touches.
    pub struct EventExtraTarget {
        /// What.
        #[serde(rename = "Target")]
        pub target: EventTarget,
        /// Whether the event keeps others from it.
        #[serde(rename = "Lock")]
        pub lock: bool,
    }

    /// What is done.
    pub struct EventKind {
        /// `permission` for what users do, `internal` for what the platform does by itself.
        #[serde(rename = "Type")]
        pub kind: String,
        /// Such as `app.deploy`.
        #[serde(rename = "Name")]
        pub name: String,
    }

    /// Who does it.
    pub struct EventOwner {
        /// `user`, `token`, `internal` or `app`.
        #[serde(rename = "Type")]
        pub kind: String,
        /// Such as `alice@example.com`.
        #[serde(rename = "Name")]
        pub name: String,
    }

    /// Who wants an event to stop, and whether it did.
    pub struct CancelInfo {
        /// Who asked.
        #[serde(rename = "Owner")]
        pub owner: String,
        /// When.
        #[serde(rename = "StartTime")]
        pub start_time: Time,
        /// When the event noticed.
        #[serde(rename = "AckTime")]
        pub ack_time: Time,
        /// Why.
        #[serde(rename = "Reason")]
        pub reason: String,
        /// Whether anybody asked.
        #[serde(rename = "Asked")]
        pub asked: bool,
        /// Whether it stopped for that.
        #[serde(rename = "Canceled")]
        pub canceled: bool,
    }

    /// What was asked, and what came out.
    pub struct EventCustomData {
        /// Known when it began.
        #[serde(rename = "Start")]
        pub start: Value,
        /// Known when it ended.
        #[serde(rename = "End")]
        pub end: Value,
        /// Known in between.
        #[serde(rename = "Other")]
        pub other: Value,
    }
}

impl EventCustomData {
    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.start.is_null() && self.end.is_null() && self.other.is_null()
    }
}
