//! Reads a topic to its present end, as a `read_committed` consumer sees it. Blocks its thread.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;
use rdkafka::{Message as _, Offset, TopicPartitionList};

use crate::{KafkaConfig, LoggedContext};

/// Bound of one question to the brokers, and of the time without any record before the end of the topic.
const PATIENCE: Duration = Duration::from_secs(15);

/// A topic that can't be read to its end.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// librdkafka's words.
    #[error("topic {topic} can't be read")]
    Kafka {
        /// Its name.
        topic: String,
        /// What went wrong.
        source: KafkaError,
    },
    /// No record, and not the end either.
    #[error("topic {topic} could not be read to its end: nothing came for {} s", PATIENCE.as_secs())]
    Stalled {
        /// Its name.
        topic: String,
    },
}

impl ReadError {
    /// Whether reading again may succeed without anybody's doing.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Kafka { source, .. } => !is_final(source),
            Self::Stalled { .. } => true,
        }
    }
}

/// What is read of a topic.
#[derive(Debug, Clone, Copy, Default)]
pub struct Part {
    /// Only this partition.
    pub partition: Option<i32>,
    /// Only from the first record at this time on: milliseconds since the epoch, by the record's timestamp.
    pub since: Option<i64>,
}

/// Hands `take` every record of a part of a topic, in the order of each partition, up to the end that the partition
/// has now.
///
/// # Errors
/// The first of `take`, or the topic can't be read.
pub fn read_to_end<E: From<ReadError>>(
    kafka: &KafkaConfig,
    client: &str,
    topic: &str,
    part: Part,
    mut take: impl FnMut(&BorrowedMessage<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let failed = |source| ReadError::Kafka { topic: topic.to_owned(), source };
    let settings = [
        ("group.id", client),
        ("enable.auto.commit", "false"),
        ("enable.partition.eof", "true"),
        ("isolation.level", "read_committed"),
        ("auto.offset.reset", "earliest"),
        ("fetch.wait.max.ms", "20"),
        ("queued.max.messages.kbytes", "16384"),
    ];
    let consumer: BaseConsumer<LoggedContext> =
        kafka.client(client, &settings).create_with_context(LoggedContext::default()).map_err(failed)?;
    let mut open: HashMap<i32, i64> = assign(&consumer, topic, part).map_err(failed)?.into_iter().collect();
    let mut progress = Instant::now();
    while !open.is_empty() {
        match consumer.poll(Duration::from_millis(200)) {
            Some(Ok(record)) => {
                progress = Instant::now();
                let partition = record.partition();
                if let Some(end) = open.get(&partition).copied() {
                    if record.offset() < end {
                        take(&record)?;
                    }
                    if record.offset() + 1 >= end {
                        open.remove(&partition);
                    }
                }
            }
            // The end of what is committed: markers of transactions may stand between it and the last offset.
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                open.remove(&partition);
            }
            Some(Err(error)) if is_final(&error) => return Err(failed(error).into()),
            Some(Err(_)) | None if progress.elapsed() < PATIENCE => {}
            Some(Err(source)) => return Err(failed(source).into()),
            None => return Err(ReadError::Stalled { topic: topic.to_owned() }.into()),
        }
    }
    Ok(())
}

/// How many partitions a topic has, at least one.
///
/// # Errors
/// The topic can't be read, or is not there.
pub fn partitions(kafka: &KafkaConfig, client: &str, topic: &str) -> Result<i32, ReadError> {
    let count = || {
        let consumer: BaseConsumer<LoggedContext> =
            kafka.client(client, &[]).create_with_context(LoggedContext::default())?;
        let unknown = KafkaError::MetadataFetch(RDKafkaErrorCode::UnknownTopicOrPartition);
        let count = i32::try_from(ids(&consumer, topic)?.len());
        count.ok().filter(|count| *count > 0).ok_or(unknown)
    };
    count().map_err(|source| ReadError::Kafka { topic: topic.to_owned(), source })
}

fn ids(consumer: &BaseConsumer<LoggedContext>, topic: &str) -> Result<Vec<i32>, KafkaError> {
    let metadata = consumer.fetch_metadata(Some(topic), PATIENCE)?;
    let found = metadata.topics().first();
    if let Some(code) = found.and_then(|found| found.error()) {
        return Err(KafkaError::MetadataFetch(code.into()));
    }
    Ok(found.into_iter().flat_map(|found| found.partitions()).map(|partition| partition.id()).collect())
}

/// Assigns the partitions; the offsets after their last records, of those that are not empty.
fn assign(
    consumer: &BaseConsumer<LoggedContext>,
    topic: &str,
    part: Part,
) -> Result<Vec<(i32, i64)>, KafkaError> {
    let Part { partition, since } = part;
    let partitions = partition.map_or_else(|| ids(consumer, topic), |partition| Ok(vec![partition]))?;
    let mut wanted = TopicPartitionList::new();
    for partition in &partitions {
        let offset = since.map_or(Offset::Beginning, Offset::Offset);
        wanted.add_partition_offset(topic, *partition, offset)?;
    }
    if since.is_some() {
        // A partition without a record at or after the time gets its end.
        wanted = consumer.offsets_for_times(wanted, PATIENCE)?;
    }
    let mut ends = Vec::new();
    let mut assigned = TopicPartitionList::new();
    for element in wanted.elements() {
        let (low, high) = consumer.fetch_watermarks(topic, element.partition(), PATIENCE)?;
        let begin = match element.offset() {
            Offset::Offset(offset) => offset,
            Offset::Beginning => low,
            _ => high,
        };
        if begin < high {
            assigned.add_partition_offset(topic, element.partition(), Offset::Offset(begin))?;
            ends.push((element.partition(), high));
        }
    }
    consumer.assign(&assigned)?;
    Ok(ends)
}

/// Whether asking again is pointless.
#[must_use]
pub fn is_final(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::UnknownTopic
                | RDKafkaErrorCode::TopicAuthorizationFailed
                | RDKafkaErrorCode::Authentication
                | RDKafkaErrorCode::Fatal
        )
    )
}
