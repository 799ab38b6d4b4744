//! What groups need when partitions move.

use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};

/// To be called before partitions go: makes those of them that are paused readable again.
///
/// librdkafka 2.12 keeps the pause of a partition beyond its assignment (`rd_kafka_assignment_serve_removals` resumes
/// what the library has paused, not what the application has). If the partition comes back, whoever has resumed the
/// assignment meanwhile does not know of it, and reads nothing of it any more, without any error.
pub fn forget_pause<C: ConsumerContext>(consumer: &BaseConsumer<C>, revoked: &TopicPartitionList) {
    if let Err(error) = consumer.resume(revoked) {
        tracing::warn!(%error, "partitions that go could not be resumed");
    }
}

/// `heartbeat.interval.ms` of a group's member. By its heartbeats a member learns that the group rebalances, and
/// partitions that one has given up are nobody's until the others know: 3 s by librdkafka's default.
#[must_use]
pub fn heartbeat_ms(session_timeout: Duration) -> String {
    (session_timeout / 3).min(Duration::from_millis(500)).as_millis().to_string()
}

#[cfg(test)]
mod tests;
