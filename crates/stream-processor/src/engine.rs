//! One record's way from `users.raw` to `users.processed`, on bytes: decode, transform, encode.
//!
//! There is no Kafka and no registry in it: who calls it brings the writers' schemas ([`Engine::learn`]) and does what
//! the [`Outcome`] says. So every engine that runs this code gives the same bytes for the same record.

mod kind;
mod processed;
mod raw;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use domain::pii::PiiPolicy;
use domain::transform;
use events::wire;

use raw::{Reader, Unfit};

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

/// Registries give ids of Java's int; what is above it is not asked for, nor remembered.
const MAX_ID: u32 = i32::MAX.unsigned_abs();

/// What is known of a schema id.
enum Known {
    /// How its records are read.
    Schema(Box<Reader>),
    /// The registry answered that there is no such schema.
    Missing,
    /// The registry's answer is no schema.
    Unusable(String),
    /// The schema is not that of a user.
    NoUser(String),
}

/// Readers by schema id, the policy and the last value that was written. Not shared: each worker has its own.
pub struct Engine {
    readers: HashMap<u32, Known>,
    header: [u8; wire::HEADER_LEN],
    policy: PiiPolicy,
    max_value_bytes: usize,
    buffer: Vec<u8>,
}

impl Engine {
    /// `target_id` is the id of the schema `users.processed` in the registry. A value of more than `max_value_bytes`
    /// becomes a dead letter.
    #[must_use]
    pub fn new(target_id: u32, policy: PiiPolicy, max_value_bytes: usize) -> Self {
        Self {
            readers: HashMap::new(),
            header: wire::header(target_id),
            policy,
            max_value_bytes,
            buffer: Vec::with_capacity(1024),
        }
    }

    /// A value of more bytes becomes a dead letter from now on.
    pub fn limit(&mut self, max_value_bytes: usize) {
        self.max_value_bytes = max_value_bytes;
    }

    /// Tells the schema that an id stands for; what is not a schema makes its records dead letters.
    pub fn learn(&mut self, id: u32, schema: &str) {
        let known = match Reader::of(schema) {
            Ok(reader) => Known::Schema(Box::new(reader)),
            Err(Unfit::NoSchema(error)) => Known::Unusable(error.to_string()),
            Err(Unfit::NoUser(why)) => Known::NoUser(why),
        };
        self.readers.insert(id, known);
    }

    /// Tells that there is no schema with this id: its records are dead letters.
    pub fn learn_missing(&mut self, id: u32) {
        self.readers.insert(id, Known::Missing);
    }

    /// Forgets which ids do not exist. To be called now and then: garbage has any id, and one may come to exist.
    pub fn forget_missing(&mut self) {
        self.readers.retain(|_, known| !matches!(known, Known::Missing));
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
        let no_user =
            |why: &str| dead(Kind::Undecodable, format!("the value is not a user of schema {id}: {why}"));
        let reader = match self.readers.get(&id) {
            Some(Known::Schema(reader)) => reader,
            Some(Known::Missing) => return Ok(unknown()),
            None if id > MAX_ID => return Ok(unknown()),
            Some(Known::Unusable(why)) => {
                return Ok(dead(Kind::UnusableSchema, format!("schema {id} can't be used: {why}")));
            }
            Some(Known::NoUser(why)) => return Ok(no_user(why)),
            None => return Err(UnknownSchema(id)),
        };
        let raw = match reader.read(datum) {
            Ok(raw) => raw,
            Err(why) => return Ok(no_user(&why)),
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
        processed::put(&processed, &mut self.buffer);
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
