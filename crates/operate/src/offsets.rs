//! Asks the brokers how far topics and consumer groups are.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kafka::{KafkaConfig, LoggedContext};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::{Offset, TopicPartitionList};

/// Limits one request to a broker.
const PATIENCE: Duration = Duration::from_secs(5);

/// Says by partition where a topic's records are and how far a group has come.
pub type TopicOffsets = BTreeMap<i32, PartitionOffsets>;

/// Says where the records of one partition are and how far a group has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionOffsets {
    /// The first offset that is kept.
    pub low: i64,
    /// The offset of the next record that is written. Markers of transactions have offsets, too.
    pub high: i64,
    /// The offset of the next record that the group reads; `None` if it never committed one.
    pub committed: Option<i64>,
}

/// Says which topic the brokers gave no offsets of, and why.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the brokers don't tell how far {what} is")]
pub struct OffsetsError {
    what: String,
    source: KafkaError,
}

impl OffsetsError {
    /// Returns whether the brokers may answer later without anybody's doing.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        !kafka::reader::is_final(&self.source)
    }
}

/// Asks for the offsets of one topic and one consumer group, without joining the group.
#[derive(Clone)]
pub struct OffsetWatcher {
    consumer: Arc<BaseConsumer<LoggedContext>>,
    topic: String,
}

impl OffsetWatcher {
    /// Makes a client, which connects when it is first asked.
    ///
    /// # Errors
    /// Fails if a property of `[kafka]` is not known to the client.
    pub fn new(kafka: &KafkaConfig, topic: &str, group: &str) -> Result<Self, OffsetsError> {
        let settings = [("group.id", group), ("enable.auto.commit", "false")];
        let client = kafka.client("pipeline-offsets", &settings);
        match client.create_with_context(LoggedContext::default()) {
            Ok(consumer) => Ok(Self { consumer: Arc::new(consumer), topic: topic.to_owned() }),
            Err(source) => Err(OffsetsError { what: topic.to_owned(), source }),
        }
    }

    /// Returns the offsets of every partition as they are now.
    ///
    /// # Errors
    /// Fails if a broker does not answer a request within 5 s, or the topic does not exist.
    pub async fn offsets(&self) -> Result<TopicOffsets, OffsetsError> {
        let watcher = self.clone();
        let asked =
            tokio::task::spawn_blocking(move || watcher.ask()).await.unwrap_or(Err(KafkaError::Canceled));
        asked.map_err(|source| OffsetsError { what: self.topic.clone(), source })
    }

    /// Returns by partition the metadata of the offset that the group has committed; empty where it has none.
    ///
    /// # Errors
    /// As [`OffsetWatcher::offsets`].
    pub async fn metadata(&self) -> Result<BTreeMap<i32, String>, OffsetsError> {
        let watcher = self.clone();
        let asked = tokio::task::spawn_blocking(move || {
            let committed = watcher.committed()?;
            let elements = committed.elements();
            Ok(elements.iter().map(|at| (at.partition(), at.metadata().to_owned())).collect())
        });
        let asked = asked.await.unwrap_or(Err(KafkaError::Canceled));
        asked.map_err(|source| OffsetsError { what: self.topic.clone(), source })
    }

    fn committed(&self) -> Result<TopicPartitionList, KafkaError> {
        let metadata = self.consumer.fetch_metadata(Some(&self.topic), PATIENCE)?;
        let found = metadata.topics().first();
        if let Some(code) = found.and_then(|found| found.error()) {
            return Err(KafkaError::MetadataFetch(code.into()));
        }
        let mut wanted = TopicPartitionList::new();
        for partition in found.into_iter().flat_map(|found| found.partitions()) {
            wanted.add_partition(&self.topic, partition.id());
        }
        self.consumer.committed_offsets(wanted, PATIENCE)
    }

    fn ask(&self) -> Result<TopicOffsets, KafkaError> {
        let committed = self.committed()?;
        let mut offsets = TopicOffsets::new();
        for element in committed.elements() {
            let partition = element.partition();
            let (low, high) = self.consumer.fetch_watermarks(&self.topic, partition, PATIENCE)?;
            let committed = match element.offset() {
                Offset::Offset(offset) => Some(offset),
                _ => None,
            };
            offsets.insert(partition, PartitionOffsets { low, high, committed });
        }
        Ok(offsets)
    }
}

/// Counts the offsets that are kept: records and markers of transactions.
#[must_use]
pub fn kept(offsets: &TopicOffsets) -> i64 {
    offsets.values().map(|at| at.high - at.low).sum()
}

/// Counts the offsets that the group has not read yet. A group that never committed has all that are kept before it.
///
/// ```
/// use operate::offsets::{PartitionOffsets, TopicOffsets, lag};
///
/// let offsets = TopicOffsets::from([
///     (0, PartitionOffsets { low: 10, high: 30, committed: Some(25) }),
///     (1, PartitionOffsets { low: 0, high: 7, committed: None }),
/// ]);
/// assert_eq!(lag(&offsets), 5 + 7);
/// ```
#[must_use]
pub fn lag(offsets: &TopicOffsets) -> i64 {
    offsets.values().map(|at| at.high - at.committed.unwrap_or(at.low).max(at.low)).sum()
}

/// Counts the offsets that the group has committed between `before` and `now`.
#[must_use]
pub fn read(before: &TopicOffsets, now: &TopicOffsets) -> i64 {
    let since = |partition: &i32, now: &PartitionOffsets| {
        let from = before.get(partition).and_then(|at| at.committed).unwrap_or(now.low);
        now.committed.map_or(0, |to| to - from)
    };
    now.iter().map(|(partition, now)| since(partition, now).max(0)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(low: i64, high: i64, committed: Option<i64>) -> PartitionOffsets {
        PartitionOffsets { low, high, committed }
    }

    #[test]
    fn a_group_that_never_committed_lags_by_all_that_is_kept() {
        let offsets =
            TopicOffsets::from([(0, at(10, 30, None)), (1, at(0, 5, Some(5))), (2, at(8, 9, Some(2)))]);
        assert_eq!(lag(&offsets), 20 + 1);
        assert_eq!(kept(&offsets), 20 + 5 + 1);
    }

    #[test]
    fn what_a_group_has_read_is_counted_by_partition() {
        let before = TopicOffsets::from([(0, at(0, 10, None)), (1, at(0, 0, Some(0)))]);
        let now = TopicOffsets::from([(0, at(0, 15, Some(12))), (1, at(0, 3, Some(1))), (2, at(0, 4, None))]);
        assert_eq!(read(&before, &now), 12 + 1);
    }
}
