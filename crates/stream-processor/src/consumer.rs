//! The consumer of one worker, and what librdkafka tells it besides records.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kafka::{LoggedContext, rebalance};
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::{Statistics, TopicPartitionList};

use crate::config::Settings;
use crate::exclusion;

/// How long a worker may take from one poll to the next.
const POLL_INTERVAL: Duration = Duration::from_secs(60);
/// Milliseconds between two measurements of the lag.
const STATISTICS_INTERVAL: &str = "2000";

/// A consumer that hands rebalances and librdkafka's statistics to its worker.
pub(crate) type GroupConsumer = BaseConsumer<Events>;

/// A consumer of the source topic, subscribed.
///
/// Commits are part of the producer's transactions, so it commits nothing by itself. It reads committed records only,
/// and starts where the group's last committed transaction ended, waiting for one whose outcome is open.
pub(crate) fn connect(settings: &Settings, worker: usize) -> KafkaResult<GroupConsumer> {
    let config = &settings.processor;
    let session_timeout = config.session_timeout.as_millis().to_string();
    let heartbeat = rebalance::heartbeat_ms(config.session_timeout);
    // Also how long an answer to a request to join is waited for, where the network has lost it. Twice what a
    // transaction may take, and never below the session's.
    let poll_interval = config.session_timeout.max(POLL_INTERVAL).as_millis().to_string();
    let client = settings.kafka.client(
        &format!("{}-{}-{worker}", config.group, config.instance),
        &[
            ("group.id", &config.group),
            ("session.timeout.ms", &session_timeout),
            ("heartbeat.interval.ms", &heartbeat),
            ("max.poll.interval.ms", &poll_interval),
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
            ("isolation.level", "read_committed"),
            ("auto.offset.reset", "earliest"),
            // Partitions that stay are worked on while others move.
            ("partition.assignment.strategy", exclusion::PROCESSOR),
            ("statistics.interval.ms", STATISTICS_INTERVAL),
            // What may wait in memory; a full queue is looked at again soon, not after librdkafka's second.
            ("queued.max.messages.kbytes", "4096"),
            ("queued.min.messages", "20000"),
            // Compressed, for each partition: what compresses well takes many times that in memory.
            ("fetch.message.max.bytes", "131072"),
            ("fetch.max.bytes", "4194304"),
            ("fetch.queue.backoff.ms", "5"),
        ],
    );
    let events = Events {
        logged: LoggedContext::default(),
        worker,
        news: Mutex::default(),
        any: AtomicBool::new(false),
    };
    let consumer: GroupConsumer = client.create_with_context(events)?;
    consumer.subscribe(&[&config.source_topic])?;
    Ok(consumer)
}

/// What happens on a consumer while it is polled, kept until its worker looks. Callbacks run on the thread that polls.
pub(crate) struct Events {
    logged: LoggedContext,
    worker: usize,
    news: Mutex<News>,
    any: AtomicBool,
}

/// What happened since the worker's last look.
#[derive(Default)]
pub(crate) struct News {
    /// The group has let the worker in.
    pub(crate) joined: bool,
    /// Partitions that came.
    pub(crate) assigned: Vec<i32>,
    /// Partitions that went.
    pub(crate) revoked: Vec<i32>,
    /// librdkafka's own figures, every [`STATISTICS_INTERVAL`].
    pub(crate) statistics: Option<Statistics>,
}

impl Events {
    /// To be called after each poll.
    pub(crate) fn news(&self) -> Option<News> {
        self.any.swap(false, Ordering::Relaxed).then(|| std::mem::take(&mut *self.lock()))
    }

    fn note(&self, note: impl FnOnce(&mut News)) {
        note(&mut self.lock());
        self.any.store(true, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, News> {
        self.news.lock().unwrap_or_else(PoisonError::into_inner)
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
        self.note(|news| news.statistics = Some(statistics));
    }
}

impl ConsumerContext for Events {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, event: &Rebalance<'_>) {
        match event {
            Rebalance::Assign(list) => {
                let partitions = partitions(list);
                tracing::info!(worker = self.worker, ?partitions, "partitions assigned");
                self.note(|news| {
                    news.joined = true;
                    news.assigned.extend(partitions);
                });
            }
            Rebalance::Revoke(list) => {
                let partitions = partitions(list);
                tracing::info!(worker = self.worker, ?partitions, "partitions revoked");
                rebalance::forget_pause(consumer, list);
                self.note(|news| {
                    news.assigned.retain(|partition| !partitions.contains(partition));
                    news.revoked.extend(partitions);
                });
            }
            Rebalance::Error(error) => tracing::warn!(worker = self.worker, %error, "rebalance failed"),
        }
    }
}

fn partitions(list: &TopicPartitionList) -> Vec<i32> {
    list.elements().iter().map(|element| element.partition()).collect()
}
