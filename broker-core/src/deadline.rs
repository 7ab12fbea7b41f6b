//! How long a call may still take.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::{BrokerError, Result};

/// How long what is no part of a call may take.
const OUTSIDE: Duration = Duration::from_secs(280);

tokio::task_local! {
    /// None where the end is too far away to be a moment.
    static ENDS: Option<Instant>;
}

/// How long the call of the author's that this code is part of may still go on, before it is dropped and counts as one to
/// be repeated (`call_timeout`, SPEC L-14). None outside of a call, and in tasks that the author starts.
#[must_use]
pub fn time_left() -> Option<Duration> {
    ENDS.try_with(|ends| *ends).ok().flatten().map(|ends| ends.saturating_duration_since(Instant::now()))
}

/// Does what takes the longer the more data there is, and gives up when it takes more than such a part of the
/// [time left](time_left): a call that was dropped would begin anew, over and over.
///
/// # Errors
/// Those of the work, and [`Conflict`](BrokerError::Conflict) with a sentence for the owner when there was too much of it.
///
/// ```
/// # use broker_core::{Result, in_time};
/// # async fn copy() -> Result<u64> { Ok(3) }
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<()> {
/// let rows = in_time(0.9, "copying the data", copy()).await?;
/// # assert_eq!(rows, 3);
/// # Ok(()) }
/// ```
pub async fn in_time<T>(part: f32, what: &str, work: impl Future<Output = Result<T>>) -> Result<T> {
    let within = time_left().unwrap_or(OUTSIDE).mul_f32(part.clamp(0.0, 1.0));
    timeout(within, work).await.unwrap_or_else(|_| {
        let seconds = within.as_secs();
        Err(BrokerError::Conflict(format!(
            "{what} takes longer than {seconds} s: make it less, or ask the operator for more time"
        )))
    })
}

/// Runs a call that may take so long.
pub(crate) async fn limited<T>(limit: Duration, call: impl Future<Output = T>) -> T {
    ENDS.scope(Instant::now().checked_add(limit), call).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test] // SPEC L-14
    async fn what_is_left_of_a_call_is_told_within_it_alone() {
        assert_eq!(time_left(), None);
        let limit = Duration::from_secs(9);
        let told = limited(limit, async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            (time_left().unwrap(), tokio::spawn(async { time_left() }).await.unwrap())
        });
        let (left, elsewhere) = told.await;
        assert!(left > Duration::from_secs(4) && left <= limit - Duration::from_millis(20), "{left:?}");
        assert_eq!(elsewhere, None);
        assert_eq!(limited(Duration::MAX, async { time_left() }).await, None, "and no limit is none");
    }

    #[tokio::test] // SPEC L-14
    async fn work_that_does_not_fit_is_given_up_while_there_is_time_to_say_so() {
        let endless = in_time(0.1, "counting the stars", std::future::pending::<Result<()>>());
        let (refusal, left) = limited(Duration::from_secs(2), async { (endless.await, time_left()) }).await;
        let expected = "counting the stars takes longer than 0 s: make it less, or ask the operator for more time";
        assert_eq!(refusal.unwrap_err().to_string(), expected);
        assert!(left > Some(Duration::from_secs(1)), "{left:?}");
    }
}
