//! Waiting for what must become true.

use std::fmt::Debug;
use std::time::{Duration, Instant};

/// For what happens in seconds where nothing else runs. The servers of a test run share few cores.
pub const SOON: Duration = Duration::from_secs(150);
/// How often the condition is looked at.
const PAUSE: Duration = Duration::from_millis(50);

/// Polls until `probe` is `Some`, and gives that.
///
/// # Panics
/// If it is not within the deadline; the message has `what`.
pub async fn until<T>(what: &str, within: Duration, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = probe().await {
            return found;
        }
        assert!(began.elapsed() < within, "not within {within:?}: {what}");
        tokio::time::sleep(PAUSE).await;
    }
}

/// Polls until `probe` gives `expected`.
///
/// # Panics
/// If it does not within the deadline; the message has what it gave last.
pub async fn until_equal<T: PartialEq + Debug>(
    what: &str,
    within: Duration,
    expected: T,
    mut probe: impl AsyncFnMut() -> T,
) {
    let began = Instant::now();
    loop {
        let found = probe().await;
        if found == expected {
            return;
        }
        assert!(began.elapsed() < within, "not within {within:?}: {what}: wanted {expected:?}, is {found:?}");
        tokio::time::sleep(PAUSE).await;
    }
}
