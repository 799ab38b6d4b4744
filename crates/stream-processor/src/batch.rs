//! The records of one transaction, as they were read.

use std::collections::HashMap;
use std::time::Duration;

use rdkafka::error::KafkaResult;
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::continuity::Draft;
use crate::write::size;

/// How old a record is that has waited, in milliseconds: fewer, larger transactions let a worker catch up that is this
/// far behind, and a few milliseconds more do not matter to it.
const BEHIND_MS: i64 = 200;
/// How long a transaction of records that have waited waits for more, while it has few.
const BEHIND_LINGER: Duration = Duration::from_millis(50);
const FEW_RECORDS: usize = 1000;
const FEW_BYTES: usize = 1 << 20;

/// Records in the order they were read, in librdkafka's own memory.
#[derive(Default)]
pub(crate) struct Batch<'c> {
    records: Vec<BorrowedMessage<'c>>,
    bytes: usize,
    /// Offset of the next record to come, by partition that is assigned.
    next: HashMap<i32, i64>,
}

impl<'c> Batch<'c> {
    /// Adds a record, unless it is one that was added before: librdkafka may hand a record out again after a pause.
    pub(crate) fn push(&mut self, record: BorrowedMessage<'c>) {
        let next = self.next.entry(record.partition()).or_insert(i64::MIN);
        if record.offset() < *next {
            return;
        }
        *next = record.offset() + 1;
        self.bytes += size(&record);
        self.records.push(record);
    }

    /// Drops what belongs to partitions that are no longer ours; their next owner reads it again.
    pub(crate) fn give_up(&mut self, partitions: &[i32]) {
        self.next.retain(|partition, _| !partitions.contains(partition));
        self.records.retain(|record| !partitions.contains(&record.partition()));
        self.bytes = self.records.iter().map(size).sum();
    }

    /// After the commit.
    pub(crate) fn clear(&mut self) {
        self.records.clear();
        self.bytes = 0;
    }

    pub(crate) fn records(&self) -> &[BorrowedMessage<'c>] {
        &self.records
    }

    /// Whether there are records of the partition.
    pub(crate) fn holds(&self, partition: i32) -> bool {
        self.records.iter().any(|record| record.partition() == partition)
    }

    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether the first record is so old that the worker is behind.
    pub(crate) fn has_waited(&self, now_ms: i64) -> bool {
        let first = self.records.first().and_then(|record| record.timestamp().to_millis());
        first.is_some_and(|first| now_ms.saturating_sub(first) > BEHIND_MS)
    }

    /// How long the batch waits for more records.
    pub(crate) fn linger(&self, behind: bool, usual: Duration) -> Duration {
        let few = self.records.len() < FEW_RECORDS && self.bytes < FEW_BYTES;
        if behind && few { usual.max(BEHIND_LINGER) } else { usual }
    }

    /// What each partition of the batch has read.
    pub(crate) fn progress(&self) -> HashMap<i32, Progress> {
        let mut progress: HashMap<i32, Progress> = HashMap::new();
        for record in &self.records {
            let timestamp = record.timestamp().to_millis();
            progress
                .entry(record.partition())
                .and_modify(|seen| seen.next = record.offset() + 1)
                .or_insert(Progress { next: record.offset() + 1, oldest: timestamp });
        }
        progress
    }
}

/// How far a batch brings one partition.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Progress {
    /// Offset of the next record to read.
    pub(crate) next: i64,
    /// Timestamp of the first record, in milliseconds since 1970.
    pub(crate) oldest: Option<i64>,
}

/// The positions to commit, each with its ledger: the next offset to read by partition.
///
/// # Errors
/// An offset that is none.
pub fn offsets(
    topic: &str,
    next: impl Iterator<Item = (i32, i64)>,
    draft: &Draft,
) -> KafkaResult<TopicPartitionList> {
    let mut list = TopicPartitionList::new();
    for (partition, next) in next {
        let mut element = list.add_partition(topic, partition);
        element.set_offset(Offset::Offset(next))?;
        element.set_metadata(draft.metadata(partition));
    }
    Ok(list)
}
