//! A record on its way from the consumer to the writer.

use rdkafka::Timestamp;
use rdkafka::message::{BorrowedMessage, Message as _, OwnedHeaders, OwnedMessage};

use crate::offsets::Ticket;

/// A record, owned: the consumer's buffers are free again, and what waits for Cassandra has a known size.
#[derive(Debug)]
pub struct Record {
    /// Its place among those that were read.
    pub ticket: Ticket,
    /// The value; `None` is a tombstone.
    pub value: Option<Vec<u8>>,
    key: Option<Vec<u8>>,
    headers: Option<OwnedHeaders>,
    timestamp: Timestamp,
    partition: i32,
    offset: i64,
}

/// Records as they are handed over: at most [`BATCH_RECORDS`], and no more once they have [`BATCH_BYTES`].
pub type Batch = Vec<Record>;

/// Records of a batch. A batch wakes the writer once.
pub const BATCH_RECORDS: usize = 256;
/// Bytes after which a batch is full.
pub const BATCH_BYTES: usize = 128 << 10;

impl Record {
    /// Copies a message out of the consumer.
    #[must_use]
    pub fn new(message: &BorrowedMessage<'_>, ticket: Ticket) -> Self {
        Self {
            ticket,
            value: message.payload().map(<[u8]>::to_vec),
            key: message.key().map(<[u8]>::to_vec),
            headers: message.headers().map(rdkafka::message::BorrowedHeaders::detach),
            timestamp: message.timestamp(),
            partition: message.partition(),
            offset: message.offset(),
        }
    }

    /// Bytes of key and value, and a little for the record itself.
    #[must_use]
    pub fn size(&self) -> usize {
        let length = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or(0, Vec::len);
        length(&self.value) + length(&self.key) + size_of::<Self>()
    }

    /// The message as it was in the topic.
    #[must_use]
    pub fn to_message(&self, topic: &str) -> OwnedMessage {
        OwnedMessage::new(
            self.value.clone(),
            self.key.clone(),
            topic.to_owned(),
            self.timestamp,
            self.partition,
            self.offset,
            self.headers.clone(),
        )
    }
}
