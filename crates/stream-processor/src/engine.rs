//! One record's way from `users.raw` to `users.processed`, on bytes: decode, transform, encode.
//!
//! There is no Kafka and no registry in it: who calls it brings the writers' schemas ([`Engine::learn`]) and does what
//! the [`Outcome`] says. So every engine that runs this code gives the same bytes for the same record.

mod kind;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::io::Read as _;

use domain::pii::PiiPolicy;
use domain::{ProcessedUser, RawUser, transform};
use events::wire;
use serde::Deserialize as _;
use serde_avro_fast::Schema;
use serde_avro_fast::de::DeserializerState;
use serde_avro_fast::ser::SerializerConfig;

pub use kind::Kind;

/// What to do with a record. Its key, timestamp and headers stay as they were.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome<'e> {
    /// Write this value to the target topic.
    Record(&'e [u8]),
    /// Write a null value to the target topic: the key is deleted.
    Tombstone,
    /// Write the record as it is to the dead-letter topic.
    DeadLetter(DeadLetter),
}

/// Why a record can't go on.
#[derive(Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// For machines.
    pub kind: Kind,
    /// For people; quotes no personal data.
    pub message: String,
}

/// The record's schema is not known: hand it to [`Engine::learn`] and process the record again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("schema {0} has not been learnt")]
pub struct UnknownSchema(pub u32);

/// The target's schema can't be used.
#[derive(Debug, thiserror::Error)]
#[error("the schema of the processed records is not one")]
pub struct BadTargetSchema(#[source] Box<dyn std::error::Error + Send + Sync>);

/// Registries give ids of Java's int; what is above it is not asked for, nor remembered.
const MAX_ID: u32 = i32::MAX.unsigned_abs();

/// How records of one schema id are read.
enum Reader {
    Schema(Box<Schema>),
    /// The registry answered that there is none.
    Missing,
    /// The registry's answer is no schema.
    Unusable(String),
}

/// Decoders by schema id, the policy and the encoder. Not shared: each worker has its own.
pub struct Engine {
    readers: HashMap<u32, Reader>,
    target: Box<Schema>,
    header: [u8; wire::HEADER_LEN],
    policy: PiiPolicy,
    max_value_bytes: usize,
    buffer: Vec<u8>,
}

impl Engine {
    /// `target` is the schema of the values that are written, `target_id` its id in the registry. A value of more than
    /// `max_value_bytes` becomes a dead letter.
    ///
    /// # Errors
    /// `target` is not an Avro schema.
    pub fn new(
        target: &str,
        target_id: u32,
        policy: PiiPolicy,
        max_value_bytes: usize,
    ) -> Result<Self, BadTargetSchema> {
        Ok(Self {
            readers: HashMap::new(),
            target: Box::new(target.parse().map_err(|error| BadTargetSchema(Box::new(error)))?),
            header: wire::header(target_id),
            policy,
            max_value_bytes,
            buffer: Vec::with_capacity(1024),
        })
    }

    /// Tells the schema that an id stands for; what is not a schema makes its records dead letters.
    pub fn learn(&mut self, id: u32, schema: &str) {
        let reader = match schema.parse() {
            Ok(schema) => Reader::Schema(Box::new(schema)),
            Err(error) => Reader::Unusable(error.to_string()),
        };
        self.readers.insert(id, reader);
    }

    /// Tells that there is no schema with this id: its records are dead letters.
    pub fn learn_missing(&mut self, id: u32) {
        self.readers.insert(id, Reader::Missing);
    }

    /// Forgets which ids do not exist. To be called now and then: garbage has any id, and one may come to exist.
    pub fn forget_missing(&mut self) {
        self.readers.retain(|_, reader| !matches!(reader, Reader::Missing));
    }

    /// The id of the schema that this value needs and that has not been learnt.
    #[must_use]
    pub fn needs(&self, value: Option<&[u8]>) -> Option<UnknownSchema> {
        let (id, _) = wire::split(value?).ok()?;
        (id <= MAX_ID && !self.readers.contains_key(&id)).then_some(UnknownSchema(id))
    }

    /// Processes one record. The same record gives the same outcome, whenever and wherever.
    ///
    /// # Errors
    /// The writer's schema has not been learnt; never if [`Self::needs`] said none.
    pub fn process(
        &mut self,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
    ) -> Result<Outcome<'_>, UnknownSchema> {
        let Some(key) = key else {
            return Ok(dead(Kind::MissingKey, "the record has no key"));
        };
        let Some(value) = value else {
            return Ok(Outcome::Tombstone);
        };
        let (id, datum) = match wire::split(value) {
            Ok(parts) => parts,
            Err(error) => return Ok(dead(Kind::NotAvro, error.to_string())),
        };
        let unknown = || dead(Kind::UnknownSchema, format!("the registry knows no schema {id}"));
        let schema = match self.readers.get(&id) {
            Some(Reader::Schema(schema)) => schema,
            Some(Reader::Missing) => return Ok(unknown()),
            None if id > MAX_ID => return Ok(unknown()),
            Some(Reader::Unusable(why)) => {
                return Ok(dead(Kind::UnusableSchema, format!("schema {id} can't be used: {why}")));
            }
            None => return Err(UnknownSchema(id)),
        };
        let raw = match decode(datum, schema) {
            Ok(raw) => raw,
            Err(why) => {
                return Ok(dead(Kind::Undecodable, format!("the value is not a user of schema {id}: {why}")));
            }
        };
        if raw.id.as_bytes() != key {
            return Ok(dead(Kind::KeyMismatch, "the key is not the id of the value"));
        }
        let processed = match transform(&raw, &self.policy) {
            Ok(processed) => processed,
            Err(reject) => return Ok(dead(Kind::Rejected(reject.kind), reject.message)),
        };
        self.buffer.clear();
        self.buffer.extend_from_slice(&self.header);
        if let Err(why) = encode(&processed, &self.target, &mut self.buffer) {
            return Ok(dead(Kind::Unencodable, why));
        }
        if self.buffer.len() > self.max_value_bytes {
            let (len, limit) = (self.buffer.len(), self.max_value_bytes);
            return Ok(dead(
                Kind::TooLarge,
                format!("the processed value has {len} bytes, {limit} are allowed"),
            ));
        }
        Ok(Outcome::Record(&self.buffer))
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("policy", &self.policy).finish_non_exhaustive()
    }
}

fn dead(kind: Kind, message: impl Into<String>) -> Outcome<'static> {
    Outcome::DeadLetter(DeadLetter { kind, message: message.into() })
}

/// Avro has no end mark, so bytes that are left over tell that the value was written with another schema.
fn decode<'a>(datum: &'a [u8], schema: &Schema) -> Result<RawUser<'a>, String> {
    let mut state = DeserializerState::from_slice(datum, schema);
    let raw = RawUser::deserialize(state.deserializer()).map_err(|error| error.to_string())?;
    match state.into_reader().read(&mut [0]) {
        Ok(0) => Ok(raw),
        _ => Err("bytes are left over".to_owned()),
    }
}

fn encode(user: &ProcessedUser<'_>, schema: &Schema, buffer: &mut Vec<u8>) -> Result<(), String> {
    // Costs nothing here: its buffers are for fields that come in another order than the schema's.
    let mut config = SerializerConfig::new(schema);
    serde_avro_fast::to_datum(user, buffer, &mut config).map(drop).map_err(|error| error.to_string())
}
