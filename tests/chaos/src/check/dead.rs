//! Dead letters: each poison record has one, and nothing else has.

use std::collections::BTreeMap;

use kafka::dead_letter;
use kafka::reader::{Part, ReadError, read_to_end};
use operate::config::Settings;
use operate::dlq::RecordPosition;
use rdkafka::Message as _;

use super::history::Histories;
use super::stage::{DeadLetters, Differences};
use crate::error::ChaosError;

/// Dead letters of one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Letters {
    pub(super) count: u64,
    /// Kind of error of the first.
    pub(super) kind: String,
    /// Its words, and the record's key, for people.
    pub(super) why: String,
}

/// By the position of the record that they are about.
pub(super) type BySource = BTreeMap<RecordPosition, Letters>;

/// The dead letters of `source`.
pub(super) async fn read(settings: &Settings, source: &str) -> Result<BySource, ChaosError> {
    let (kafka, topic) = (settings.kafka.clone(), dead_letter::topic(source));
    let read = move || {
        let mut letters = BySource::new();
        read_to_end(&kafka, "pipeline-chaos", &topic, Part::default(), |record| {
            let number = |header| dead_letter::header(record, header).and_then(|text| text.parse().ok());
            let position = RecordPosition {
                partition: number(dead_letter::SOURCE_PARTITION)
                    .and_then(|partition| i32::try_from(partition).ok())
                    .unwrap_or(-1),
                offset: number(dead_letter::SOURCE_OFFSET).unwrap_or(-1),
            };
            let text = |header| dead_letter::header(record, header).unwrap_or_default().to_owned();
            let key = String::from_utf8_lossy(record.key().unwrap_or_default());
            let why = format!("{key}: {}", text(dead_letter::ERROR_MESSAGE));
            let first = || Letters { count: 0, kind: text(dead_letter::ERROR_KIND), why };
            letters.entry(position).or_insert_with(first).count += 1;
            Ok::<(), ReadError>(())
        })?;
        Ok::<_, ReadError>(letters)
    };
    Ok(tokio::task::spawn_blocking(read).await.map_err(ChaosError::Cancelled)??)
}

/// The dead letters of `source` against the poison records in it.
pub(super) fn compare(
    source: &str,
    letters: BySource,
    histories: &Histories,
    differences: &mut Differences,
) -> DeadLetters {
    let mut report = DeadLetters {
        topic: dead_letter::topic(source),
        expected: histories.poison.len() as u64,
        found: letters.values().map(|letters| letters.count).sum(),
        missing: 0,
        repeated: 0,
        unexpected: 0,
        may_repeat: false,
        kinds: BTreeMap::new(),
    };
    let name = |position: &RecordPosition| format!("{source}/{}/{}", position.partition, position.offset);
    for position in histories.poison.iter().filter(|position| !letters.contains_key(position)) {
        report.missing += 1;
        differences.add(&report.topic, &name(position), || "has no dead letter".to_owned());
    }
    for (position, Letters { count, kind, why }) in letters {
        *report.kinds.entry(kind.clone()).or_default() += 1;
        if !histories.poison.contains(&position) {
            report.unexpected += count;
            differences.add(&report.topic, &name(&position), || format!("is no poison; {kind} {why}"));
        } else if count > 1 {
            report.repeated += count - 1;
        }
    }
    report
}
