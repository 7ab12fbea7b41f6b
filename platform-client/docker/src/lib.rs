//! Where units run: the platform's engine over the Docker API.
//!
//! [`DockerEngine`] is an adapter of [`platform_core::ports::Engine`]. A unit is a container whose
//! name and labels say all that is known about it, so that nothing has to be remembered here: a
//! process that starts anew finds every unit again. An image is a platform's image, a layer of
//! dependencies that apps share while the files that name them are equal, and a layer of source.

mod archive;
mod build;
mod client;
mod config;
mod dependencies;
mod engine;
mod events;
mod image;
mod logs;
mod ready;
mod text;
mod undo;
mod unit;
mod workshop;

pub use config::{BuildSettings, DockerConfig};
pub use engine::DockerEngine;
