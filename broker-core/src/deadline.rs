//! How long a call may still take.

use std::time::Duration;

use tokio::time::Instant;

tokio::task_local! {
    static ENDS: Instant;
}

/// How long the call of the author's that this code is part of may still go on, before it is dropped and counts as one to
/// be repeated (`call_timeout`). What can't be done in that time is better given up before, with an error that says so. None
/// outside of a call, and in tasks that the author starts.
///
/// ```
/// # use std::time::Duration;
/// # async fn copy() {}
/// # async fn example() -> broker_core::Result<()> {
/// let time = broker_core::time_left().unwrap_or(Duration::from_secs(240)) / 10 * 9;
/// let late = |_| broker_core::BrokerError::Conflict("the data is too large to be copied in time".to_owned());
/// tokio::time::timeout(time, copy()).await.map_err(late)
/// # }
/// ```
#[must_use]
pub fn time_left() -> Option<Duration> {
    ENDS.try_with(|ends| ends.saturating_duration_since(Instant::now())).ok()
}

/// Runs a call that may take so long.
pub(crate) async fn limited<T>(limit: Duration, call: impl Future<Output = T>) -> T {
    ENDS.scope(Instant::now() + limit, call).await
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
    }
}
