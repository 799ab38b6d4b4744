//! Counting: metrics and the progress line.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, histogram};
use rdkafka::message::Message;
use serde::{Deserialize, Serialize};

use crate::HOP;
use crate::engine::Kind;
use crate::lag::seconds;

/// Observations of the latency that a transaction makes at the most, evenly spread over its records.
const LATENCY_SAMPLES: usize = 32;

/// Explains the metrics to who scrapes them.
pub fn describe() {
    describe_counter!("pipeline_records_total", Unit::Count, "Records committed, by outcome and reason");
    describe_counter!("pipeline_transactions_total", Unit::Count, "Kafka transactions, by outcome");
    describe_histogram!(
        "pipeline_transaction_seconds",
        Unit::Seconds,
        "From begin to commit of a Kafka transaction"
    );
    describe_histogram!(
        "pipeline_end_to_end_latency_seconds",
        Unit::Seconds,
        "From the commit in PostgreSQL until the processed record is readable; up to 32 records of a transaction"
    );
    describe_gauge!(
        "kafka_consumergroup_lag",
        Unit::Count,
        "Records between the committed offset and the stable end"
    );
    describe_gauge!(
        "pipeline_lag_seconds",
        Unit::Seconds,
        "How long ago the records now worked on were committed in PostgreSQL; 0 when there are none"
    );
}

/// Outcomes of one transaction's records.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcomes {
    /// Records written to the target topic.
    pub processed: u64,
    /// Tombstones written to the target topic.
    pub tombstones: u64,
    /// Records that were read before and are dropped.
    pub repeats: u64,
    /// Records written to the dead-letter topic, by [`Kind::as_str`].
    pub dead_letters: BTreeMap<Cow<'static, str>, u64>,
}

impl Outcomes {
    pub(crate) fn processed(&mut self) {
        self.processed += 1;
    }

    pub(crate) fn tombstone(&mut self) {
        self.tombstones += 1;
    }

    pub(crate) fn repeat(&mut self) {
        self.repeats += 1;
    }

    pub(crate) fn dead_letter(&mut self, kind: Kind) {
        *self.dead_letters.entry(Cow::Borrowed(kind.as_str())).or_default() += 1;
    }

    /// Records written to the dead-letter topic.
    #[must_use]
    pub fn rejected(&self) -> u64 {
        self.dead_letters.values().sum()
    }
}

/// Totals of all workers since the start.
#[derive(Debug, Default)]
pub struct Tally {
    processed: AtomicU64,
    tombstones: AtomicU64,
    dead_letters: AtomicU64,
    transactions: AtomicU64,
}

impl Tally {
    /// A transaction was committed.
    /// `latencies` are seconds from the commit in PostgreSQL until now, of some of its records.
    pub fn committed(&self, outcomes: &Outcomes, latencies: &[f64], took: Duration) {
        let dead_letters = outcomes.rejected();
        self.processed.fetch_add(outcomes.processed, Ordering::Relaxed);
        self.tombstones.fetch_add(outcomes.tombstones, Ordering::Relaxed);
        self.dead_letters.fetch_add(dead_letters, Ordering::Relaxed);
        self.transactions.fetch_add(1, Ordering::Relaxed);

        let records_total = |outcome: &'static str, reason: &str, count: u64| {
            if count > 0 {
                let reason = reason.to_owned();
                counter!("pipeline_records_total", "hop" => HOP, "outcome" => outcome, "reason" => reason)
                    .increment(count);
            }
        };
        records_total("processed", "", outcomes.processed);
        records_total("tombstone", "", outcomes.tombstones);
        records_total("repeat", "", outcomes.repeats);
        for (kind, count) in &outcomes.dead_letters {
            records_total("dead_letter", kind, *count);
        }
        transactions("committed");
        histogram!("pipeline_transaction_seconds", "hop" => HOP).record(took);
        let latency = histogram!("pipeline_end_to_end_latency_seconds", "hop" => HOP);
        latencies.iter().for_each(|seconds| latency.record(*seconds));
    }

    /// Logs the totals as one line, unless they are those of the last call.
    pub fn report(&self, last: &mut u64) {
        let processed = self.processed.load(Ordering::Relaxed);
        let tombstones = self.tombstones.load(Ordering::Relaxed);
        let dead_letters = self.dead_letters.load(Ordering::Relaxed);
        let all = processed + tombstones + dead_letters;
        if all == std::mem::replace(last, all) {
            return;
        }
        let transactions = self.transactions.load(Ordering::Relaxed);
        tracing::info!(processed, tombstones, dead_letters, transactions, "progress");
    }
}

/// Seconds from the commit in PostgreSQL of some of these records, evenly spread, until now.
pub fn latencies<M: Message>(records: &[M]) -> Vec<f64> {
    let now = now_ms();
    let some = records.iter().step_by(records.len().div_ceil(LATENCY_SAMPLES).max(1));
    some.filter_map(|record| Some(seconds(now - record.timestamp().to_millis()?))).collect()
}

/// A transaction ended: `committed`, `aborted` or `abandoned`.
pub fn transactions(outcome: &'static str) {
    counter!("pipeline_transactions_total", "hop" => HOP, "outcome" => outcome).increment(1);
}

/// Milliseconds since 1970.
pub fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
