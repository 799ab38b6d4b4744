//! Whether anything still comes through the replication connection.
//!
//! A connection that carries bytes in one direction only, or in none, looks like an idle stream. PostgreSQL frees the
//! slot of a relay that it does not hear; where the relay does not hear PostgreSQL, nobody else notices, since its own
//! reports still arrive. So the monitor's heartbeats are looked for in the stream: one that PostgreSQL says to have
//! sent and that does not come is proof. That it was sent matters, since a server that decodes a large transaction
//! sends nothing for long and is well.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::error::RelayError;

/// Prefix of the heartbeats in the WAL.
pub const PREFIX: &str = "pipeline.heartbeat";

/// What monitor and stream know of the heartbeats of one session.
#[derive(Debug)]
pub struct Pulse {
    session: String,
    patience: Duration,
    /// The last heartbeat that PostgreSQL has sent.
    sent: AtomicU64,
    /// The last one that came.
    arrived: AtomicU64,
    /// The server has not answered the monitor for longer than patience.
    unseen: AtomicBool,
}

impl Pulse {
    /// Of the session with this name. For `patience` the stream may be silent.
    #[must_use]
    pub const fn new(session: String, patience: Duration) -> Self {
        Self {
            session,
            patience,
            sent: AtomicU64::new(0),
            arrived: AtomicU64::new(0),
            unseen: AtomicBool::new(false),
        }
    }

    /// How long the stream may be silent.
    #[must_use]
    pub const fn patience(&self) -> Duration {
        self.patience
    }

    /// The content of a heartbeat; numbers count from 1.
    #[must_use]
    pub fn content(&self, number: u64) -> String {
        format!("{}/{number}", self.session)
    }

    /// PostgreSQL has sent the heartbeat of this number.
    pub fn sent(&self, number: u64) {
        self.sent.fetch_max(number, Ordering::Relaxed);
    }

    /// Whether the server answers the monitor.
    pub fn seen(&self, seen: bool) {
        self.unseen.store(!seen, Ordering::Relaxed);
    }

    /// A heartbeat came, perhaps one of another session.
    pub fn arrived(&self, content: &[u8]) {
        let number = std::str::from_utf8(content)
            .ok()
            .and_then(|content| content.strip_prefix(self.session.as_str())?.strip_prefix('/')?.parse().ok());
        if let Some(number) = number {
            self.arrived.fetch_max(number, Ordering::Relaxed);
        }
    }

    /// Takes stock of a stream that has been silent for so long.
    ///
    /// # Errors
    /// The connection is dead.
    pub fn check(&self, silent: Duration) -> Result<(), RelayError> {
        let lost = self.sent.load(Ordering::Relaxed) > self.arrived.load(Ordering::Relaxed);
        if silent >= self.patience && (lost || self.unseen.load(Ordering::Relaxed)) {
            return Err(RelayError::Silent { seconds: silent.as_secs() });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heartbeat_that_was_sent_and_does_not_come_ends_the_stream_after_patience() {
        let (short, long) = (Duration::from_secs(9), Duration::from_secs(10));
        let pulse = Pulse::new("a".to_owned(), long);
        assert!(pulse.check(Duration::from_secs(1000)).is_ok(), "nothing was sent");
        pulse.sent(3);
        for other in [&b"b/3"[..], b"a3", b"a/x", b"a/2", b"\xff"] {
            pulse.arrived(other);
        }
        assert!(pulse.check(short).is_ok() && pulse.check(long).is_err());
        pulse.arrived(pulse.content(3).as_bytes());
        assert!(pulse.check(long).is_ok());
        pulse.seen(false);
        assert!(pulse.check(short).is_ok() && pulse.check(long).is_err());
        pulse.seen(true);
        assert!(pulse.check(long).is_ok());
    }
}
