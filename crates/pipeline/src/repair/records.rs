//! What a topic has of the partitions that a repair is about, folded by key.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use events::cache::{CacheError, SchemaCache};
use events::meta::Op;
use events::{Registry, wire};
use kafka::sequence::{self, Missing};
use kafka::{KafkaConfig, partitioner};
use rdkafka::Message as _;
use rdkafka::message::BorrowedMessage;
use serde_avro_fast::Schema;
use serde_json::{Map, Value};
use tokio::runtime::Handle;

use super::gaps::Gap;
use crate::topic::{TopicError, read_to_end};

/// A record's fields by their names.
pub(super) type Fields = Map<String, Value>;

#[derive(Debug, thiserror::Error)]
pub(crate) enum RecordsError {
    #[error(transparent)]
    Topic(#[from] TopicError),
    #[error("the schema of a record in {topic} can't be had")]
    Registry { topic: String, source: Box<CacheError<serde_avro_fast::schema::SchemaError>> },
}

/// How to read a topic.
pub(super) struct Reader {
    pub(super) kafka: KafkaConfig,
    pub(super) registry: Registry,
    pub(super) runtime: Handle,
    pub(super) topic: String,
    pub(super) gaps: Vec<Gap>,
}

/// A topic's records. Needs memory for every key.
#[derive(Debug, Default)]
pub(super) struct Records {
    partitions: i32,
    latest: HashMap<String, Latest>,
    /// Numbers in the topic that a reader misses, and their keys.
    passed: Vec<(i32, sequence::Sequence, Option<String>)>,
}

/// What a topic says of a key.
#[derive(Debug, Default)]
pub(super) struct Latest {
    lsn: i64,
    /// The last value; `None` if it was a delete.
    pub(super) fields: Option<Fields>,
    /// The values of every record, as far as they differ in what identifies the row downstream: those before the
    /// last one, oldest first.
    pub(super) earlier: Vec<Fields>,
}

/// States of one row that are remembered.
const MAX_EARLIER: usize = 16;

impl Reader {
    /// Reads to the present end. Blocks.
    pub(super) fn read(self) -> Result<Records, RecordsError> {
        let mut schemas = SchemaCache::new(self.registry.clone());
        let mut records = Records::default();
        let mut top = 0;
        read_to_end(&self.kafka, "pipeline-repair", &self.topic, None, |record| {
            top = top.max(record.partition());
            self.take(record, &mut schemas, &mut records)
        })?;
        records.partitions = partitions(&self.kafka, &self.topic)?.max(top + 1);
        Ok(records)
    }

    fn take(
        &self,
        record: &BorrowedMessage<'_>,
        schemas: &mut SchemaCache<Schema>,
        records: &mut Records,
    ) -> Result<(), RecordsError> {
        let key = record.key().map(|key| String::from_utf8_lossy(key).into_owned());
        if let Some(number) = sequence::read(record.headers()).sequence {
            let is_it = |gap: &Gap| {
                gap.topic == self.topic && gap.partition == record.partition() && gap.missing.contains(number)
            };
            if self.gaps.iter().any(is_it) {
                records.passed.push((record.partition(), number, key.clone()));
            }
        }
        // A tombstone only repeats the delete before it. What can't be decoded is in the dead-letter topic.
        if let (Some(key), Some(value)) = (key, record.payload())
            && let Some(fields) = self.decode(value, schemas)?
        {
            records.latest.entry(key).or_default().take(fields);
        }
        Ok(())
    }

    fn decode(
        &self,
        value: &[u8],
        schemas: &mut SchemaCache<Schema>,
    ) -> Result<Option<Fields>, RecordsError> {
        let Ok((id, datum)) = wire::split(value) else { return Ok(None) };
        let schema = match schemas.get(id) {
            Some(known) => Arc::clone(known),
            None => match self.runtime.block_on(schemas.fetch(id, |text| text.parse::<Schema>())) {
                Ok(schema) => schema,
                Err(CacheError::Registry(error)) if error.is_transient() => {
                    let source = Box::new(CacheError::Registry(error));
                    return Err(RecordsError::Registry { topic: self.topic.clone(), source });
                }
                Err(CacheError::Registry(_) | CacheError::Unusable { .. }) => return Ok(None),
            },
        };
        Ok(serde_avro_fast::from_datum_slice(datum, &schema).ok())
    }
}

fn partitions(kafka: &KafkaConfig, topic: &str) -> Result<i32, TopicError> {
    let failed = |source| TopicError::Kafka { topic: topic.to_owned(), source };
    let count = crate::topic::partitions(kafka, "pipeline-repair", topic).map_err(failed)?;
    Ok(i32::try_from(count).unwrap_or(i32::MAX))
}

impl Latest {
    fn take(&mut self, fields: Fields) {
        self.lsn = fields.get("__lsn").and_then(Value::as_i64).unwrap_or_default();
        let is_delete = fields.get("__op").and_then(Value::as_str) == Some(Op::Delete.as_str());
        let last = self.fields.replace(fields);
        if let Some(last) = last.filter(|_| self.earlier.len() < MAX_EARLIER) {
            self.earlier.push(last);
        }
        if is_delete {
            self.fields = None;
        }
    }

    /// Every state that a reader may have made something of.
    pub(super) fn states(&self) -> impl Iterator<Item = &Fields> {
        self.earlier.iter().chain(&self.fields)
    }
}

impl Records {
    /// How many of the numbers are there, and the keys that they are about.
    pub(super) fn passed(&self, gap: &Gap) -> (u64, BTreeSet<String>) {
        let missing: &Missing = &gap.missing;
        let of_gap = |(partition, number, _): &&(i32, sequence::Sequence, Option<String>)| {
            *partition == gap.partition && missing.contains(*number)
        };
        let numbers: BTreeSet<u64> =
            self.passed.iter().filter(of_gap).map(|(_, number, _)| number.number).collect();
        let keys = self.passed.iter().filter(of_gap).filter_map(|(_, _, key)| key.clone()).collect();
        (numbers.len() as u64, keys)
    }

    /// What is known of a key.
    pub(super) fn latest(&self, key: &str) -> Option<&Latest> {
        self.latest.get(key)
    }

    /// Every key whose row is there.
    pub(super) fn living(&self) -> impl Iterator<Item = &str> {
        self.latest.iter().filter(|(_, latest)| latest.fields.is_some()).map(|(key, _)| key.as_str())
    }

    /// The keys that have a later change here than there.
    pub(super) fn ahead_of<'r>(&'r self, there: &'r Self) -> impl Iterator<Item = &'r str> {
        let ahead = |key: &str, lsn| there.latest.get(key).is_none_or(|there| there.lsn < lsn);
        self.latest.iter().filter(move |(key, here)| ahead(key, here.lsn)).map(|(key, _)| key.as_str())
    }

    /// The partition of a key.
    pub(super) fn partition_of(&self, key: &str) -> i32 {
        partitioner::partition(key.as_bytes(), self.partitions)
    }

    /// A key of a partition.
    pub(super) fn any_key(&self, partition: i32) -> Option<&str> {
        self.latest.keys().map(String::as_str).find(|key| self.partition_of(key) == partition)
    }
}

/// The keys of a row as they are in the record's key.
pub(super) fn key_values(key: &str) -> Vec<String> {
    key.split('|').map(str::to_owned).collect()
}

/// Fields by name as text, see [`super::table::text`].
pub(super) type Texts = BTreeMap<String, String>;
