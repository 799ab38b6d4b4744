//! What a topic has of the partitions that a repair is about, folded by key.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use events::cache::{CacheError, SchemaCache};
use events::{Registry, wire};
use kafka::reader::{Part, ReadError, partitions, read_to_end};
use kafka::sequence::{self, Missing};
use kafka::{KafkaConfig, partitioner};
use operate::dlq::RecordPosition;
use rdkafka::Message as _;
use rdkafka::message::BorrowedMessage;
use serde_avro_fast::Schema;
use serde_json::Value;
use tokio::runtime::Handle;
use uuid::Uuid;

use super::gaps::Gap;
use super::state::{Change, Fields, State};

#[derive(Debug, thiserror::Error)]
pub(crate) enum RecordsError {
    #[error(transparent)]
    Topic(#[from] ReadError),
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
    /// Where the records are that are open dead letters.
    pub(super) set_aside: HashSet<RecordPosition>,
}

/// How values of one schema are read.
struct Writer {
    schema: Schema,
    /// What `__before` has: the fields that say where a row is downstream.
    identity: Vec<String>,
}

/// A topic's records. Needs memory for every key.
#[derive(Debug, Default)]
pub(super) struct Records {
    partitions: i32,
    states: HashMap<String, State>,
    /// Numbers in the topic that a reader misses, and their keys.
    passed: Vec<(i32, sequence::Sequence, Option<String>)>,
}

/// The name of this client.
const CLIENT: &str = "pipeline-repair";
/// Keys that are tried for one that leads to a partition.
const KEYS_TRIED: u128 = 1_000_000;

impl Reader {
    /// Reads to the present end. Blocks.
    pub(super) fn read(self) -> Result<Records, RecordsError> {
        let mut schemas = SchemaCache::new(self.registry.clone());
        let mut records = Records::default();
        let mut top = 0;
        read_to_end(&self.kafka, CLIENT, &self.topic, Part::default(), |record| {
            top = top.max(record.partition());
            self.take(record, &mut schemas, &mut records)
        })?;
        records.partitions = partitions(&self.kafka, CLIENT, &self.topic)?.max(top + 1);
        Ok(records)
    }

    fn take(
        &self,
        record: &BorrowedMessage<'_>,
        schemas: &mut SchemaCache<Writer>,
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
            && let Some((fields, writer)) = self.decode(value, schemas)?
        {
            let set_aside = self.set_aside.contains(&RecordPosition::of(record));
            let change = Change { fields, identity: &writer.identity, set_aside };
            records.states.entry(key).or_default().take(change);
        }
        Ok(())
    }

    fn decode(
        &self,
        value: &[u8],
        schemas: &mut SchemaCache<Writer>,
    ) -> Result<Option<(Fields, Arc<Writer>)>, RecordsError> {
        let Ok((id, datum)) = wire::split(value) else { return Ok(None) };
        let writer = match schemas.get(id) {
            Some(known) => Arc::clone(known),
            None => match self.runtime.block_on(schemas.fetch(id, Writer::new)) {
                Ok(writer) => writer,
                Err(CacheError::Registry(error)) if error.is_transient() => {
                    let source = Box::new(CacheError::Registry(error));
                    return Err(RecordsError::Registry { topic: self.topic.clone(), source });
                }
                Err(CacheError::Registry(_) | CacheError::Unusable { .. }) => return Ok(None),
            },
        };
        let fields = serde_avro_fast::from_datum_slice(datum, &writer.schema).ok();
        Ok(fields.map(|fields| (fields, writer)))
    }
}

impl Writer {
    fn new(schema: &str) -> Result<Self, serde_avro_fast::schema::SchemaError> {
        let json: Value = serde_json::from_str(schema).unwrap_or_default();
        Ok(Self { schema: schema.parse()?, identity: identity(&json).unwrap_or_default() })
    }
}

/// The fields of the record that `__before` is, if it is not null.
fn identity(schema: &Value) -> Option<Vec<String>> {
    let name = |field: &Value| Some(field.get("name")?.as_str()?.to_owned());
    let fields = schema.get("fields")?.as_array()?;
    let before = fields.iter().find(|field| field["name"] == "__before")?.get("type")?;
    let branches = before.as_array().map_or(std::slice::from_ref(before), Vec::as_slice);
    let fields = branches.iter().find_map(|branch| branch.get("fields"))?.as_array()?;
    fields.iter().map(name).collect()
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
    pub(super) fn state(&self, key: &str) -> Option<&State> {
        self.states.get(key)
    }

    /// Every key whose row is there.
    pub(super) fn living(&self) -> impl Iterator<Item = &str> {
        self.keys(|_, state| state.fields.is_some())
    }

    /// The keys that have a later change here than there.
    pub(super) fn ahead_of<'r>(&'r self, there: &'r Self) -> impl Iterator<Item = &'r str> {
        self.keys(|key, here| here.is_ahead_of(there.states.get(key)))
    }

    /// The keys of which a change is missing between others.
    pub(super) fn torn(&self) -> impl Iterator<Item = &str> {
        self.keys(|_, state| state.is_torn())
    }

    fn keys<'r>(&'r self, takes: impl Fn(&str, &State) -> bool + 'r) -> impl Iterator<Item = &'r str> {
        self.states.iter().filter(move |(key, state)| takes(key, state)).map(|(key, _)| key.as_str())
    }

    /// The partition of a key.
    pub(super) fn partition_of(&self, key: &str) -> i32 {
        partitioner::partition(key.as_bytes(), self.partitions)
    }

    /// A key that no row has and that leads to a partition: a UUID of no version.
    pub(super) fn key_of_nobody(&self, partition: i32) -> String {
        let mut keys = (0..KEYS_TRIED).map(|number| Uuid::from_u128(number).to_string());
        keys.find(|key| self.partition_of(key) == partition).unwrap_or_default()
    }
}

/// The keys of a row as they are in the record's key.
pub(super) fn key_values(key: &str) -> Vec<String> {
    key.split('|').map(str::to_owned).collect()
}

/// Fields by name as text, see [`super::table::text`].
pub(super) type Texts = BTreeMap<String, String>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_identity_is_what_the_schema_keeps_from_before() {
        let processed = serde_json::from_str(events::schemas::USERS_PROCESSED).unwrap();
        let wanted = ["run_id", "country", "registered_at", "registered_month", "bucket"];
        assert_eq!(identity(&processed).unwrap(), wanted);
        assert_eq!(identity(&serde_json::json!({"fields": [{"name": "id", "type": "string"}]})), None);
    }

    #[test]
    fn every_partition_has_a_key_of_nobody() {
        let records = Records { partitions: 500, ..Records::default() };
        for partition in 0..500 {
            assert_eq!(records.partition_of(&records.key_of_nobody(partition)), partition);
        }
    }
}
