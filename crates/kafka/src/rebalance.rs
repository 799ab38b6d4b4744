//! What has to be done when partitions go.

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

#[cfg(test)]
mod tests;
