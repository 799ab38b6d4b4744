//! `pipeline dlq redrive` and `purge`: what both do is one transaction for every batch of letters.

use std::collections::BTreeMap;
use std::time::Duration;

use kafka::reader::ReadError;
use kafka::{KafkaConfig, TransactionError, TransactionalProducer, dead_letter, sequence};
use rdkafka::message::{Header, Message as _, OwnedHeaders};
use rdkafka::producer::BaseRecord;
use serde_json::json;
use service::BoxError;

use super::letter::Letter;
use super::{Filter, each_open, topics};
use crate::config::Settings;
use output::Output;

const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(30);
/// Letters and bytes of one transaction, at the most.
const BATCH_LETTERS: u64 = 500;
const BATCH_BYTES: usize = 4 << 20;

/// A redrive or purge that stopped before its end.
#[derive(Debug, thiserror::Error)]
enum ResolveError {
    #[error(transparent)]
    Topic(#[from] ReadError),
    #[error("stopped after {done} dead letters; run it again, it goes on with those that are still open")]
    Transaction { done: u64, source: TransactionError },
}

/// What is done with each letter.
#[derive(Debug, Clone, Copy)]
enum Action {
    /// Sent to its source topic again, unless it was given up so often already.
    Redrive { max_attempts: u32 },
    /// Set aside for good.
    Purge,
}

/// How many of the letters.
#[derive(Debug, Default)]
struct Outcome {
    resolved: u64,
    /// Left, by reason.
    left: BTreeMap<&'static str, u64>,
}

/// Sends the letters that the filter takes to the topics they came from. With `dry_run` nothing is written.
///
/// # Errors
/// Kafka is away, or another `pipeline dlq` has taken over.
pub async fn redrive(
    settings: &Settings,
    filter: Filter,
    max_attempts: u32,
    dry_run: bool,
    output: &Output,
) -> Result<(), BoxError> {
    let outcome = resolve(settings, filter, Action::Redrive { max_attempts }, dry_run).await?;
    report(&outcome, "redriven", dry_run, output);
    Ok(())
}

/// Sets the letters that the filter takes aside for good; their bytes stay until the topic's retention is over.
///
/// # Errors
/// As for [`redrive`].
pub async fn purge(
    settings: &Settings,
    filter: Filter,
    dry_run: bool,
    output: &Output,
) -> Result<(), BoxError> {
    let outcome = resolve(settings, filter, Action::Purge, dry_run).await?;
    report(&outcome, "purged", dry_run, output);
    Ok(())
}

fn report(outcome: &Outcome, what: &str, dry_run: bool, output: &Output) {
    output.document(&json!({ what: outcome.resolved, "left": outcome.left, "dry_run": dry_run }));
    let would = if dry_run { "would be " } else { "" };
    output.line(format_args!("{} {would}{what}", outcome.resolved));
    for (reason, count) in &outcome.left {
        output.line(format_args!("{count} left: {reason}"));
    }
}

async fn resolve(
    settings: &Settings,
    filter: Filter,
    action: Action,
    dry_run: bool,
) -> Result<Outcome, BoxError> {
    let (kafka, topics) = (settings.kafka.clone(), topics(settings));
    let sources: Vec<String> = settings.pipeline.data_topics().map(str::to_owned).to_vec();
    let done = tokio::task::spawn_blocking(move || {
        let writer = if dry_run { None } else { Some(Writer::new(&kafka, &transactional_id(&topics))?) };
        let mut run = Run { action, sources, writer, outcome: Outcome::default() };
        for topic in topics {
            run.topic(&kafka, &topic, &filter)?;
        }
        Ok::<_, ResolveError>(run.outcome)
    });
    Ok(done.await??)
}

/// One of a kind among those that resolve the letters of these topics: whoever has it last is the only one that writes.
fn transactional_id(topics: &[String]) -> String {
    format!("pipeline-dlq-{}", topics.join(","))
}

struct Run {
    action: Action,
    sources: Vec<String>,
    /// None writes nothing.
    writer: Option<Writer>,
    outcome: Outcome,
}

impl Run {
    fn topic(&mut self, kafka: &KafkaConfig, topic: &str, filter: &Filter) -> Result<(), ResolveError> {
        each_open(kafka, topic, filter, |letter, record| {
            if let Some(reason) = self.leave(&letter) {
                *self.outcome.left.entry(reason).or_default() += 1;
                return Ok(());
            }
            if let Some(writer) = &mut self.writer {
                let again = matches!(self.action, Action::Redrive { .. }).then(|| record.payload());
                writer.write(&letter, again)?;
            }
            self.outcome.resolved += 1;
            Ok::<(), ResolveError>(())
        })?;
        self.writer.as_mut().map_or(Ok(()), Writer::commit)
    }

    /// Why a letter stays as it is.
    fn leave(&self, letter: &Letter) -> Option<&'static str> {
        let Action::Redrive { max_attempts } = self.action else { return None };
        match &letter.source_topic {
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
    /// Letters of committed transactions.
    done: u64,
}

impl Writer {
    /// Takes the transactional id over, so that what is read afterwards is all there is.
    fn new(kafka: &KafkaConfig, id: &str) -> Result<Self, ResolveError> {
        let failed = |source| ResolveError::Transaction { done: 0, source };
        let largest = dead_letter::MAX_MESSAGE_BYTES.to_string();
        let settings = [("message.max.bytes", largest.as_str())];
        let producer = TransactionalProducer::new(kafka, id, TRANSACTION_TIMEOUT, &settings);
        let producer = producer.map_err(failed)?;
        producer.connect().map_err(failed)?;
        producer.init().map_err(failed)?;
        Ok(Self { producer, letters: 0, bytes: 0, done: 0 })
    }

    /// The letter's resolution and, if it goes out again, its record: `Some` of the value.
    fn write(&mut self, letter: &Letter, again: Option<Option<&[u8]>>) -> Result<(), ResolveError> {
        let written = self.send(letter, again);
        written.map_err(|source| ResolveError::Transaction { done: self.done, source })?;
        self.letters += 1;
        self.bytes += letter.value_bytes;
        if self.letters >= BATCH_LETTERS || self.bytes >= BATCH_BYTES { self.commit() } else { Ok(()) }
    }

    fn send(&self, letter: &Letter, again: Option<Option<&[u8]>>) -> Result<(), TransactionError> {
        if self.letters == 0 {
            self.producer.begin()?;
        }
        let what = if again.is_some() { "redriven" } else { "purged" };
        if let (Some(value), Some(topic)) = (again, &letter.source_topic) {
            self.producer.send(original(letter, topic, value, headers(letter)))?;
        }
        let resolution = BaseRecord::<[u8], [u8]>::to(&letter.name.topic)
            .partition(letter.name.position.partition)
            .headers(dead_letter::resolution(what, letter.name.position.offset));
        self.producer.send(resolution)
    }

    fn commit(&mut self) -> Result<(), ResolveError> {
        if self.letters == 0 {
            return Ok(());
        }
        self.producer.commit().map_err(|source| ResolveError::Transaction { done: self.done, source })?;
        self.done += self.letters;
        (self.letters, self.bytes) = (0, 0);
        Ok(())
    }
}

/// The record as it was, where it was: same topic, partition, key, value and time.
fn original<'r>(
    letter: &'r Letter,
    topic: &'r str,
    value: Option<&'r [u8]>,
    headers: OwnedHeaders,
) -> BaseRecord<'r, [u8], [u8]> {
    let mut record = BaseRecord::to(topic).headers(headers);
    record.partition = letter.source_partition;
    record.key = letter.key.as_deref();
    record.payload = value;
    record.timestamp = letter.source_timestamp;
    record
}

/// Its own headers, and how often it was given up. Without its number: a reader would take it for a repeat.
fn headers(letter: &Letter) -> OwnedHeaders {
    let own = letter.headers.iter().filter(|(key, _)| key != sequence::HEADER && key != sequence::REPAIRED);
    let own = own.fold(OwnedHeaders::new(), |headers, (key, value)| {
        headers.insert(Header { key, value: value.as_deref() })
    });
    let attempt = letter.attempt.to_string();
    own.insert(Header { key: dead_letter::ATTEMPT, value: Some(attempt.as_str()) })
}
