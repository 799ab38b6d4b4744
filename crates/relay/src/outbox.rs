//! Records on their way to librdkafka, handed over many at a time.
//!
//! librdkafka sends a batch to a partition a millisecond after its first record, in a request of its own. Rows that
//! come one by one would be thousands of small requests a second, and most of the broker's work.

use std::sync::Arc;

use kafka::{TransactionError, TransactionalProducer};
use rdkafka::message::OwnedHeaders;
use rdkafka::producer::BaseRecord;

use crate::sink::Record;

/// Bytes of keys and values after which the records are handed over.
const FULL: usize = 256 << 10;

/// Bytes of the largest record that is kept here; larger ones gain nothing.
const LARGEST: usize = 32 << 10;

/// At most [`FULL`] and one more record's bytes; whoever adds to it hands over what it has when it is full.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    /// Keys and values, one after the other.
    bytes: Vec<u8>,
    records: Vec<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    topic: Arc<str>,
    partition: i32,
    key: usize,
    value: Option<usize>,
    timestamp_ms: i64,
    headers: OwnedHeaders,
}

impl Outbox {
    /// Whether a record is small enough to wait here.
    pub(crate) fn takes(record: &Record<'_>) -> bool {
        record.bytes() <= LARGEST
    }

    pub(crate) fn push(
        &mut self,
        record: &Record<'_>,
        topic: Arc<str>,
        partition: i32,
        headers: OwnedHeaders,
    ) {
        self.bytes.extend_from_slice(record.key);
        self.bytes.extend_from_slice(record.value.unwrap_or_default());
        self.records.push(Waiting {
            topic,
            partition,
            key: record.key.len(),
            value: record.value.map(<[u8]>::len),
            timestamp_ms: record.timestamp_ms,
            headers,
        });
    }

    pub(crate) const fn is_full(&self) -> bool {
        self.bytes.len() >= FULL
    }

    /// Sends everything, in order.
    ///
    /// # Errors
    /// Kafka's; what was not sent is dropped, as its transaction can't be committed.
    pub(crate) fn hand_over(&mut self, producer: &TransactionalProducer) -> Result<(), TransactionError> {
        let mut rest = &self.bytes[..];
        for waiting in self.records.drain(..) {
            let (key, after) = rest.split_at(waiting.key);
            let (value, after) = after.split_at(waiting.value.unwrap_or(0));
            rest = after;
            let mut message = BaseRecord::<[u8], [u8]>::to(&waiting.topic)
                .partition(waiting.partition)
                .key(key)
                .timestamp(waiting.timestamp_ms)
                .headers(waiting.headers);
            message.payload = waiting.value.map(|_| value);
            producer.send(message)?;
        }
        self.bytes.clear();
        producer.poll();
        Ok(())
    }
}
