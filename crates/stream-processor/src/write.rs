//! What becomes of records: the engine's outcomes, written into the open transaction of a producer.
//!
//! Whoever reads records writes them with this, wherever it runs: the processor's workers, and the tasks of Spark. So
//! values, keys, partitions, headers and dead letters are the same for the same record.

use std::collections::HashMap;
use std::sync::Arc;

use events::RegistryError;
use kafka::context::{Refused, Throttle};
use kafka::dead_letter::Kept;
use kafka::producer::BATCH_BYTES;
use kafka::{TransactionalProducer, dead_letter, partitioner, sequence, topics};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::{Message, OwnedHeaders};
use rdkafka::producer::BaseRecord;

use crate::config::Settings;
use crate::continuity::Draft;
use crate::engine::{DeadLetter, Engine, Outcome, UnknownSchema};
use crate::error::SessionError;
use crate::tally::Outcomes;

/// Bytes of a record besides its value: key, headers and frame.
const RECORD_OVERHEAD: usize = 1024;
/// Of refused dead letters those with larger values are to blame, if there are any: brokers refuse the small ones that
/// came in the same request as well.
const LARGE: usize = 64 << 10;

/// An engine and where its outcomes go. Not shared: each worker has its own.
#[derive(Debug)]
pub struct Writer {
    engine: Engine,
    target_topic: String,
    target_partitions: i32,
    dead_letter_topic: String,
    /// The target topic's own limit of a batch, as far as it is known.
    target_bytes: usize,
    /// Keeps dead letters from flooding the log.
    dead_letters: Arc<Throttle>,
    /// What is kept of records whose dead letters were refused, by partition and offset.
    kept: HashMap<(i32, i64), Kept>,
}

impl Writer {
    /// `target_partitions` is how many partitions the target topic has, `target_id` the id of its schema.
    #[must_use]
    pub fn new(
        settings: &Settings,
        target_partitions: i32,
        target_id: u32,
        dead_letters: Arc<Throttle>,
    ) -> Self {
        let config = &settings.processor;
        let largest = config.max_record_bytes - RECORD_OVERHEAD;
        Self {
            engine: Engine::new(target_id, settings.policy.clone(), largest),
            target_topic: config.target_topic.clone(),
            target_partitions,
            dead_letter_topic: config.dead_letter_topic.clone(),
            target_bytes: usize::MAX,
            dead_letters,
            kept: HashMap::new(),
        }
    }

    /// Looks what the target topic takes, and makes dead letters of what is larger: the brokers would refuse it, and its
    /// transaction with it, each time. Blocks 5 s at the most.
    pub fn look_at_target(&mut self, settings: &Settings) {
        let (topic, largest) = (&self.target_topic, settings.processor.max_record_bytes);
        let Some(limit) = topics::max_message_bytes(&settings.kafka, topic) else { return };
        if limit < largest && limit != self.target_bytes {
            tracing::warn!(
                topic,
                limit,
                "max.message.bytes of the topic is below stream_processor.max_record_bytes, {largest}: larger records \
                 become dead letters"
            );
        }
        self.target_bytes = limit;
        self.engine.limit(limit.min(largest).saturating_sub(RECORD_OVERHEAD));
    }

    /// Keeps less of the records whose dead letters their topic has refused.
    pub fn keep_less(&mut self, refused: &[Refused]) {
        let any_large = refused.iter().any(|refused| refused.bytes > LARGE);
        for refused in refused.iter().filter(|refused| !any_large || refused.bytes > LARGE) {
            let kept = self.kept.entry(refused.source).or_default();
            *kept = kept.less().unwrap_or(*kept);
            let (partition, offset) = refused.source;
            tracing::warn!(partition, offset, ?kept, "a dead letter is too large: it is kept in part");
        }
    }

    /// A transaction was committed: what was refused is written.
    pub fn committed(&mut self) {
        if !self.kept.is_empty() {
            self.kept = HashMap::new();
        }
    }

    /// A producer that this can write with, which takes dead letters of any size. Not initialised yet.
    ///
    /// # Errors
    /// librdkafka does not take the settings.
    pub fn producer(&self, settings: &Settings, id: &str) -> Result<TransactionalProducer, SessionError> {
        let largest = dead_letter::MAX_MESSAGE_BYTES.to_string();
        let batch = BATCH_BYTES.min(self.target_bytes).to_string();
        let sizes = [("message.max.bytes", &*largest), ("batch.size", &*batch)];
        let timeout = settings.processor.transaction_timeout;
        Ok(TransactionalProducer::new(&settings.kafka, id, timeout, &sizes)?)
    }

    /// As of [`Engine::needs`].
    #[must_use]
    pub fn needs(&self, value: Option<&[u8]>) -> Option<UnknownSchema> {
        self.engine.needs(value)
    }

    /// Takes the registry's answer for a schema id.
    ///
    /// # Errors
    /// It was no answer: ask again later.
    pub fn learn(
        &mut self,
        unknown: UnknownSchema,
        answer: Result<String, RegistryError>,
    ) -> Result<(), Box<RegistryError>> {
        match answer {
            Ok(schema) => self.engine.learn(unknown.0, &schema),
            Err(RegistryError::NotFound { .. }) => self.engine.learn_missing(unknown.0),
            Err(
                error @ (RegistryError::Unavailable { .. }
                | RegistryError::Refused { .. }
                | RegistryError::Incompatible { .. }),
            ) => return Err(Box::new(error)),
        }
        Ok(())
    }

    /// As of [`Engine::forget_missing`].
    pub fn forget_missing(&mut self) {
        self.engine.forget_missing();
    }

    /// Sends what becomes of one record, unless it was read before.
    ///
    /// # Errors
    /// The producer does not take it, or its schema has not been learnt.
    pub fn write<M: Message>(
        &mut self,
        producer: &TransactionalProducer,
        record: &M,
        draft: &mut Draft,
        outcomes: &mut Outcomes,
    ) -> Result<(), SessionError> {
        if !draft.take(record) {
            outcomes.repeat();
            return Ok(());
        }
        let target = BaseRecord::<[u8], [u8]>::to(&self.target_topic);
        let partitions = self.target_partitions;
        match self.engine.process(record.key(), record.payload())? {
            Outcome::Record(value) => {
                producer.send(passed_on(target.payload(value), record, draft, partitions))?;
                outcomes.processed();
            }
            Outcome::Tombstone => {
                producer.send(passed_on(target, record, draft, partitions))?;
                outcomes.tombstone();
            }
            Outcome::DeadLetter(letter) => {
                outcomes.dead_letter(letter.kind);
                self.bury(producer, record, &letter)?;
            }
        }
        Ok(())
    }

    /// Sends a dead letter. One that is too large names its record, which stays where it is.
    fn bury<M: Message>(
        &self,
        producer: &TransactionalProducer,
        record: &M,
        letter: &DeadLetter,
    ) -> Result<(), SessionError> {
        let (partition, offset, kind) = (record.partition(), record.offset(), letter.kind.as_str());
        if let Some(held_back) = self.dead_letters.pass() {
            tracing::warn!(topic = record.topic(), partition, offset, kind, held_back, "dead letter");
        }
        let mut kept = self.kept.get(&(partition, offset)).copied().unwrap_or_default();
        loop {
            let headers = dead_letter::headers_with(record, crate::SERVICE, kind, &letter.message, kept);
            let mut dead = BaseRecord::<[u8], [u8]>::to(&self.dead_letter_topic).headers(headers);
            dead.key = kept.key(record);
            dead.payload = kept.value(record);
            match (producer.send(dead), kept.less()) {
                // By the producer's own limit: nothing was sent.
                (Err(error), Some(less)) if error.code() == Some(RDKafkaErrorCode::MessageSizeTooLarge) => {
                    kept = less;
                }
                (sent, _) => return Ok(sent?),
            }
        }
    }
}

/// Bytes of key and value.
pub fn size<M: Message>(record: &M) -> usize {
    record.key().map_or(0, <[u8]>::len) + record.payload().map_or(0, <[u8]>::len)
}

/// Key, timestamp and headers as they were, but for the number, which is one of this hop.
fn passed_on<'a, M: Message>(
    mut made: BaseRecord<'a, [u8], [u8]>,
    record: &'a M,
    draft: &mut Draft,
    partitions: i32,
) -> BaseRecord<'a, [u8], [u8]> {
    // The engine takes no record without a key.
    let key = record.key().unwrap_or_default();
    let partition = partitioner::partition(key, partitions);
    let number = draft.number(record.partition(), partition);
    if let Some(timestamp) = record.timestamp().to_millis() {
        made = made.timestamp(timestamp);
    }
    let headers: OwnedHeaders = sequence::stamped(record.headers(), number);
    made.key(key).partition(partition).headers(headers)
}
