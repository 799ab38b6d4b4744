//! Kafka transactions of records together with the position they lead to.
//!
//! Everything here blocks its thread for as long as Kafka takes, which is the back pressure of the stream.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use kafka::sequence::{REPAIRED, Sent};
use kafka::{KafkaConfig, TransactionError, TransactionalProducer, partitioner, sequence};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::BaseRecord;
use service::crash::{self, CrashPoint};

use crate::config::RelayConfig;
use crate::error::RelayError;
use crate::progress::Progress;
use crate::table::TableName;

/// Records between two servings of delivery reports.
const POLL_EVERY: u64 = 256;

/// The producer and its open transaction, if there is one.
#[derive(Debug)]
pub struct Sink {
    producer: TransactionalProducer,
    offsets_topic: String,
    slot: String,
    linger: Duration,
    max_records: u64,
    max_bytes: u64,
    /// Whether the transactional id was taken over.
    is_owner: bool,
    open: Option<Open>,
    /// The topics that records went to, and those of the position that was read back.
    topics: HashMap<String, Topic>,
}

/// A table's topic.
#[derive(Debug, Default)]
struct Topic {
    /// How many partitions it has; not known before the first record.
    partitions: Option<i32>,
    /// The numbers that its records have got.
    sent: Sent,
}

#[derive(Debug, Clone, Copy)]
struct Open {
    since: Instant,
    records: u64,
    bytes: u64,
}

/// A record for a table's topic.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// The table, for errors.
    pub table: &'a TableName,
    /// Where it goes.
    pub topic: &'a str,
    /// Its key.
    pub key: &'a [u8],
    /// Its value; `None` for a tombstone.
    pub value: Option<&'a [u8]>,
    /// Its timestamp, milliseconds since 1970.
    pub timestamp_ms: i64,
    /// The repair that it ends, if it does.
    pub repaired: Option<&'a str>,
}

impl Sink {
    /// Connects to Kafka. Blocks 8 s at the most.
    ///
    /// # Errors
    /// Kafka's.
    pub fn connect(kafka: &KafkaConfig, config: &RelayConfig) -> Result<Self, TransactionError> {
        let producer =
            TransactionalProducer::new(kafka, &config.transactional_id(), config.transaction_timeout, &[])?;
        producer.connect()?;
        Ok(Self {
            producer,
            offsets_topic: config.offsets_topic.clone(),
            slot: config.slot.clone(),
            linger: config.linger,
            max_records: config.max_transaction_records,
            max_bytes: config.max_transaction_bytes,
            is_owner: false,
            open: None,
            topics: HashMap::new(),
        })
    }

    /// Takes the transactional id over, which fences its last holder; not again if this sink did already, since
    /// whoever took it over later has fenced this sink. Nothing can be sent before. Blocks 8 s at the most.
    ///
    /// # Errors
    /// Kafka's.
    pub fn take_over(&mut self) -> Result<(), TransactionError> {
        if !self.is_owner {
            self.producer.init()?;
            self.is_owner = true;
        }
        Ok(())
    }

    /// Ends a transaction of this transactional id that the brokers believe to be complete and that is still open in
    /// the log, by writing to every partition it may be in and aborting.
    ///
    /// A broker that is killed between its decision to commit and the markers in the partitions leaves such a
    /// transaction if it runs with ZooKeeper: while it starts it does not know the partitions yet and takes them for
    /// deleted ("Couldn't find leader endpoint … these partitions are likely deleted already"). Readers then wait
    /// for ever. Its position is not committed, so that its records are published again.
    ///
    /// # Errors
    /// Kafka's.
    pub fn abort_leftovers(&self, partitions: &[(String, usize)]) -> Result<(), TransactionError> {
        self.producer.begin()?;
        for (topic, count) in partitions {
            for partition in 0..i32::try_from(*count).unwrap_or(i32::MAX) {
                self.producer.send(BaseRecord::<[u8], [u8]>::to(topic).partition(partition))?;
            }
        }
        self.producer.flush();
        self.producer.abort()
    }

    /// Adds a record to the open transaction, or begins one.
    ///
    /// # Errors
    /// Kafka's, or a record that is too large for it.
    pub fn send(&mut self, record: Record<'_>) -> Result<(), RelayError> {
        crash::here(CrashPoint::RelayBeforeProduce);
        let mut open = self.begin()?;
        let (partition, headers) = self.number(&record)?;
        let mut message = BaseRecord::<[u8], [u8]>::to(record.topic)
            .partition(partition)
            .key(record.key)
            .timestamp(record.timestamp_ms)
            .headers(headers);
        message.payload = record.value;
        self.producer.send(message).map_err(|source| refused(source, record))?;
        crash::here_after(CrashPoint::RelayAfterProduce, || self.producer.flush());
        open.records += 1;
        open.bytes += (record.key.len() + record.value.map_or(0, <[u8]>::len)) as u64;
        if open.records.is_multiple_of(POLL_EVERY) {
            self.producer.poll();
        }
        self.open = Some(open);
        Ok(())
    }

    /// Where a record goes, and the headers with its number there.
    fn number(&mut self, record: &Record<'_>) -> Result<(i32, OwnedHeaders), TransactionError> {
        let topic = match self.topics.get_mut(record.topic) {
            Some(topic) => topic,
            None => {
                let begun = Topic { partitions: None, sent: Sent::begin() };
                self.topics.entry(record.topic.to_owned()).or_insert(begun)
            }
        };
        let partitions = match topic.partitions {
            Some(partitions) => partitions,
            // Those of a running relay stay the same, so that the records of a key do.
            None => *topic.partitions.insert(self.producer.partitions(record.topic)?),
        };
        let partition = partitioner::partition(record.key, partitions);
        let mut headers = sequence::stamped::<OwnedHeaders>(None, topic.sent.next(0, partition));
        if let Some(repaired) = record.repaired {
            headers = headers.insert(Header { key: REPAIRED, value: Some(repaired) });
        }
        Ok((partition, headers))
    }

    /// Goes on with the numbers that the position has.
    pub fn count_on(&mut self, progress: Option<&Progress>) {
        let known = progress.into_iter().flat_map(|progress| progress.sent.clone());
        self.topics = known.map(|(name, sent)| (name, Topic { partitions: None, sent })).collect();
    }

    /// Commits the open transaction, or a new one, with the position that its records lead to and the numbers that
    /// they have got.
    ///
    /// # Errors
    /// Kafka's. The sink must not be used again then, since what became of the transaction is not known.
    pub fn commit(&mut self, mut progress: Progress) -> Result<(), RelayError> {
        self.begin()?;
        progress.sent = self.topics.iter().map(|(name, topic)| (name.clone(), topic.sent.clone())).collect();
        // It has no maps with keys that JSON can't have, so that it can always be written.
        let value = serde_json::to_vec(&progress).unwrap_or_default();
        let record = BaseRecord::to(&self.offsets_topic).key(self.slot.as_bytes()).payload(&value[..]);
        self.producer.send(record)?;
        crash::here(CrashPoint::RelayBeforeCommit);
        self.producer.commit()?;
        crash::here(CrashPoint::RelayAfterCommit);
        self.open = None;
        Ok(())
    }

    /// Gives the open transaction up, so that readers do not wait for it until the brokers do. The sink must not be
    /// used again then, since its numbers have gone on.
    ///
    /// # Errors
    /// Kafka's.
    pub fn abort(&self) -> Result<(), TransactionError> {
        self.producer.abort()
    }

    fn begin(&mut self) -> Result<Open, TransactionError> {
        if let Some(open) = self.open {
            return Ok(open);
        }
        self.producer.begin()?;
        let open = Open { since: Instant::now(), records: 0, bytes: 0 };
        self.open = Some(open);
        Ok(open)
    }

    /// Whether a transaction is open.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Whether the open transaction has as much as one may have.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.open.is_some_and(|open| open.records >= self.max_records || open.bytes >= self.max_bytes)
    }

    /// How long the transaction is open.
    #[must_use]
    pub fn age(&self) -> Option<Duration> {
        self.open.map(|open| open.since.elapsed())
    }

    /// When the open transaction is to commit, if nothing fills it before.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.open.map(|open| open.since + self.linger)
    }
}

fn refused(source: TransactionError, record: Record<'_>) -> RelayError {
    if source.code() == Some(RDKafkaErrorCode::MessageSizeTooLarge) {
        return RelayError::TooLarge {
            table: record.table.clone(),
            topic: record.topic.to_owned(),
            bytes: record.value.map_or(0, <[u8]>::len),
            source: Box::new(source),
        };
    }
    source.into()
}
