//! The cases of both dialects, for an author's own `cargo test`.

use std::time::Duration;

use super::{PASSWORD, USERNAME};
use crate::{
    Secret,
    conformance::{Dialect, Options, Run, cases},
};

pub use crate::conformance::{Report, Variables};

/// A broker that is up, and how to reach it.
#[derive(Clone, Debug)]
#[non_exhaustive]
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

impl<'a> Target<'a> {
    /// A broker at this URL that accepts what a [`TestBroker`](super::TestBroker) does, and has this plan.
    #[must_use]
    pub fn new(url: &'a str, plan: &'a str) -> Self {
        Self { url, username: USERNAME, password: PASSWORD, plan }
    }

    /// Accepts another user name and password.
    #[must_use]
    pub fn accepting(mut self, username: &'a str, password: &'a str) -> Self {
        (self.username, self.password) = (username, password);
        self
    }

    /// What a checker may know about it; the rest can be added.
    #[must_use]
    pub fn options(&self) -> Options {
        let mut options = Options::new(self.url, self.username, Secret::from(self.password));
        options.plan = Some(self.plan.to_owned());
        options.timeout = Duration::from_secs(60);
        options
    }
}

/// Runs the cases of both dialects. `opens` tries a bind's variables on the service itself; those of the Open Service
/// Broker dialect are its credentials. For cases that need to know more of a broker, see [`Run`] and [`Target::options`].
///
/// ```
/// use broker_core::testing::{FakeBroker, Target, TestBroker, conformance};
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let fake = FakeBroker::new();
/// let broker = TestBroker::start(fake.clone()).await;
/// let url = broker.url();
/// let target = Target::new(&url, "small");
///
/// let report = conformance(&target, async |env| fake.opens(env)).await;
///
/// report.is_clean();
/// # });
/// ```
///
/// # Panics
/// When the broker does not answer at all.
pub async fn conformance(target: &Target<'_>, opens: impl AsyncFn(&Variables) -> bool) -> Report {
    let run = Run::new(target.options(), &opens).await.unwrap_or_else(|error| panic!("{error}"));
    run.cases(&cases(), |_| ()).await
}

/// Runs the cases of one dialect, for a broker that speaks no other.
///
/// # Panics
/// When the broker does not answer at all.
pub async fn conformance_in(dialect: Dialect, target: &Target<'_>, opens: impl AsyncFn(&Variables) -> bool) -> Report {
    let run = Run::new(target.options(), &opens).await.unwrap_or_else(|error| panic!("{error}"));
    run.cases(&dialect.cases(), |_| ()).await
}
