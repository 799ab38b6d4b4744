//! `pipeline dlq`: the dead letters that are open, and what is done with them.
//!
//! A letter is open until a resolution in its partition names it. Redriving sends the original record and the
//! resolution in one transaction, so that a letter is redriven once however often the command is broken off and
//! repeated. The transactional id is always the same: a second command fences the first, and only then reads what is
//! open.

mod letter;
mod resolve;
mod show;

use std::collections::HashSet;

use kafka::reader::{Part, ReadError, read_to_end};
use kafka::{KafkaConfig, dead_letter};
use rdkafka::Message as _;
use rdkafka::message::BorrowedMessage;
use serde_json::json;
use service::BoxError;

use crate::config::Settings;
use letter::Letter;
pub(crate) use letter::Position;
pub use letter::{Filter, Name};
use output::{Output, table};
pub use resolve::{purge, redrive};
pub use show::show;

const CLIENT: &str = "pipeline-dlq";

/// The dead letters of a topic that somebody has dealt with. Blocks.
pub(crate) fn resolved(kafka: &KafkaConfig, topic: &str) -> Result<HashSet<Position>, ReadError> {
    let mut resolved = HashSet::new();
    read_to_end(kafka, CLIENT, topic, Part::default(), |record| {
        if let Some(offset) = dead_letter::resolves(record) {
            resolved.insert(Position { partition: record.partition(), offset });
        }
        Ok::<(), ReadError>(())
    })?;
    Ok(resolved)
}

/// Where the records are that a topic's open dead letters are about. Blocks.
pub(crate) fn open_sources(kafka: &KafkaConfig, topic: &str) -> Result<HashSet<Position>, ReadError> {
    let mut sources = HashSet::new();
    each_open(kafka, topic, &Filter::default(), |letter, _| {
        if let (Some(partition), Some(offset)) = (letter.source_partition, letter.source_offset) {
            sources.insert(Position { partition, offset });
        }
        Ok::<(), ReadError>(())
    })?;
    Ok(sources)
}

/// Hands `take` every open letter of a topic that the filter takes, with its record. Blocks.
fn each_open<E: From<ReadError>>(
    kafka: &KafkaConfig,
    topic: &str,
    filter: &Filter,
    mut take: impl FnMut(Letter, &BorrowedMessage<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let resolved = resolved(kafka, topic)?;
    read_to_end(kafka, CLIENT, topic, Part::default(), |record| {
        if dead_letter::resolves(record).is_some() || resolved.contains(&Position::of(record)) {
            return Ok(());
        }
        let letter = Letter::read(record);
        if filter.takes(&letter) { take(letter, record) } else { Ok(()) }
    })
}

/// The dead-letter topics of the pipeline.
fn topics(settings: &Settings) -> [String; 2] {
    settings.pipeline.data_topics().map(dead_letter::topic)
}

/// Prints the open letters, of each topic the first `limit`.
///
/// # Errors
/// A topic that can't be read.
pub async fn list(
    settings: &Settings,
    filter: Filter,
    limit: usize,
    output: &Output,
) -> Result<(), BoxError> {
    let (kafka, topics) = (settings.kafka.clone(), topics(settings));
    let (letters, open) = tokio::task::spawn_blocking(move || {
        let (mut letters, mut open) = (Vec::new(), 0_usize);
        for topic in topics {
            let mut of_topic = 0;
            each_open(&kafka, &topic, &filter, |letter, _| {
                open += 1;
                of_topic += 1;
                if of_topic <= limit {
                    letters.push(letter);
                }
                Ok::<(), ReadError>(())
            })?;
        }
        Ok::<_, ReadError>((letters, open))
    })
    .await??;
    output.document(&json!({
        "open": open,
        "letters": letters.iter().map(document).collect::<Vec<_>>(),
    }));
    if !letters.is_empty() {
        let rows = letters.iter().map(|letter| {
            let time = letter.time.map_or_else(String::new, |time| time.to_rfc3339());
            vec![
                letter.name.to_string(),
                letter.kind.clone(),
                letter.attempt.to_string(),
                time,
                letter.key_text(),
                letter.message.clone(),
            ]
        });
        output.line(table(&["dead letter", "kind", "attempt", "given up", "key", "message"], rows));
    }
    let more =
        if open > letters.len() { format!(", {} of them shown", letters.len()) } else { String::new() };
    output.line(format_args!("{open} open{more}"));
    Ok(())
}

fn document(letter: &Letter) -> serde_json::Value {
    json!({
        "name": letter.name.to_string(),
        "key": letter.key.as_ref().map(|key| String::from_utf8_lossy(key)),
        "value_bytes": letter.value_bytes,
        "value_left_out": letter.value_left_out,
        "kind": letter.kind,
        "message": letter.message,
        "service": letter.service,
        "time": letter.time,
        "attempt": letter.attempt,
        "source": {
            "topic": letter.source_topic,
            "partition": letter.source_partition,
            "offset": letter.source_offset,
        },
    })
}
