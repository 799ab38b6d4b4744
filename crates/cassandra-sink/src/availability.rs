//! Whether Cassandra takes writes, for `/readyz`, for the log, and for the writes that wait for it.

use std::cell::Cell;
use std::fmt::Display;
use std::time::{Duration, Instant};

use service::health::Component;
use service::retry::Backoff;
use tokio::sync::Notify;

use crate::offsets::Offsets;

/// Failures in a row after which a write counts as waiting: one that succeeds at the second or third try is not
/// worth a line in the log.
const TRIES_BEFORE_WAITING: u32 = 3;

/// How often what is waited for may change its name.
const REASON_INTERVAL: Duration = Duration::from_secs(1);

/// How often a failure that lasts is logged.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Used on the writer's thread only.
#[derive(Debug)]
pub struct Availability {
    component: Component,
    away: Cell<bool>,
    back: Notify,
    reason_at: Cell<Option<Instant>>,
    logged_at: Cell<Option<Instant>>,
}

impl Availability {
    /// Reports to this component.
    #[must_use]
    pub fn new(component: Component) -> Self {
        Self {
            component,
            away: Cell::new(false),
            back: Notify::new(),
            reason_at: Cell::default(),
            logged_at: Cell::default(),
        }
    }

    /// A node answered: whoever waits tries again at once.
    pub fn answered(&self) {
        if self.away.replace(false) {
            self.component.ready();
            self.back.notify_waiters();
        }
    }

    /// Something failed and will be tried again. `reason` is of a closed set or short; `error` goes to the log now and
    /// then.
    pub fn failed(&self, reason: &str, error: &dyn Display, backoff: &Backoff) {
        if self.logged_at.get().is_none_or(|last| last.elapsed() >= LOG_INTERVAL) {
            self.logged_at.set(Some(Instant::now()));
            tracing::warn!(reason, %error, "Cassandra failed, trying again");
        }
        if backoff.attempts() >= TRIES_BEFORE_WAITING && self.reason_may_change() {
            self.component.waiting(reason);
        }
    }

    /// Writes that fail side by side for different reasons must not fill the log with each in turn.
    fn reason_may_change(&self) -> bool {
        let was_away = self.away.replace(true);
        let may = !was_away || self.reason_at.get().is_none_or(|last| last.elapsed() >= REASON_INTERVAL);
        if may {
            self.reason_at.set(Some(Instant::now()));
        }
        may
    }

    /// Waits for the next try: until the delay is over, a node answered somebody else, or partitions are given up.
    pub async fn pause(&self, backoff: &mut Backoff, offsets: &Offsets) {
        tokio::select! {
            () = tokio::time::sleep(backoff.next_delay()) => {}
            () = self.back.notified() => {}
            () = offsets.given_up.notified() => {}
        }
    }
}
