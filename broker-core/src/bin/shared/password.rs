//! The broker's password, as the programs that call brokers are given it: never on the command line.

use std::path::Path;

use broker_core::Secret;

/// Of a file, or of the environment.
pub(crate) fn read(file: Option<&Path>) -> Result<Secret, String> {
    let text = match file {
        Some(file) => std::fs::read_to_string(file)
            .map_err(|error| format!("cannot read the password from {}: {error}", file.display()))?,
        None => std::env::var("BROKER_PASSWORD")
            .map_err(|_| "there is no password: set BROKER_PASSWORD, or give --password-file".to_owned())?,
    };
    Ok(Secret::from(text.trim_end_matches(['\r', '\n'])))
}
