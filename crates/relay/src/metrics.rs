//! What the relay counts. Rows are counted when their Kafka transaction has committed.

use metrics::{
    Counter, Gauge, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram,
};

use events::meta::Op;

const ROWS: &str = "pipeline_relay_rows_total";
const SCHEMAS: &str = "pipeline_relay_schemas_registered_total";
const TRANSACTIONS: &str = "pipeline_relay_transactions_total";
const SKIPPED: &str = "pipeline_relay_skipped_rows_total";
const FETCHED: &str = "pipeline_relay_fetched_values_total";
const TRUNCATES: &str = "pipeline_relay_truncates_total";
const RESTARTS: &str = "pipeline_relay_restarts_total";
const COMMIT: &str = "pipeline_relay_commit_seconds";
const LATENCY: &str = "pipeline_relay_latency_seconds";
const LAG_BYTES: &str = "pipeline_relay_lag_bytes";
const RETAINED_BYTES: &str = "pipeline_relay_retained_wal_bytes";
const LAG_SECONDS: &str = "pipeline_relay_lag_seconds";

/// Says in `/metrics` what each metric is.
pub fn describe() {
    describe_counter!(ROWS, "Changes published, by topic and operation (c, u, d, r)");
    describe_counter!(SCHEMAS, "Schemas registered or found in the registry");
    describe_counter!(
        TRANSACTIONS,
        "Transactions: of PostgreSQL published as a whole, and of Kafka committed"
    );
    describe_counter!(SKIPPED, "Changes not published again, by reason (published, snapshot)");
    describe_counter!(FETCHED, "Large values that the stream left out and that were read from the table");
    describe_counter!(TRUNCATES, "TRUNCATEs in the stream, which records with keys can't express");
    describe_counter!(RESTARTS, "Times the relay began again from the published position");
    describe_histogram!(COMMIT, Unit::Seconds, "Duration of a Kafka commit");
    describe_histogram!(
        LATENCY,
        Unit::Seconds,
        "Commit in PostgreSQL to commit in Kafka, of the oldest change of each Kafka transaction"
    );
    describe_gauge!(LAG_BYTES, Unit::Bytes, "WAL between the slot's confirmed position and the end");
    describe_gauge!(RETAINED_BYTES, Unit::Bytes, "WAL that PostgreSQL keeps for the slot");
    describe_gauge!(
        LAG_SECONDS,
        Unit::Seconds,
        "Age of the last change published, 0 if there are none to publish"
    );
}

/// Counters of one table, and what has not been committed yet.
#[derive(Debug)]
pub struct TableMetrics {
    created: Rows,
    updated: Rows,
    deleted: Rows,
    read: Rows,
}

#[derive(Debug)]
struct Rows {
    counter: Counter,
    pending: u64,
}

impl TableMetrics {
    /// Labelled by the table's topic.
    #[must_use]
    pub fn new(topic: &str) -> Self {
        let rows = |op: Op| Rows {
            counter: counter!(ROWS, "topic" => topic.to_owned(), "op" => op.as_str()),
            pending: 0,
        };
        Self {
            created: rows(Op::Create),
            updated: rows(Op::Update),
            deleted: rows(Op::Delete),
            read: rows(Op::Read),
        }
    }

    /// A row was sent.
    pub const fn add(&mut self, op: Op) {
        let rows = match op {
            Op::Create => &mut self.created,
            Op::Update => &mut self.updated,
            Op::Delete => &mut self.deleted,
            Op::Read => &mut self.read,
        };
        rows.pending += 1;
    }

    /// What was sent is committed.
    pub fn commit(&mut self) {
        for rows in [&mut self.created, &mut self.updated, &mut self.deleted, &mut self.read] {
            rows.counter.increment(std::mem::take(&mut rows.pending));
        }
    }

    /// A schema was registered.
    pub fn count_schema(topic: &str) {
        counter!(SCHEMAS, "topic" => topic.to_owned()).increment(1);
    }
}

/// Everything that is not of one table.
#[derive(Debug, Clone)]
pub struct RelayMetrics {
    /// PostgreSQL's transactions, published as a whole.
    pub source_transactions: Counter,
    /// Kafka's transactions, committed.
    pub kafka_transactions: Counter,
    /// Changes at or before the position.
    pub skipped_published: Counter,
    /// Changes that are in the snapshot.
    pub skipped_snapshot: Counter,
    /// Large values read from the table.
    pub fetched: Counter,
    /// `TRUNCATE`s.
    pub truncates: Counter,
    /// New beginnings.
    pub restarts: Counter,
    /// Duration of commits.
    pub commit_seconds: Histogram,
    /// From commit to commit.
    pub latency_seconds: Histogram,
    /// WAL not confirmed.
    pub lag_bytes: Gauge,
    /// WAL kept.
    pub retained_bytes: Gauge,
    /// Age of the last change.
    pub lag_seconds: Gauge,
}

impl Default for RelayMetrics {
    fn default() -> Self {
        Self {
            source_transactions: counter!(TRANSACTIONS, "system" => "postgres"),
            kafka_transactions: counter!(TRANSACTIONS, "system" => "kafka"),
            skipped_published: counter!(SKIPPED, "reason" => "published"),
            skipped_snapshot: counter!(SKIPPED, "reason" => "snapshot"),
            fetched: counter!(FETCHED),
            truncates: counter!(TRUNCATES),
            restarts: counter!(RESTARTS),
            commit_seconds: metrics::histogram!(COMMIT),
            latency_seconds: metrics::histogram!(LATENCY),
            lag_bytes: metrics::gauge!(LAG_BYTES),
            retained_bytes: metrics::gauge!(RETAINED_BYTES),
            lag_seconds: metrics::gauge!(LAG_SECONDS),
        }
    }
}
