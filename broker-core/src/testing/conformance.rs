//! The cases of the contract, for an author's own `cargo test`.

use std::time::Duration;

use crate::{
    Secret,
    conformance::{Options, Run, cases},
};

pub use crate::conformance::{Report, Variables};

/// A broker that is up, and how to reach it.
#[derive(Clone, Debug)]
pub struct Target<'a> {
    /// Its base URL, without a slash at its end.
    pub url: &'a str,
    /// The user name it accepts.
    pub username: &'a str,
    /// The password it accepts.
    pub password: &'a str,
    /// One of its plans.
    pub plan: &'a str,
}

/// Runs the cases. `opens` tries a bind's variables on the service itself. For cases that need to know
/// more of a broker, see [`Run`].
///
/// # Panics
/// When the broker does not answer at all.
pub async fn conformance(target: &Target<'_>, opens: impl AsyncFn(&Variables) -> bool) -> Report {
    let mut options = Options::new(target.url, target.username, Secret::from(target.password));
    options.plan = Some(target.plan.to_owned());
    options.timeout = Duration::from_secs(60);
    let run = Run::new(options, &opens).await.unwrap_or_else(|error| panic!("{error}"));
    run.cases(&cases(), |_| ()).await
}
