//! The engine against a real Docker. Each test has units, images and an instance label of its own,
//! and takes them away when it ends, however it ends.

mod build;
mod harness;
mod life;
mod platforms;
