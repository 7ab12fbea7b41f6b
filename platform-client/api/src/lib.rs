//! The tsuru-compatible HTTP API.
