use std::collections::HashSet;

use kafka::reader::{Part, ReadError, read_to_end};
use kafka::{KafkaConfig, dead_letter};
use rdkafka::Message as _;
use rdkafka::message::BorrowedMessage;

use super::dead_letter::{DeadLetter, DeadLetterFilter, RecordPosition};
use crate::config::Settings;

const CLIENT: &str = "pipeline-dlq";

/// Reads where the dead letters of a dead-letter topic are that somebody has dealt with. Blocks.
///
/// # Errors
/// Fails if the topic can't be read.
pub fn resolved(kafka: &KafkaConfig, topic: &str) -> Result<HashSet<RecordPosition>, ReadError> {
    let mut resolved = HashSet::new();
    read_to_end(kafka, CLIENT, topic, Part::default(), |record| {
        if let Some(offset) = dead_letter::resolves(record) {
            resolved.insert(RecordPosition { partition: record.partition(), offset });
        }
        Ok::<(), ReadError>(())
    })?;
    Ok(resolved)
}

/// Reads where the records are that the open dead letters of a dead-letter topic are about. Blocks.
///
/// # Errors
/// Fails if the topic can't be read.
pub fn open_sources(kafka: &KafkaConfig, topic: &str) -> Result<HashSet<RecordPosition>, ReadError> {
    let mut sources = HashSet::new();
    each_open(kafka, topic, &DeadLetterFilter::default(), |letter, _| {
        if let (Some(partition), Some(offset)) = (letter.source.partition, letter.source.offset) {
            sources.insert(RecordPosition { partition, offset });
        }
        Ok::<(), ReadError>(())
    })?;
    Ok(sources)
}

/// Hands `take` every open dead letter of a topic that the filter takes, with its record. Blocks.
pub(super) fn each_open<E: From<ReadError>>(
    kafka: &KafkaConfig,
    topic: &str,
    filter: &DeadLetterFilter,
    mut take: impl FnMut(DeadLetter, &BorrowedMessage<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let resolved = resolved(kafka, topic)?;
    read_to_end(kafka, CLIENT, topic, Part::default(), |record| {
        if dead_letter::resolves(record).is_some() || resolved.contains(&RecordPosition::of(record)) {
            return Ok(());
        }
        let letter = DeadLetter::read(record);
        if filter.takes(&letter) { take(letter, record) } else { Ok(()) }
    })
}

/// Returns the dead-letter topics of the pipeline.
pub(super) fn topics(settings: &Settings) -> [String; 2] {
    settings.pipeline.data_topics().map(dead_letter::topic)
}
