//! What a topic has of a run, as a `read_committed` consumer sees it.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use events::Registry;
use events::meta::Op;
use kafka::{KafkaConfig, LoggedContext};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;
use rdkafka::{Message as _, Offset, TopicPartitionList};
use tokio::runtime::Handle;
use uuid::Uuid;

use super::{Id, Ids};
use crate::stamp::{SchemaFailure, Stamp, Stamps};

/// Bound of one question to the brokers, and of the time without any record before the end of the topic.
const PATIENCE: Duration = Duration::from_secs(15);

#[derive(Debug, thiserror::Error)]
pub(crate) enum TopicError {
    #[error("topic {topic} can't be read")]
    Kafka { topic: String, source: KafkaError },
    #[error("topic {topic} could not be read to its end: nothing came for {} s", PATIENCE.as_secs())]
    Stalled { topic: String },
    #[error("the schema of a record in {topic} can't be had")]
    Registry { topic: String, source: Box<SchemaFailure> },
}

/// What a topic has.
#[derive(Debug, Default)]
pub(super) struct Scan {
    pub(super) topic: String,
    /// Ids whose latest value belongs to the run and is no delete.
    pub(super) ids: Ids,
    /// Records of the run.
    pub(super) records: u64,
    /// Records that were read, tombstones included.
    pub(super) records_of_all: u64,
    /// Records of the run whose key and LSN an earlier record had.
    pub(super) duplicates: u64,
    /// Records of the run that came after a later change of their key.
    pub(super) out_of_order: u64,
    /// Keys of the records that can't be decoded.
    pub(super) keys: Vec<Id>,
    /// Records that can't be decoded, so that nobody can tell which run they belong to.
    pub(super) undecodable: u64,
}

/// The latest value of a key.
struct Latest {
    lsn: i64,
    of_run: bool,
}

/// The state of a scan.
#[derive(Default)]
struct Fold {
    scan: Scan,
    seen: HashSet<(Id, i64)>,
    latest: HashMap<Id, Latest>,
}

/// How to read topics for one run.
pub(super) struct Reader {
    pub(super) kafka: KafkaConfig,
    pub(super) registry: Registry,
    pub(super) runtime: Handle,
    pub(super) run_id: String,
}

impl Reader {
    /// Reads every partition from the first record at `since` (milliseconds since the epoch, by the record's
    /// timestamp, which is that of the commit in PostgreSQL), or from its beginning, to its present end. Blocks.
    pub(super) fn scan(self, topic: String, since: Option<i64>) -> Result<Scan, TopicError> {
        let failed = |source| TopicError::Kafka { topic: topic.clone(), source };
        let settings = [
            ("group.id", "pipeline-verify"),
            ("enable.auto.commit", "false"),
            ("enable.partition.eof", "true"),
            ("isolation.level", "read_committed"),
            ("auto.offset.reset", "earliest"),
            ("fetch.wait.max.ms", "20"),
            ("queued.max.messages.kbytes", "16384"),
        ];
        let consumer: BaseConsumer<LoggedContext> = self
            .kafka
            .client("pipeline-verify", &settings)
            .create_with_context(LoggedContext::default())
            .map_err(failed)?;
        let ends = assign(&consumer, &topic, since).map_err(failed)?;
        let mut open: HashMap<i32, i64> = ends.into_iter().collect();
        let mut stamps = Stamps::new(self.registry.clone(), self.runtime.clone());
        let mut fold = Fold::default();
        let mut progress = Instant::now();
        while !open.is_empty() {
            match consumer.poll(Duration::from_millis(200)) {
                Some(Ok(record)) => {
                    progress = Instant::now();
                    let partition = record.partition();
                    if let Some(end) = open.get(&partition).copied() {
                        if record.offset() < end {
                            self.take(&record, &mut stamps, &mut fold)
                                .map_err(|source| TopicError::Registry { topic: topic.clone(), source })?;
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
                Some(Err(error)) if is_final(&error) => return Err(failed(error)),
                Some(Err(_)) | None if progress.elapsed() < PATIENCE => {}
                Some(Err(source)) => return Err(failed(source)),
                None => return Err(TopicError::Stalled { topic }),
            }
        }
        let mut scan = fold.scan;
        scan.ids = fold.latest.into_iter().filter(|(_, latest)| latest.of_run).map(|(id, _)| id).collect();
        scan.topic = topic;
        Ok(scan)
    }

    fn take(
        &self,
        record: &BorrowedMessage<'_>,
        stamps: &mut Stamps,
        fold: &mut Fold,
    ) -> Result<(), Box<SchemaFailure>> {
        fold.scan.records_of_all += 1;
        let key = record.key().and_then(|key| Uuid::try_parse_ascii(key).ok()).map(|id| id.as_u128());
        // A tombstone only repeats the delete before it.
        let Some(value) = record.payload() else { return Ok(()) };
        let stamp = stamps.read(value)?;
        match (key, stamp) {
            (Some(id), Some(stamp)) => fold.take(id, &stamp, &self.run_id),
            (None, Some(stamp)) if stamp.run_id == self.run_id => fold.scan.records += 1,
            (None, Some(_)) => {}
            (key, None) => {
                fold.scan.undecodable += 1;
                fold.scan.keys.extend(key);
            }
        }
        Ok(())
    }
}

impl Fold {
    fn take(&mut self, id: Id, stamp: &Stamp<'_>, run_id: &str) {
        let of_run = stamp.run_id == run_id;
        let repeated = !self.seen.insert((id, stamp.lsn));
        let latest = self.latest.entry(id).or_insert(Latest { lsn: i64::MIN, of_run: false });
        let late = stamp.lsn < latest.lsn;
        if of_run {
            self.scan.records += 1;
            self.scan.duplicates += u64::from(repeated);
            self.scan.out_of_order += u64::from(late && !repeated);
        }
        // What a reader that folds the topic by key ends with is the last record, whatever its LSN.
        *latest =
            Latest { lsn: latest.lsn.max(stamp.lsn), of_run: of_run && stamp.op != Op::Delete.as_str() };
    }
}

/// Assigns every partition; the offsets after their last records, of those that are not empty.
fn assign(
    consumer: &BaseConsumer<LoggedContext>,
    topic: &str,
    since: Option<i64>,
) -> Result<Vec<(i32, i64)>, KafkaError> {
    let metadata = consumer.fetch_metadata(Some(topic), PATIENCE)?;
    let found = metadata.topics().first();
    if let Some(code) = found.and_then(|found| found.error()) {
        return Err(KafkaError::MetadataFetch(code.into()));
    }
    let partitions: Vec<i32> =
        found.into_iter().flat_map(|found| found.partitions()).map(|partition| partition.id()).collect();
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

/// Whether reading on is pointless.
fn is_final(error: &KafkaError) -> bool {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn fold(stamps: &[(Id, &str, &str, i64)]) -> Fold {
        let mut fold = Fold::default();
        for (id, run_id, op, lsn) in stamps {
            fold.take(*id, &Stamp { run_id, op, lsn: *lsn }, "mine");
        }
        fold
    }

    fn ids(fold: &Fold) -> Vec<Id> {
        let mut ids: Vec<Id> =
            fold.latest.iter().filter(|(_, latest)| latest.of_run).map(|(id, _)| *id).collect();
        ids.sort_unstable();
        ids
    }

    #[test]
    fn the_latest_value_of_a_key_counts() {
        let fold = fold(&[
            (1, "mine", "c", 10),
            (2, "mine", "c", 11),
            (3, "other", "c", 12),
            (2, "mine", "d", 13),
            (1, "other", "u", 14),
            (3, "mine", "u", 15),
        ]);
        assert_eq!(ids(&fold), [3]);
        assert_eq!((fold.scan.records, fold.scan.duplicates, fold.scan.out_of_order), (4, 0, 0));
    }

    #[test]
    fn repeated_and_late_records_are_counted() {
        let fold = fold(&[
            (1, "mine", "c", 10),
            (1, "mine", "u", 20),
            (1, "mine", "u", 20),
            (1, "mine", "c", 10),
            (1, "mine", "u", 15),
            (2, "other", "c", 30),
            (2, "other", "c", 30),
        ]);
        assert_eq!((fold.scan.records, fold.scan.duplicates, fold.scan.out_of_order), (5, 2, 1));
    }
}
