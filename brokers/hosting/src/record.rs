//! What is remembered of a server, in `server.json` in its folder.

use std::{fs, io, path::Path};

use serde::{Deserialize, Serialize};

use crate::{HostError, error::At as _, files, process::Identity};

/// Written before a port is used and after a process is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// The port, for as long as the server exists once it was `known`.
    pub(crate) port: u16,
    /// Whether the server was ready under this port before: somebody may know its address.
    pub(crate) known: bool,
    /// Whether it runs in a container; written before one is made.
    #[serde(default)]
    pub(crate) contained: bool,
    /// The process that was started last.
    pub(crate) process: Option<Identity>,
}

impl Record {
    pub(crate) fn read(path: &Path) -> Result<Option<Self>, HostError> {
        match fs::read(path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(io::Error::from).at(path),
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(other) => Err(other).at(path),
        }
    }

    pub(crate) fn write(&self, path: &Path) -> Result<(), HostError> {
        let bytes = serde_json::to_vec_pretty(self).map_err(io::Error::from).at(path)?;
        files::replace(path, &bytes, None).at(path)
    }
}
