//! A line in the log now and then, when something happened.

use std::time::{Duration, Instant};

const INTERVAL: Duration = Duration::from_secs(10);

/// What happened since the last line.
#[derive(Debug)]
pub struct Report {
    /// Rows published.
    pub rows: u64,
    /// Transactions of PostgreSQL that were published as a whole.
    pub transactions: u64,
    since: Instant,
}

impl Default for Report {
    fn default() -> Self {
        Self { rows: 0, transactions: 0, since: Instant::now() }
    }
}

impl Report {
    /// Writes the line if it is time and rows were published; `lag_seconds` is the age of the oldest change at hand.
    pub fn log_if_due(&mut self, lag_seconds: f64) {
        if self.since.elapsed() < INTERVAL {
            return;
        }
        if self.rows > 0 {
            tracing::info!(
                rows = self.rows,
                transactions = self.transactions,
                seconds = self.since.elapsed().as_secs(),
                lag_seconds,
                "relayed"
            );
        }
        *self = Self::default();
    }
}
