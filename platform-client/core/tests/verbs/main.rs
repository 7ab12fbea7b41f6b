//! The platform's verbs on in-memory ports, a file for each chapter of the story.

mod bind;
mod deploy;
mod harness;
mod repair;
