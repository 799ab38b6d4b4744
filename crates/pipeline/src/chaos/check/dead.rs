//! Dead letters: each poison record has one, and nothing else has.

use std::collections::BTreeMap;

use kafka::dead_letter;
use rdkafka::Message as _;

use super::history::Histories;
use super::{DeadLetters, Differences};
use crate::chaos::ChaosError;
use crate::config::Settings;
use crate::dlq::Position;
use crate::topic::{TopicError, read_to_end};

/// The dead letters of `source` against the poison records in it.
pub(super) async fn compare(
    settings: &Settings,
    source: &str,
    histories: &Histories,
    differences: &mut Differences,
) -> Result<DeadLetters, ChaosError> {
    let topic = dead_letter::topic(source);
    let (kafka, name) = (settings.kafka.clone(), topic.clone());
    let read = move || {
        let mut letters: BTreeMap<Position, (u64, String)> = BTreeMap::new();
        read_to_end(&kafka, "pipeline-chaos", &name, None, |record| {
            let number = |header| dead_letter::header(record, header).and_then(|text| text.parse().ok());
            let position = Position {
                partition: number(dead_letter::SOURCE_PARTITION)
                    .and_then(|partition| i32::try_from(partition).ok())
                    .unwrap_or(-1),
                offset: number(dead_letter::SOURCE_OFFSET).unwrap_or(-1),
            };
            let text = |header| dead_letter::header(record, header).unwrap_or_default();
            let key = String::from_utf8_lossy(record.key().unwrap_or_default());
            let why =
                format!("{key}: {} {}", text(dead_letter::ERROR_KIND), text(dead_letter::ERROR_MESSAGE));
            letters.entry(position).or_insert((0, why)).0 += 1;
            Ok::<(), TopicError>(())
        })?;
        Ok::<_, TopicError>(letters)
    };
    let letters = tokio::task::spawn_blocking(read).await.map_err(ChaosError::Cancelled)??;

    let mut report = DeadLetters {
        expected: histories.poison.len() as u64,
        found: letters.values().map(|(count, _)| count).sum(),
        missing: 0,
        repeated: 0,
        unexpected: 0,
        topic,
    };
    let name = |position: &Position| format!("{source}/{}/{}", position.partition, position.offset);
    for position in histories.poison.iter().filter(|position| !letters.contains_key(position)) {
        report.missing += 1;
        differences.add(&report.topic, &name(position), || "has no dead letter".to_owned());
    }
    for (position, (count, why)) in &letters {
        if !histories.poison.contains(position) {
            report.unexpected += count;
            differences.add(&report.topic, &name(position), || format!("is no poison; {why}"));
        } else if *count > 1 {
            report.repeated += count - 1;
            differences.add(&report.topic, &name(position), || format!("has {count} dead letters"));
        }
    }
    Ok(report)
}
