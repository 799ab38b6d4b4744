//! Waiting between tries, and waiting for what a service needs.

use std::fmt::Display;
use std::time::Duration;

use rand::RngExt as _;
use tokio_util::sync::CancellationToken;

use crate::health::Component;

/// Exponential backoff with jitter: each delay doubles up to `max`, and is drawn from its upper half, so that
/// clients that failed together do not come back together.
#[derive(Debug, Clone)]
pub struct Backoff {
    initial: Duration,
    max: Duration,
    attempt: u32,
}

impl Backoff {
    /// From `initial` on, never above `max`.
    #[must_use]
    pub const fn new(initial: Duration, max: Duration) -> Self {
        Self { initial, max, attempt: 0 }
    }

    /// How long to wait before the next try.
    pub fn next_delay(&mut self) -> Duration {
        let whole = self.initial.saturating_mul(1_u32 << self.attempt.min(20)).min(self.max);
        self.attempt = self.attempt.saturating_add(1);
        whole.mul_f64(rand::rng().random_range(0.5..=1.0))
    }

    /// Delays handed out since the last [`Backoff::reset`].
    #[must_use]
    pub const fn attempts(&self) -> u32 {
        self.attempt
    }

    /// After a success: the next delay is the initial one.
    pub fn reset(&mut self) {
        self.attempt = 0;
    }
}

impl Default for Backoff {
    /// 100 ms to 5 s: for servers that are restarting.
    fn default() -> Self {
        Self::new(Duration::from_millis(100), Duration::from_secs(5))
    }
}

/// Tries until `operation` succeeds, keeping the component's reason up to date. `None` if the shutdown came first.
///
/// For what a service can't start without: it never gives up, since a server that is not up yet is no failure.
pub async fn until_ready<T, E: Display>(
    component: &Component,
    shutdown: &CancellationToken,
    what: &str,
    mut operation: impl AsyncFnMut() -> Result<T, E>,
) -> Option<T> {
    let mut backoff = Backoff::default();
    loop {
        let outcome = tokio::select! {
            () = shutdown.cancelled() => return None,
            outcome = operation() => outcome,
        };
        match outcome {
            Ok(value) => {
                component.ready();
                return Some(value);
            }
            Err(error) => component.waiting(format!("{what}: {error}")),
        }
        tokio::select! {
            () = shutdown.cancelled() => return None,
            () = tokio::time::sleep(backoff.next_delay()) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_to_the_maximum() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        for whole in [100, 200, 400, 800, 1000, 1000] {
            let delay = backoff.next_delay();
            assert!(
                delay >= Duration::from_millis(whole / 2) && delay <= Duration::from_millis(whole),
                "{delay:?}"
            );
        }
        backoff.reset();
        assert!(backoff.next_delay() <= Duration::from_millis(100));
    }

    #[tokio::test]
    async fn goes_on_until_it_succeeds() {
        let health = crate::health::Health::default();
        let (component, shutdown) = (health.component("kafka"), CancellationToken::new());
        let mut tries = 0;
        let done = until_ready(&component, &shutdown, "metadata", async || {
            tries += 1;
            if tries < 3 { Err("refused") } else { Ok(tries) }
        });
        assert_eq!(done.await, Some(3));
        assert!(health.is_ready());
    }

    #[tokio::test]
    async fn stops_at_the_shutdown() {
        let health = crate::health::Health::default();
        let shutdown = CancellationToken::new();
        let component = health.component("kafka");
        let waiting = until_ready(&component, &shutdown, "metadata", async || {
            shutdown.cancel();
            Err::<(), _>("refused")
        });
        assert_eq!(waiting.await, None);
        assert!(!health.is_ready());
    }
}
