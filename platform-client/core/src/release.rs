//! An immutable version of an app: its image and how to run it.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::{EventId, Hooks, Process, process::main_process};

/// Where a deploy's code came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// `tsuru app deploy`.
    AppDeploy,
    /// `git push`.
    Git,
    /// An older version again.
    Rollback,
    /// A drop in a browser.
    DragAndDrop,
    /// A ready image.
    Image,
    /// The same source again.
    Rebuild,
}

impl Origin {
    /// As the wire spells it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AppDeploy => "app-deploy",
            Self::Git => "git",
            Self::Rollback => "rollback",
            Self::DragAndDrop => "drag-and-drop",
            Self::Image => "image",
            Self::Rebuild => "rebuild",
        }
    }

    /// From the wire's spelling.
    #[must_use]
    pub fn from_wire(text: &str) -> Option<Self> {
        [Self::AppDeploy, Self::Git, Self::Rollback, Self::DragAndDrop, Self::Image, Self::Rebuild]
            .into_iter()
            .find(|origin| origin.as_str() == text)
    }
}

/// A version that was built and can run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// Its number within the app.
    pub version: u32,
    /// The engine's image.
    pub image: String,
    /// Its processes, by name.
    pub processes: Vec<Process>,
    /// Its hooks.
    pub hooks: Hooks,
    /// The deploy that made it.
    pub event: EventId,
    /// Where its code came from.
    pub origin: Origin,
    /// The commit that was pushed; empty unless it came by git.
    pub commit: String,
    /// When it was built.
    pub at: DateTime<Utc>,
}

impl Release {
    /// The process that answers requests (SPEC A-9).
    #[must_use]
    pub fn main_process(&self) -> Option<&Process> {
        main_process(&self.processes)
    }
}
