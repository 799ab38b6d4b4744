use std::collections::{HashMap, HashSet};

use events::Registry;
use events::meta::Op;
use kafka::reader::{Part, ReadError, read_to_end};
use kafka::{KafkaConfig, dead_letter};
use rdkafka::Message as _;
use rdkafka::message::BorrowedMessage;
use tokio::runtime::Handle;
use uuid::Uuid;

use super::ids::{ProfileId, ProfileIds};
use crate::dlq::RecordPosition;
use crate::stamp::{RecordStamp, SchemaFailure, StampDecoder};

/// Says why a topic can't be read.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// The brokers do not answer or refuse.
    #[error(transparent)]
    Topic(#[from] ReadError),
    /// The registry is away.
    #[error("the schema of a record in {topic} can't be had")]
    Registry {
        /// Names the topic.
        topic: String,
        /// Says why the registry gave no schema.
        source: Box<SchemaFailure>,
    },
}

impl ScanError {
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Self::Topic(error) => error.is_transient(),
            // A schema that does not exist is no failure: what has its id can't be decoded, and is counted.
            Self::Registry { .. } => true,
        }
    }
}

/// Has what a topic has of a run, as a `read_committed` consumer sees it.
#[derive(Debug, Default)]
pub(super) struct Scan {
    pub(super) topic: String,
    /// Has the ids whose latest value belongs to the run and is no delete.
    pub(super) ids: ProfileIds,
    /// Counts the records of the run.
    pub(super) records: u64,
    /// Counts the records that were read, tombstones included.
    pub(super) records_of_all: u64,
    /// Counts the records of the run whose key and LSN an earlier record had.
    pub(super) duplicates: u64,
    /// Counts the records of the run that came after a later change of their key.
    pub(super) out_of_order: u64,
    /// Has the keys of the records that can't be decoded.
    pub(super) keys: Vec<ProfileId>,
    /// Counts the records that can't be decoded, so that nobody can tell which run they belong to.
    pub(super) undecodable: u64,
}

/// Says what the latest value of a key is.
struct Latest {
    lsn: i64,
    of_run: bool,
}

/// Has the state of a scan.
#[derive(Default)]
struct Fold {
    scan: Scan,
    seen: HashSet<(ProfileId, i64)>,
    latest: HashMap<ProfileId, Latest>,
}

/// Reads a topic for one run.
pub(super) struct TopicScanner {
    pub(super) kafka: KafkaConfig,
    pub(super) registry: Registry,
    pub(super) runtime: Handle,
    pub(super) run_id: String,
    /// Says where the dead letters are that somebody dealt with; they don't count.
    pub(super) resolved: HashSet<RecordPosition>,
}

impl TopicScanner {
    /// Reads every partition from the first record at `since` (milliseconds since the epoch, by the record's
    /// timestamp, which is that of the commit in PostgreSQL), or from its beginning, to its present end. Blocks.
    pub(super) fn scan(self, topic: String, since: Option<i64>) -> Result<Scan, ScanError> {
        let mut decoder = StampDecoder::new(self.registry.clone(), self.runtime.clone());
        let mut fold = Fold::default();
        read_to_end(&self.kafka, "pipeline-verify", &topic, Part { partition: None, since }, |record| {
            if self.resolved.contains(&RecordPosition::of(record)) || dead_letter::resolves(record).is_some()
            {
                return Ok(());
            }
            let taken = self.take(record, &mut decoder, &mut fold);
            taken.map_err(|source| ScanError::Registry { topic: topic.clone(), source })
        })?;
        let mut scan = fold.scan;
        scan.ids = fold.latest.into_iter().filter(|(_, latest)| latest.of_run).map(|(id, _)| id).collect();
        scan.topic = topic;
        Ok(scan)
    }

    fn take(
        &self,
        record: &BorrowedMessage<'_>,
        decoder: &mut StampDecoder,
        fold: &mut Fold,
    ) -> Result<(), Box<SchemaFailure>> {
        fold.scan.records_of_all += 1;
        let key = record.key().and_then(|key| Uuid::try_parse_ascii(key).ok()).map(|id| id.as_u128());
        // A tombstone only repeats the delete before it.
        let Some(value) = record.payload() else { return Ok(()) };
        let stamp = decoder.decode(value)?;
        let redriven = dead_letter::header(record, dead_letter::ATTEMPT).is_some();
        match (key, stamp) {
            // The record that failed stands before it.
            (Some(id), Some(stamp)) if redriven && fold.seen.contains(&(id, stamp.lsn)) => {}
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
    fn take(&mut self, id: ProfileId, stamp: &RecordStamp<'_>, run_id: &str) {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn fold(stamps: &[(ProfileId, &str, &str, i64)]) -> Fold {
        let mut fold = Fold::default();
        for (id, run_id, op, lsn) in stamps {
            fold.take(*id, &RecordStamp { run_id, op, lsn: *lsn }, "mine");
        }
        fold
    }

    fn ids(fold: &Fold) -> Vec<ProfileId> {
        let mut ids: Vec<ProfileId> =
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
