//! The last identity that a topic has of each key.

use std::collections::HashMap;
use std::sync::Arc;

use events::cache::{CacheError, SchemaCache};
use events::meta::{self, Op};
use events::{Registry, RegistryError, wire};
use kafka::KafkaConfig;
use kafka::reader::{Part, ReadError, partitions, read_to_end};
use rdkafka::message::Message as _;
use serde_avro_fast::Schema;
use tokio::runtime::Handle;

use super::scalar::Scalar;

/// The name of this client, and of a group that it never joins.
const CLIENT: &str = "relay-resnapshot";

/// A topic that can't be read to its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum TopicError {
    #[error(transparent)]
    Kafka(#[from] ReadError),
    #[error("a schema of topic {topic} can't be had")]
    Registry { topic: String, source: Box<RegistryError> },
}

/// The values of the identity's columns.
pub(super) type Identity = Vec<Scalar>;

/// What is to be read, and how. Blocks its thread.
pub(super) struct Reader {
    pub(super) kafka: KafkaConfig,
    pub(super) runtime: Handle,
    pub(super) topic: String,
    /// The identity's fields.
    pub(super) fields: Vec<String>,
    pub(super) schemas: SchemaCache<Schema>,
}

impl Reader {
    /// Of a topic and a table's identity.
    pub(super) fn new(kafka: &KafkaConfig, registry: &Registry, topic: &str, fields: Vec<String>) -> Self {
        Self {
            kafka: kafka.clone(),
            runtime: Handle::current(),
            topic: topic.to_owned(),
            fields,
            schemas: SchemaCache::new(registry.clone()),
        }
    }

    /// How many partitions there are.
    pub(super) fn partitions(&self) -> Result<i32, TopicError> {
        Ok(partitions(&self.kafka, CLIENT, &self.topic)?)
    }

    /// The identities of the rows that live by a partition's records, by key. Needs memory for every key.
    pub(super) fn read(&mut self, partition: i32) -> Result<HashMap<Vec<u8>, Identity>, TopicError> {
        let (kafka, topic) = (self.kafka.clone(), self.topic.clone());
        let part = Part { partition: Some(partition), since: None };
        let mut living = HashMap::new();
        read_to_end(&kafka, CLIENT, &topic, part, |record| {
            // A tombstone only repeats the delete before it.
            if let (Some(key), Some(value)) = (record.key(), record.payload()) {
                match self.identity(value)? {
                    Some(Some(identity)) => drop(living.insert(key.to_vec(), identity)),
                    Some(None) => drop(living.remove(key)),
                    // The processor has set it aside, so that nothing was made of it.
                    None => {}
                }
            }
            Ok::<(), TopicError>(())
        })?;
        Ok(living)
    }

    /// What a record says of its row: the inner `None` that it is deleted, the outer that it can't be decoded.
    fn identity(&mut self, value: &[u8]) -> Result<Option<Option<Identity>>, TopicError> {
        let Ok((id, datum)) = wire::split(value) else { return Ok(None) };
        let schema = match self.schemas.get(id) {
            Some(known) => Arc::clone(known),
            None => match self.runtime.block_on(self.schemas.fetch(id, |text| text.parse::<Schema>())) {
                Ok(schema) => schema,
                Err(CacheError::Registry(source)) if source.is_transient() => {
                    return Err(TopicError::Registry { topic: self.topic.clone(), source: Box::new(source) });
                }
                Err(CacheError::Registry(_) | CacheError::Unusable { .. }) => return Ok(None),
            },
        };
        let Some(mut fields) = decode(datum, &schema) else { return Ok(None) };
        if fields.get(meta::OP) == Some(&Scalar::Text(Op::Delete.as_str().to_owned())) {
            return Ok(Some(None));
        }
        Ok(Some(Some(identity(&mut fields, &self.fields))))
    }
}

/// A record's fields; `None` if they can't be read.
pub(super) fn decode(datum: &[u8], schema: &Schema) -> Option<HashMap<String, Scalar>> {
    serde_avro_fast::from_datum_slice(datum, schema).ok()
}

/// The identity's values; one that the record's schema does not have is null.
pub(super) fn identity(fields: &mut HashMap<String, Scalar>, names: &[String]) -> Identity {
    names.iter().map(|name| fields.remove(name).unwrap_or(Scalar::Null)).collect()
}
