//! What the sink measures. Labels come from closed sets and the configuration; every counter is there, at zero, from
//! the start, and the hot path looks none up.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use metrics::{
    Counter, Gauge, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge,
    histogram,
};

use crate::config::TableConfig;
use crate::failure::Failure;
use crate::poison::Kind;

const RECORDS: &str = "pipeline_sink_records_total";
const DEAD_LETTERS: &str = "pipeline_sink_dead_letters_total";
const WRITES: &str = "pipeline_sink_writes_total";
const BATCHES: &str = "pipeline_sink_batches_total";
const FAILURES: &str = "pipeline_sink_write_failures_total";
const WRITE: &str = "pipeline_sink_write_seconds";
const IN_FLIGHT: &str = "pipeline_sink_in_flight";
const END_TO_END: &str = "pipeline_end_to_end_seconds";
const LAG_SECONDS: &str = "pipeline_sink_lag_seconds";
/// As other exporters name it: people alert on it already.
const GROUP_LAG: &str = "kafka_consumergroup_lag";

/// How a record ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Its rows are written.
    Written,
    /// Its rows are deleted.
    Deleted,
    /// There was nothing to do: a tombstone, whose delete came before it.
    Skipped,
    /// It is in the dead-letter topic.
    DeadLetter,
}

/// Handles to every metric of the writer.
pub struct Metrics {
    records: [Counter; 4],
    writes: Vec<[Counter; 2]>,
    batches: Vec<Counter>,
    write_seconds: Histogram,
    end_to_end_seconds: Histogram,
    in_flight: Gauge,
}

impl Metrics {
    /// Describes and registers everything. To be called once the recorder is installed.
    #[must_use]
    pub fn new(topic: &str, tables: &[TableConfig]) -> Self {
        describe();
        for failure in Failure::ALL {
            counter!(FAILURES, "reason" => failure.as_str()).absolute(0);
        }
        let outcome =
            |outcome: Outcome| counter!(RECORDS, "topic" => topic.to_owned(), "outcome" => outcome.as_str());
        let write = |table: &TableConfig, kind: &'static str| counter!(WRITES, "table" => table.name.clone(), "kind" => kind);
        Self {
            records: Outcome::ALL.map(outcome),
            writes: tables.iter().map(|table| ["upsert", "delete"].map(|kind| write(table, kind))).collect(),
            batches: tables.iter().map(|table| counter!(BATCHES, "table" => table.name.clone())).collect(),
            write_seconds: histogram!(WRITE),
            end_to_end_seconds: histogram!(END_TO_END, "hop" => "cassandra"),
            in_flight: gauge!(IN_FLIGHT),
        }
    }

    /// A record ended; `commit_ts` is its source's, in microseconds since the epoch.
    pub fn ended(&self, outcome: Outcome, commit_ts: Option<i64>) {
        if let Some(counter) = self.records.get(outcome as usize) {
            counter.increment(1);
        }
        if let Some(commit_ts) = commit_ts.and_then(|micros| u64::try_from(micros).ok()) {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            self.end_to_end_seconds.record(now.saturating_sub(Duration::from_micros(commit_ts)));
        }
    }

    /// A statement was executed.
    pub fn wrote(&self, table: usize, is_delete: bool, took: Duration) {
        if let Some(counter) = self.writes.get(table).and_then(|kinds| kinds.get(usize::from(is_delete))) {
            counter.increment(1);
        }
        self.write_seconds.record(took);
    }

    /// Several statements for one partition were executed as one.
    pub fn wrote_batch(&self, table: usize) {
        if let Some(counter) = self.batches.get(table) {
            counter.increment(1);
        }
    }

    /// A try of a statement failed, or one of a batch.
    pub fn failed(&self, failure: Failure) {
        counter!(FAILURES, "reason" => failure.as_str()).increment(1);
    }

    /// Records that are being written.
    pub fn in_flight(&self, records: usize) {
        #[expect(clippy::cast_precision_loss, reason = "the bound of records in flight is far below 2^53")]
        self.in_flight.set(records as f64);
    }
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Self; 4] = [Self::Written, Self::Deleted, Self::Skipped, Self::DeadLetter];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Written => "written",
            Self::Deleted => "deleted",
            Self::Skipped => "skipped",
            Self::DeadLetter => "dead_letter",
        }
    }
}

/// A record is in the dead-letter topic.
pub fn dead_letter(kind: Kind) {
    counter!(DEAD_LETTERS, "kind" => kind.as_str()).increment(1);
}

/// Records behind the end of a partition, and the age of the oldest unwritten one.
#[expect(clippy::cast_precision_loss, reason = "a lag beyond 2^53 records or seconds needs no precision")]
pub fn lag(group: &str, topic: &str, partition: i32, records: Option<i64>, age: Duration) {
    let number = partition.to_string();
    if let Some(records) = records {
        let labels =
            [("consumergroup", group.to_owned()), ("topic", topic.to_owned()), ("partition", number.clone())];
        gauge!(GROUP_LAG, &labels).set(records as f64);
    }
    gauge!(LAG_SECONDS, "topic" => topic.to_owned(), "partition" => number).set(age.as_secs_f64());
}

fn describe() {
    describe_counter!(RECORDS, Unit::Count, "Records that ended, by outcome.");
    describe_counter!(DEAD_LETTERS, Unit::Count, "Records in the dead-letter topic, by kind of error.");
    describe_counter!(WRITES, Unit::Count, "Statements executed, by table and kind.");
    describe_counter!(BATCHES, Unit::Count, "Batches of statements for one partition, by table.");
    describe_counter!(FAILURES, Unit::Count, "Tries of a statement or a batch that failed, by reason.");
    describe_histogram!(
        WRITE,
        Unit::Seconds,
        "One statement, with the wait for its partition, to its answer."
    );
    describe_histogram!(END_TO_END, Unit::Seconds, "From the commit in PostgreSQL to the rows in Cassandra.");
    describe_gauge!(IN_FLIGHT, Unit::Count, "Records that are being written.");
    describe_gauge!(LAG_SECONDS, Unit::Seconds, "Age of the oldest unwritten record, from its commit on.");
    describe_gauge!(GROUP_LAG, Unit::Count, "Records behind the end of the partition.");
}
