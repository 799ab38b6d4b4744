//! How far topics and consumer groups are, asked of the brokers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kafka::{KafkaConfig, LoggedContext};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::{Offset, TopicPartitionList};

/// Bound of one question.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where a topic's records are and how far a group has come, by partition.
pub(crate) type Positions = BTreeMap<i32, Position>;

/// One partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Position {
    /// First offset that is kept.
    pub(crate) low: i64,
    /// Offset of the next record that is written, markers of transactions included.
    pub(crate) high: i64,
    /// Offset of the next record that the group reads; `None` if it never committed one.
    pub(crate) committed: Option<i64>,
}

/// A question that the brokers did not answer.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the brokers don't tell how far {what} is")]
pub(crate) struct OffsetsError {
    what: String,
    source: KafkaError,
}

impl OffsetsError {
    /// Whether the brokers may answer later without anybody's doing.
    pub(crate) fn is_transient(&self) -> bool {
        !kafka::reader::is_final(&self.source)
    }
}

/// Asks for one topic as one group; never joins the group.
#[derive(Clone)]
pub(crate) struct Watcher {
    consumer: Arc<BaseConsumer<LoggedContext>>,
    topic: String,
}

impl Watcher {
    /// No connection is made yet.
    pub(crate) fn new(kafka: &KafkaConfig, topic: &str, group: &str) -> Result<Self, OffsetsError> {
        let settings = [("group.id", group), ("enable.auto.commit", "false")];
        let client = kafka.client("pipeline-offsets", &settings);
        match client.create_with_context(LoggedContext::default()) {
            Ok(consumer) => Ok(Self { consumer: Arc::new(consumer), topic: topic.to_owned() }),
            Err(source) => Err(OffsetsError { what: topic.to_owned(), source }),
        }
    }

    /// Of every partition, as it is now.
    pub(crate) async fn positions(&self) -> Result<Positions, OffsetsError> {
        let watcher = self.clone();
        let asked =
            tokio::task::spawn_blocking(move || watcher.ask()).await.unwrap_or(Err(KafkaError::Canceled));
        asked.map_err(|source| OffsetsError { what: self.topic.clone(), source })
    }

    /// The metadata of every offset that the group has committed.
    pub(crate) async fn metadata(&self) -> Result<BTreeMap<i32, String>, OffsetsError> {
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

    fn ask(&self) -> Result<Positions, KafkaError> {
        let committed = self.committed()?;
        let mut positions = Positions::new();
        for element in committed.elements() {
            let partition = element.partition();
            let (low, high) = self.consumer.fetch_watermarks(&self.topic, partition, PATIENCE)?;
            let committed = match element.offset() {
                Offset::Offset(offset) => Some(offset),
                _ => None,
            };
            positions.insert(partition, Position { low, high, committed });
        }
        Ok(positions)
    }
}

/// Offsets that are kept: records and markers of transactions.
pub(crate) fn kept(positions: &Positions) -> i64 {
    positions.values().map(|position| position.high - position.low).sum()
}

/// Offsets that the group has not read yet.
pub(crate) fn lag(positions: &Positions) -> i64 {
    positions.values().map(|at| at.high - at.committed.unwrap_or(at.low).max(at.low)).sum()
}

/// Offsets that the group has read between two looks.
pub(crate) fn read(before: &Positions, now: &Positions) -> i64 {
    let since = |partition: &i32, now: &Position| {
        let from = before.get(partition).and_then(|at| at.committed).unwrap_or(now.low);
        now.committed.map_or(0, |to| to - from)
    };
    now.iter().map(|(partition, now)| since(partition, now).max(0)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(low: i64, high: i64, committed: Option<i64>) -> Position {
        Position { low, high, committed }
    }

    #[test]
    fn a_group_that_never_committed_lags_by_all_that_is_kept() {
        let positions =
            Positions::from([(0, at(10, 30, None)), (1, at(0, 5, Some(5))), (2, at(8, 9, Some(2)))]);
        assert_eq!(lag(&positions), 20 + 1);
        assert_eq!(kept(&positions), 20 + 5 + 1);
    }

    #[test]
    fn what_a_group_has_read_is_counted_by_partition() {
        let before = Positions::from([(0, at(0, 10, None)), (1, at(0, 0, Some(0)))]);
        let now = Positions::from([(0, at(0, 15, Some(12))), (1, at(0, 3, Some(1))), (2, at(0, 4, None))]);
        assert_eq!(read(&before, &now), 12 + 1);
    }
}
