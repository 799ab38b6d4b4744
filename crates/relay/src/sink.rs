//! Kafka transactions of records together with the position they lead to.
//!
//! Everything here blocks its thread for as long as Kafka takes, which is the back pressure of the stream.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kafka::sequence::{REPAIRED, Sent};
use kafka::{KafkaConfig, TransactionError, TransactionalProducer, partitioner, sequence};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::BaseRecord;
use service::crash::{self, CrashPoint};

use crate::config::RelayConfig;
use crate::error::RelayError;
use crate::outbox::Outbox;
use crate::progress::Progress;
use crate::table::TableName;

/// How old a change is that has waited: a stream this far behind is made for throughput, as a few milliseconds more do
/// not matter to it, and fewer, larger transactions and requests let it catch up.
const BEHIND: Duration = Duration::from_millis(200);

/// How long a transaction of changes that have waited waits for more.
const BEHIND_LINGER: Duration = Duration::from_millis(50);

/// How long the brokers write a transaction's markers after they have confirmed its commit, less what tokio's timer and
/// librdkafka take until they ask for the next one: a millisecond each. Until the brokers are done they refuse it
/// (`CONCURRENT_TRANSACTIONS`), and librdkafka tries again only 20 ms later
/// (`rd_kafka_txn_handle_AddPartitionsToTxn`).
const SETTLING: Duration = Duration::from_millis(3);

/// Without a commit for so long, changes come one by one, and what is sent at once is sooner there.
const QUIET: Duration = Duration::from_millis(20);

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
    /// When the last transaction was committed.
    committed: Instant,
    outbox: Outbox,
    /// The topics that records went to, and those of the position that was read back.
    topics: HashMap<String, Topic>,
}

/// A table's topic.
#[derive(Debug)]
struct Topic {
    name: Arc<str>,
    /// How many partitions it has; not known before the first record.
    partitions: Option<i32>,
    /// The numbers that its records have got.
    sent: Sent,
}

#[derive(Debug, Clone, Copy)]
struct Open {
    since: Instant,
    /// When it is to commit, if nothing fills it before.
    due: Instant,
    /// Whether its first change has waited.
    behind: bool,
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

impl Record<'_> {
    /// Bytes of its key and its value.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.key.len() + self.value.map_or(0, <[u8]>::len)
    }
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
            committed: Instant::now(),
            outbox: Outbox::default(),
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
        let mut open = self.begin(record.timestamp_ms)?;
        open.records += 1;
        open.bytes += record.bytes() as u64;
        self.open = Some(open);
        let (topic, partition, headers) = self.number(&record)?;
        if Outbox::takes(&record) {
            self.outbox.push(&record, topic, partition, headers);
            if self.outbox.is_full() || crash::is_armed(CrashPoint::RelayAfterProduce) {
                self.outbox.hand_over(&self.producer)?;
            }
        } else {
            self.outbox.hand_over(&self.producer)?;
            let mut message = BaseRecord::<[u8], [u8]>::to(&topic)
                .partition(partition)
                .key(record.key)
                .timestamp(record.timestamp_ms)
                .headers(headers);
            message.payload = record.value;
            self.producer.send(message).map_err(|source| refused(source, record))?;
        }
        crash::here_after(CrashPoint::RelayAfterProduce, || self.producer.flush());
        Ok(())
    }

    /// To be called when nothing more is at hand: what was sent goes on its way if there is little of it. In a steady
    /// stream it waits for the commit, since more comes soon.
    ///
    /// # Errors
    /// Kafka's.
    pub fn pause(&mut self) -> Result<(), TransactionError> {
        if self.open.is_some_and(|open| !open.behind) && self.committed.elapsed() >= QUIET {
            self.outbox.hand_over(&self.producer)?;
        }
        Ok(())
    }

    /// Where a record goes, and the headers with its number there.
    fn number(&mut self, record: &Record<'_>) -> Result<(Arc<str>, i32, OwnedHeaders), TransactionError> {
        let topic = match self.topics.get_mut(record.topic) {
            Some(topic) => topic,
            None => {
                let begun = Topic::new(record.topic, Sent::begin());
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
        Ok((Arc::clone(&topic.name), partition, headers))
    }

    /// Goes on with the numbers that the position has.
    pub fn count_on(&mut self, progress: Option<&Progress>) {
        let known = progress.into_iter().flat_map(|progress| progress.sent.clone());
        self.topics = known
            .map(|(name, sent)| {
                let topic = Topic::new(&name, sent);
                (name, topic)
            })
            .collect();
    }

    /// Commits the open transaction, or a new one, with the position that its records lead to and the numbers that
    /// they have got.
    ///
    /// # Errors
    /// Kafka's. The sink must not be used again then, since what became of the transaction is not known.
    pub fn commit(&mut self, mut progress: Progress) -> Result<(), RelayError> {
        self.begin(i64::MAX)?;
        self.outbox.hand_over(&self.producer)?;
        progress.sent = self.topics.iter().map(|(name, topic)| (name.clone(), topic.sent.clone())).collect();
        // It has no maps with keys that JSON can't have, so that it can always be written.
        let value = serde_json::to_vec(&progress).unwrap_or_default();
        let record = BaseRecord::to(&self.offsets_topic).key(self.slot.as_bytes()).payload(&value[..]);
        self.producer.send(record)?;
        crash::here(CrashPoint::RelayBeforeCommit);
        self.producer.commit()?;
        crash::here(CrashPoint::RelayAfterCommit);
        self.open = None;
        self.committed = Instant::now();
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

    /// The open transaction, or a new one, whose first change is of this time.
    fn begin(&mut self, timestamp_ms: i64) -> Result<Open, TransactionError> {
        if let Some(open) = self.open {
            return Ok(open);
        }
        self.producer.begin()?;
        let age = chrono::Utc::now().timestamp_millis().saturating_sub(timestamp_ms);
        let age = Duration::from_millis(u64::try_from(age).unwrap_or(0));
        let behind = age > BEHIND;
        let now = Instant::now();
        let linger = if behind { self.linger.max(BEHIND_LINGER) } else { self.linger.saturating_sub(age) };
        let due = (now + linger).max(self.committed + SETTLING);
        let open = Open { since: now, due, behind, records: 0, bytes: 0 };
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
        self.open.map(|open| open.due)
    }
}

impl Topic {
    fn new(name: &str, sent: Sent) -> Self {
        Self { name: name.into(), partitions: None, sent }
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
