//! The consumer of one worker, and what librdkafka tells it besides records.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::{Statistics, TopicPartitionList};

use crate::batch::Progress;
use crate::board::Board;
use crate::config::Settings;
use crate::lag::Lag;
use kafka::LoggedContext;

/// Milliseconds between two measurements of the lag.
const STATISTICS_INTERVAL: &str = "2000";

/// A consumer that hands rebalances and the state of the brokers to its worker.
pub(crate) type GroupConsumer = BaseConsumer<Events>;

/// A consumer of the source topic, subscribed.
///
/// Commits are part of the producer's transactions, so it commits nothing by itself. It reads committed records only,
/// and starts where the group's last committed transaction ended, waiting for one whose outcome is open.
pub(crate) fn connect(settings: &Settings, worker: usize, brokers: Arc<Board>) -> KafkaResult<GroupConsumer> {
    let config = &settings.processor;
    let session_timeout = config.session_timeout.as_millis().to_string();
    let client = settings.kafka.client(
        &format!("{}-{}-{worker}", config.group, config.instance),
        &[
            ("group.id", &config.group),
            ("session.timeout.ms", &session_timeout),
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
            ("isolation.level", "read_committed"),
            ("auto.offset.reset", "earliest"),
            // Partitions that stay are worked on while others move.
            ("partition.assignment.strategy", "cooperative-sticky"),
            ("statistics.interval.ms", STATISTICS_INTERVAL),
            // What may wait in memory; a full queue is looked at again soon, not after librdkafka's second.
            ("queued.max.messages.kbytes", "16384"),
            ("queued.min.messages", "20000"),
            ("fetch.max.bytes", "8388608"),
            ("fetch.queue.backoff.ms", "5"),
        ],
    );
    let events = Events {
        logged: LoggedContext::default(),
        revoked: Mutex::default(),
        any_revoked: AtomicBool::new(false),
        lag: Mutex::new(Lag::new(&config.group, &config.source_topic)),
        worker,
        brokers,
    };
    let consumer: GroupConsumer = client.create_with_context(events)?;
    consumer.subscribe(&[&config.source_topic])?;
    Ok(consumer)
}

/// What happens on a consumer while it is polled; its callbacks run on the thread that polls.
pub(crate) struct Events {
    logged: LoggedContext,
    revoked: Mutex<Vec<i32>>,
    any_revoked: AtomicBool,
    lag: Mutex<Lag>,
    worker: usize,
    brokers: Arc<Board>,
}

impl Events {
    /// Partitions taken away since the last call.
    pub(crate) fn take_revoked(&self) -> Vec<i32> {
        if self.any_revoked.swap(false, Ordering::Relaxed) {
            std::mem::take(&mut *lock(&self.revoked))
        } else {
            Vec::new()
        }
    }

    /// A transaction with this partition was committed.
    pub(crate) fn committed(&self, partition: i32, progress: Progress, now_ms: i64) {
        lock(&self.lag).committed(partition, progress, now_ms);
    }
}

impl ClientContext for Events {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.logged.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.logged.error(error, reason);
    }

    fn stats(&self, statistics: Statistics) {
        let connected = statistics.brokers.values().any(|broker| broker.state == "UP");
        self.brokers.update(self.worker, (!connected).then(|| "no broker is connected".to_owned()));
        lock(&self.lag).update(&statistics);
    }
}

impl ConsumerContext for Events {
    fn pre_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Assign(list) => {
                let partitions = partitions(list);
                tracing::info!(worker = self.worker, ?partitions, "partitions assigned");
                let mut lag = lock(&self.lag);
                partitions.into_iter().for_each(|partition| lag.assigned(partition));
            }
            Rebalance::Revoke(list) => {
                let partitions = partitions(list);
                tracing::info!(worker = self.worker, ?partitions, "partitions revoked");
                let mut lag = lock(&self.lag);
                partitions.iter().for_each(|partition| lag.revoked(*partition));
                lock(&self.revoked).extend(partitions);
                self.any_revoked.store(true, Ordering::Relaxed);
            }
            Rebalance::Error(error) => tracing::warn!(worker = self.worker, %error, "rebalance failed"),
        }
    }
}

fn partitions(list: &TopicPartitionList) -> Vec<i32> {
    list.elements().iter().map(|element| element.partition()).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
