//! Redrives and purges: what both do is one transaction for every batch of dead letters.

use std::collections::BTreeMap;
use std::time::Duration;

use kafka::{KafkaConfig, TransactionError, TransactionalProducer, dead_letter, sequence};
use rdkafka::message::{Header, Message as _, OwnedHeaders};
use rdkafka::producer::BaseRecord;

use super::dead_letter::{DeadLetter, DeadLetterFilter};
use super::error::DlqError;
use super::open::{each_open, topics};
use crate::config::Settings;

/// Limits a transaction.
const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(30);
/// Limit the dead letters and the bytes of one transaction.
const BATCH_LETTERS: u64 = 500;
const BATCH_BYTES: usize = 4 << 20;

/// Says what is done with each dead letter.
#[derive(Debug, Clone, Copy)]
enum Action {
    /// Sends it to its source topic again, unless it was given up so often already.
    Redrive { max_attempts: u32 },
    /// Sets it aside for good.
    Purge,
}

/// Says what became of the dead letters that the filter takes.
#[derive(Debug, Default)]
pub struct Resolution {
    /// Counts those that were redriven or purged.
    pub resolved: u64,
    /// Counts those that were left as they are, by reason.
    pub left: BTreeMap<&'static str, u64>,
}

/// Sends the dead letters that the filter takes to the topics they came from, each once. Leaves those that were given
/// up `max_attempts` times. With `dry_run` nothing is written.
///
/// # Errors
/// Fails if Kafka is away, or another redrive or purge has taken over.
pub async fn redrive(
    settings: &Settings,
    filter: DeadLetterFilter,
    max_attempts: u32,
    dry_run: bool,
) -> Result<Resolution, DlqError> {
    resolve(settings, filter, Action::Redrive { max_attempts }, dry_run).await
}

/// Sets the dead letters that the filter takes aside for good. Their bytes stay until the topic's retention is over.
/// With `dry_run` nothing is written.
///
/// # Errors
/// As [`redrive`].
pub async fn purge(
    settings: &Settings,
    filter: DeadLetterFilter,
    dry_run: bool,
) -> Result<Resolution, DlqError> {
    resolve(settings, filter, Action::Purge, dry_run).await
}

async fn resolve(
    settings: &Settings,
    filter: DeadLetterFilter,
    action: Action,
    dry_run: bool,
) -> Result<Resolution, DlqError> {
    let (kafka, topics) = (settings.kafka.clone(), topics(settings));
    let sources: Vec<String> = settings.pipeline.data_topics().map(str::to_owned).to_vec();
    let done = tokio::task::spawn_blocking(move || {
        let writer = if dry_run { None } else { Some(Writer::new(&kafka, &transactional_id(&topics))?) };
        let mut run = Run { action, sources, writer, resolution: Resolution::default() };
        for topic in topics {
            run.topic(&kafka, &topic, &filter)?;
        }
        Ok::<_, DlqError>(run.resolution)
    });
    done.await?
}

/// Returns the transactional id of all that resolve the dead letters of these topics: the last one that took it is the
/// only one that writes.
fn transactional_id(topics: &[String]) -> String {
    format!("pipeline-dlq-{}", topics.join(","))
}

struct Run {
    action: Action,
    sources: Vec<String>,
    /// Is `None` if nothing is written.
    writer: Option<Writer>,
    resolution: Resolution,
}

impl Run {
    fn topic(&mut self, kafka: &KafkaConfig, topic: &str, filter: &DeadLetterFilter) -> Result<(), DlqError> {
        each_open(kafka, topic, filter, |letter, record| {
            if let Some(reason) = self.leave(&letter) {
                *self.resolution.left.entry(reason).or_default() += 1;
                return Ok(());
            }
            if let Some(writer) = &mut self.writer {
                let again = matches!(self.action, Action::Redrive { .. }).then(|| record.payload());
                writer.write(&letter, again)?;
            }
            self.resolution.resolved += 1;
            Ok::<(), DlqError>(())
        })?;
        self.writer.as_mut().map_or(Ok(()), Writer::commit)
    }

    /// Returns why a dead letter stays as it is.
    fn leave(&self, letter: &DeadLetter) -> Option<&'static str> {
        let Action::Redrive { max_attempts } = self.action else { return None };
        match &letter.source.topic {
            Some(topic) if self.sources.contains(topic) => {}
            _ => return Some("the source topic is not one of the pipeline's"),
        }
        if letter.value_left_out {
            return Some("the value was too large for a dead letter; `pipeline dlq show` names the record");
        }
        (letter.attempt >= max_attempts)
            .then_some("given up too often already (--max-attempts); repair the cause first")
    }
}

struct Writer {
    producer: TransactionalProducer,
    letters: u64,
    bytes: usize,
    /// Counts the dead letters of committed transactions.
    done: u64,
}

impl Writer {
    /// Takes the transactional id over, so that what is read afterwards is all there is.
    fn new(kafka: &KafkaConfig, id: &str) -> Result<Self, DlqError> {
        let failed = |source| DlqError::Transaction { done: 0, source };
        let largest = dead_letter::MAX_MESSAGE_BYTES.to_string();
        let settings = [("message.max.bytes", largest.as_str())];
        let producer = TransactionalProducer::new(kafka, id, TRANSACTION_TIMEOUT, &settings);
        let producer = producer.map_err(failed)?;
        producer.connect().map_err(failed)?;
        producer.init().map_err(failed)?;
        Ok(Self { producer, letters: 0, bytes: 0, done: 0 })
    }

    /// Writes the dead letter's resolution and, if it is sent again, its record: `Some` of the value.
    fn write(&mut self, letter: &DeadLetter, again: Option<Option<&[u8]>>) -> Result<(), DlqError> {
        let written = self.send(letter, again);
        written.map_err(|source| DlqError::Transaction { done: self.done, source })?;
        self.letters += 1;
        self.bytes += letter.value_bytes;
        if self.letters >= BATCH_LETTERS || self.bytes >= BATCH_BYTES { self.commit() } else { Ok(()) }
    }

    fn send(&self, letter: &DeadLetter, again: Option<Option<&[u8]>>) -> Result<(), TransactionError> {
        if self.letters == 0 {
            self.producer.begin()?;
        }
        let what = if again.is_some() { "redriven" } else { "purged" };
        if let (Some(value), Some(topic)) = (again, &letter.source.topic) {
            self.producer.send(original(letter, topic, value, headers(letter)))?;
        }
        let resolution = BaseRecord::<[u8], [u8]>::to(&letter.name.topic)
            .partition(letter.name.position.partition)
            .headers(dead_letter::resolution(what, letter.name.position.offset));
        self.producer.send(resolution)
    }

    fn commit(&mut self) -> Result<(), DlqError> {
        if self.letters == 0 {
            return Ok(());
        }
        self.producer.commit().map_err(|source| DlqError::Transaction { done: self.done, source })?;
        self.done += self.letters;
        (self.letters, self.bytes) = (0, 0);
        Ok(())
    }
}

/// Returns the record as it was and where it was: same topic, partition, key, value and time.
fn original<'r>(
    letter: &'r DeadLetter,
    topic: &'r str,
    value: Option<&'r [u8]>,
    headers: OwnedHeaders,
) -> BaseRecord<'r, [u8], [u8]> {
    let mut record = BaseRecord::to(topic).headers(headers);
    record.partition = letter.source.partition;
    record.key = letter.key.as_deref();
    record.payload = value;
    record.timestamp = letter.source.timestamp;
    record
}

/// Returns the record's own headers, and how often it was given up. Leaves its number out: a reader would take the
/// record for a repeat.
fn headers(letter: &DeadLetter) -> OwnedHeaders {
    let own = letter.headers.iter().filter(|(key, _)| key != sequence::HEADER && key != sequence::REPAIRED);
    let own = own.fold(OwnedHeaders::new(), |headers, (key, value)| {
        headers.insert(Header { key, value: value.as_deref() })
    });
    let attempt = letter.attempt.to_string();
    own.insert(Header { key: dead_letter::ATTEMPT, value: Some(attempt.as_str()) })
}
