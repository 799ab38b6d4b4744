//! How far Spark's job is behind, and how much comes in: the processor's own metrics, and Spark's.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use metrics::{Unit, describe_gauge, gauge};
use rdkafka::consumer::Consumer as _;
use serde::Deserialize;
use serde_json::Value;
use stream_processor::HOP;
use stream_processor::config::Settings;

use crate::job::Shared;
use crate::partition::Report;

/// Between two measurements of the lag.
const INTERVAL: Duration = Duration::from_secs(2);
/// Measurements between two lines of the log.
const LINES: u32 = 5;
/// Bound of one question to the brokers.
const QUESTION: Duration = Duration::from_secs(5);

const INPUT: &str = "pipeline_spark_input_records_per_second";
const BATCH: &str = "pipeline_spark_batch";

/// Explains the metrics that only Spark's job has.
pub(crate) fn describe() {
    describe_gauge!(
        INPUT,
        Unit::Count,
        "Records that came in each second, as Spark has it of its last batch"
    );
    describe_gauge!(BATCH, Unit::Count, "Number of Spark's last batch, from 0 at each start");
}

/// What is known of the positions.
pub(crate) struct Watched {
    group: String,
    topic: String,
    /// Up to where Spark has read, by partition.
    read: Mutex<BTreeMap<i32, i64>>,
}

/// Of Spark's `StreamingQueryProgress`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Progress {
    batch_id: i64,
    #[serde(default)]
    input_rows_per_second: Option<f64>,
    sources: Vec<Source>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Source {
    #[serde(default)]
    end_offset: Value,
}

impl Source {
    /// End of each partition of the topic. Python's objects have it as JSON within JSON.
    fn ends(self, topic: &str) -> Option<BTreeMap<String, i64>> {
        let all = match self.end_offset {
            Value::String(text) => serde_json::from_str(&text).ok()?,
            other => other,
        };
        serde_json::from_value(all.get(topic)?.clone()).ok()
    }
}

impl Watched {
    pub(crate) fn new(settings: &Settings) -> Self {
        let config = &settings.processor;
        Self { group: config.group.clone(), topic: config.source_topic.clone(), read: Mutex::default() }
    }

    /// Spark begins here.
    pub(crate) fn begin(&self, partition: i32, offset: i64) {
        self.read().insert(partition, offset);
    }

    /// Takes in what Spark says of its last batch.
    pub(crate) fn progress(&self, json: &str) {
        // Another release of Spark may say it otherwise; nothing but the display depends on it.
        let Ok(progress) = serde_json::from_str::<Progress>(json) else { return };
        gauge!(INPUT, "hop" => HOP).set(progress.input_rows_per_second.unwrap_or_default());
        // Exact up to 2^53 batches.
        #[expect(clippy::cast_precision_loss)]
        gauge!(BATCH, "hop" => HOP).set(progress.batch_id as f64);
        let ends = progress.sources.into_iter().filter_map(|source| source.ends(&self.topic));
        for (partition, end) in ends.flatten() {
            if let Ok(partition) = partition.parse() {
                self.read().insert(partition, end);
            }
        }
    }

    /// The age of what a task has worked on.
    pub(crate) fn late(&self, report: &Report) {
        let all = report.transactions.iter().flat_map(|done| &done.latencies);
        if let Some(oldest) = all.copied().reduce(f64::max) {
            self.show_late(report.partition, oldest);
        }
    }

    fn show_late(&self, partition: i32, seconds: f64) {
        gauge!("pipeline_lag_seconds", "hop" => HOP, "topic" => self.topic.clone(), "partition" => partition.to_string())
            .set(seconds);
    }

    fn measure(&self, shared: &Shared) {
        let Some(lease) = shared.lease() else { return };
        let read: Vec<(i32, i64)> = self.read().iter().map(|(partition, end)| (*partition, *end)).collect();
        for (partition, end) in read {
            let Ok((_, high)) = lease.consumer().fetch_watermarks(&self.topic, partition, QUESTION) else {
                continue;
            };
            let behind = (high - end).max(0);
            // Exact up to 2^53 records.
            #[expect(clippy::cast_precision_loss)]
            gauge!("kafka_consumergroup_lag", "consumergroup" => self.group.clone(), "topic" => self.topic.clone(), "partition" => partition.to_string())
                .set(behind as f64);
            if behind == 0 {
                self.show_late(partition, 0.0);
            }
        }
    }

    fn read(&self) -> MutexGuard<'_, BTreeMap<i32, i64>> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Measures again and again, until the job ends.
pub(crate) async fn report(shared: Arc<Shared>) {
    let (mut said, mut looks, shutdown) = (0, 0_u32, shared.shutdown.clone());
    while shutdown.run_until_cancelled(tokio::time::sleep(INTERVAL)).await.is_some() {
        looks += 1;
        if looks.is_multiple_of(LINES) {
            shared.tally.report(&mut said);
        }
        if let Some(lease) = shared.lease() {
            shared.show_membership(lease.epoch().is_some());
            let shared = Arc::clone(&shared);
            // A panic there was reported by its thread.
            drop(tokio::task::spawn_blocking(move || shared.watched.measure(&shared)).await);
        }
    }
}
