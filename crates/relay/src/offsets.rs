//! Reading the position back from the offsets topic.
//!
//! To be done only after this relay's producer was initialised: until then its predecessor could still commit.
//! Everything here blocks its thread.

use std::time::{Duration, Instant};

use kafka::{KafkaConfig, LoggedContext};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use rdkafka::{Offset, TopicPartitionList};

use crate::progress::Progress;

const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the end of transactions that are open in the topic is waited for: those of relays of other slots.
const OPEN_TRANSACTION_PATIENCE: Duration = Duration::from_secs(3);

/// Records read in the first try; the position is nearly always among the last ones of the topic.
const FIRST_WINDOW: i64 = 1000;

/// Why the position can't be read.
#[derive(Debug, thiserror::Error)]
pub enum OffsetsError {
    /// The brokers are away, or hold another transaction open.
    #[error("topic {topic} can't be read to its end for the position")]
    Kafka {
        /// The offsets topic.
        topic: String,
        /// Kafka's error.
        source: KafkaError,
    },
    /// A transaction is open in the topic, so that what comes after it can't be read.
    #[error("a transaction stays open in topic {topic}, and the position may stand after it")]
    OpenTransaction {
        /// The offsets topic.
        topic: String,
    },
    /// The record is none of ours.
    #[error(
        "the record with key {slot} in topic {topic} is not a position of the relay: {text}; \
         another program, or a newer version of the relay, wrote it"
    )]
    Unreadable {
        /// The offsets topic.
        topic: String,
        /// The slot.
        slot: String,
        /// The record's value.
        text: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

/// The last committed progress of a slot.
///
/// # Errors
/// Kafka's, or a record that can't be read.
pub fn read(kafka: &KafkaConfig, topic: &str, slot: &str) -> Result<Option<Progress>, OffsetsError> {
    let latest = latest(kafka, topic, slot)?;
    let parse = |value: Vec<u8>| {
        serde_json::from_slice(&value).map_err(|source| OffsetsError::Unreadable {
            topic: topic.to_owned(),
            slot: slot.to_owned(),
            text: String::from_utf8_lossy(&value).into_owned(),
            source,
        })
    };
    latest.map(parse).transpose()
}

/// The value of the last committed record with this key; `None` if there is none, or one without a value.
fn latest(kafka: &KafkaConfig, topic: &str, key: &str) -> Result<Option<Vec<u8>>, OffsetsError> {
    let failed = |source| OffsetsError::Kafka { topic: topic.to_owned(), source };
    let (low, high) = bounds(kafka, topic, key)
        .map_err(failed)?
        .ok_or_else(|| OffsetsError::OpenTransaction { topic: topic.to_owned() })?;
    if low >= high {
        return Ok(None);
    }
    let group = group(key);
    let settings = [
        ("group.id", group.as_str()),
        ("enable.auto.commit", "false"),
        ("enable.partition.eof", "true"),
        ("isolation.level", "read_committed"),
        ("fetch.wait.max.ms", "10"),
    ];
    let consumer = kafka.client(&group, &settings).create_with_context(LoggedContext::default());
    let consumer = consumer.map_err(failed)?;
    let found = last_between(&consumer, topic, key, low, high).map_err(failed);
    // One of a group takes 100 ms to close, even if it never joined: nobody has to wait for that.
    std::thread::spawn(move || drop(consumer));
    found
}

/// The same within these offsets: among the last records at first, then further and further back.
fn last_between(
    consumer: &BaseConsumer<LoggedContext>,
    topic: &str,
    key: &str,
    low: i64,
    high: i64,
) -> Result<Option<Vec<u8>>, KafkaError> {
    let mut window = FIRST_WINDOW;
    loop {
        let start = low.max(high.saturating_sub(window));
        if let Some(found) = last_from(consumer, topic, key, start, high)? {
            return Ok(found);
        }
        if start <= low {
            return Ok(None);
        }
        window = window.saturating_mul(16);
    }
}

fn group(slot: &str) -> String {
    format!("relay-{slot}-position")
}

/// First and end offset of the topic, once a `read_committed` consumer can read to that end; `None` if it can't. What
/// this slot committed may lie behind another transaction that is open.
fn bounds(kafka: &KafkaConfig, topic: &str, slot: &str) -> Result<Option<(i64, i64)>, KafkaError> {
    // Of no group, which is enough for this.
    let looking = |isolation| -> Result<BaseConsumer<LoggedContext>, KafkaError> {
        let client = kafka.client(&group(slot), &[("isolation.level", isolation)]);
        client.create_with_context(LoggedContext::default())
    };
    let (low, high) = looking("read_uncommitted")?.fetch_watermarks(topic, 0, CALL_TIMEOUT)?;
    let committed = looking("read_committed")?;
    let deadline = Instant::now() + OPEN_TRANSACTION_PATIENCE;
    loop {
        let (_, stable) = committed.fetch_watermarks(topic, 0, CALL_TIMEOUT)?;
        if stable >= high {
            return Ok(Some((low, high)));
        }
        if Instant::now() > deadline {
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The value of the last record with the key from `start` to the end; the outer `None` if there is no such record,
/// the inner if it has no value.
fn last_from(
    consumer: &BaseConsumer<LoggedContext>,
    topic: &str,
    key: &str,
    start: i64,
    end: i64,
) -> Result<Option<Option<Vec<u8>>>, KafkaError> {
    if start >= end {
        return Ok(None);
    }
    let mut assignment = TopicPartitionList::new();
    assignment.add_partition_offset(topic, 0, Offset::Offset(start))?;
    consumer.assign(&assignment)?;
    let mut found = None;
    let mut quiet_since = Instant::now();
    loop {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(record)) => {
                quiet_since = Instant::now();
                if record.key() == Some(key.as_bytes()) {
                    found = Some(record.payload().map(<[u8]>::to_vec));
                }
            }
            Some(Err(KafkaError::PartitionEOF(_))) => return Ok(found),
            Some(Err(error)) => return Err(error),
            None if quiet_since.elapsed() > CALL_TIMEOUT => {
                return Err(KafkaError::OffsetFetch(rdkafka::error::RDKafkaErrorCode::OperationTimedOut));
            }
            None => {}
        }
    }
}
