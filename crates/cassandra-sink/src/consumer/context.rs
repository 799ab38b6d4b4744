//! What happens when partitions come and go.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kafka::LoggedContext;
use kafka::rebalance;
use kafka::sequence::Watch;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext, Rebalance};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::TopicPartitionList;

use super::group::commit;
use crate::offsets::Offsets;

/// Callbacks of the consumer; they run on its thread, inside a poll.
#[derive(Debug)]
pub(super) struct GroupContext {
    offsets: Arc<Offsets>,
    drain_timeout: Duration,
    watch: Watch,
    logged: LoggedContext,
    /// Set when the sink stops: what could be committed was.
    pub(super) leaving: AtomicBool,
}

impl GroupContext {
    pub(super) fn new(offsets: Arc<Offsets>, drain_timeout: Duration, watch: Watch) -> Self {
        let (logged, leaving) = (LoggedContext::default(), AtomicBool::new(false));
        Self { offsets, drain_timeout, watch, logged, leaving }
    }

    /// Before partitions go to somebody else: what has begun ends, and its position is committed, so that the next
    /// one repeats as little as possible.
    fn give_up(&self, consumer: &BaseConsumer<Self>, revoked: &TopicPartitionList) {
        let partitions: Vec<i32> = revoked.elements().iter().map(|element| element.partition()).collect();
        let last = self.offsets.give_up(&partitions, self.drain_timeout);
        partitions.iter().for_each(|partition| self.watch.missing(*partition, None));
        tracing::info!(?partitions, "partitions revoked");
        rebalance::forget_pause(consumer, revoked);
        // After a lost session they are somebody else's already, and the broker would refuse.
        if last.is_empty() || self.leaving.load(Ordering::Relaxed) || consumer.assignment_lost() {
            return;
        }
        let topic = revoked.elements().first().map(|element| element.topic().to_owned()).unwrap_or_default();
        if let Err(error) = commit(consumer, &topic, &last) {
            tracing::warn!(%error, ?partitions, "the position could not be committed; its records will be repeated");
        }
    }
}

impl ClientContext for GroupContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.logged.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.logged.error(error, reason);
    }
}

impl ConsumerContext for GroupContext {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Assign(list) if list.count() > 0 => {
                let partitions: Vec<i32> =
                    list.elements().iter().map(|element| element.partition()).collect();
                tracing::info!(?partitions, "partitions assigned");
                self.offsets.assign(partitions);
            }
            Rebalance::Revoke(list) if list.count() > 0 => self.give_up(consumer, list),
            Rebalance::Assign(_) | Rebalance::Revoke(_) => {}
            Rebalance::Error(error) => tracing::warn!(%error, "rebalance failed"),
        }
    }
}
