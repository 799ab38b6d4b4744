//! Compares every stage with PostgreSQL: the state that each ends in, and each change on the way to it.

mod dead;
mod history;
mod runs;
mod tables;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use events::Registry;
use operate::config::Settings;
use serde::Serialize;
use tokio::runtime::Handle;
use uuid::Uuid;

use self::history::{Histories, Reader};
use super::ChaosError;
use super::load::Done;

/// How many differences are kept; of all others there is the count.
const KEPT: usize = 10;

/// What is compared of a user: every column that the load changes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct State {
    run_id: String,
    country: String,
    /// Microseconds since the epoch; of a table of Cassandra, milliseconds.
    registered_at: i64,
    email: Option<String>,
    /// This and what follows only where a stage has it.
    username: Option<String>,
    document_name: Option<String>,
    document_value: Option<String>,
}

type States = BTreeMap<Uuid, State>;

/// What a stage has, compared with the one before it.
#[derive(Debug, Default, Serialize)]
pub(super) struct Stage {
    pub(super) name: String,
    /// Changes in PostgreSQL, records of a topic with its tombstones, rows of a table of Cassandra.
    pub(super) records: u64,
    /// Changes that did not arrive, or rows that are missing or not as in PostgreSQL.
    pub(super) lost: u64,
    /// Changes or rows that nobody made.
    pub(super) unexpected: u64,
    pub(super) repeated: u64,
    pub(super) out_of_order: u64,
    /// Keys that differ in another way: the state they end in, the kinds of their changes, their tombstones.
    pub(super) different: u64,
}

impl Stage {
    fn named(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    const fn equal(&self) -> bool {
        self.lost + self.unexpected + self.repeated + self.out_of_order + self.different == 0
    }
}

/// A dead-letter topic.
#[derive(Debug, Serialize)]
pub(super) struct DeadLetters {
    pub(super) topic: String,
    /// Poison records in the source topic.
    pub(super) expected: u64,
    /// Records, whatever they stand for.
    pub(super) found: u64,
    /// Poison records without a dead letter.
    pub(super) missing: u64,
    /// Dead letters of a record that has one already.
    pub(super) repeated: u64,
    /// Dead letters of other records.
    pub(super) unexpected: u64,
    /// Repeated ones are nothing wrong.
    pub(super) may_repeat: bool,
    /// How many records have one of each kind of error.
    pub(super) kinds: BTreeMap<String, u64>,
}

impl DeadLetters {
    const fn equal(&self) -> bool {
        self.missing + self.unexpected == 0 && (self.may_repeat || self.repeated == 0)
    }
}

/// One key, or one dead letter, and what is wrong with it.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Difference {
    pub(super) stage: String,
    pub(super) key: String,
    pub(super) what: String,
}

/// The first differences, and how many there are.
#[derive(Debug, Default, Serialize)]
pub(super) struct Differences {
    pub(super) count: u64,
    pub(super) first: Vec<Difference>,
}

impl Differences {
    fn add(&mut self, stage: &str, key: &dyn std::fmt::Display, what: impl FnOnce() -> String) {
        self.count += 1;
        if self.first.len() < KEPT {
            self.first.push(Difference { stage: stage.to_owned(), key: key.to_string(), what: what() });
        }
    }
}

/// All stages as they are now.
#[derive(Debug, Serialize)]
pub(super) struct Comparison {
    /// Users in PostgreSQL.
    pub(super) users: u64,
    pub(super) stages: Vec<Stage>,
    pub(super) dead_letters: Vec<DeadLetters>,
    pub(super) differences: Differences,
}

impl Comparison {
    pub(super) fn equal(&self) -> bool {
        self.differences.count == 0
            && self.stages.iter().all(Stage::equal)
            && self.dead_letters.iter().all(DeadLetters::equal)
    }

    /// Whether waiting can't make it equal.
    pub(super) fn is_final(&self) -> bool {
        let stage = |stage: &Stage| stage.repeated + stage.out_of_order > 0;
        let letters =
            |letters: &DeadLetters| letters.unexpected > 0 || letters.repeated > 0 && !letters.may_repeat;
        self.equal() || self.stages.iter().any(stage) || self.dead_letters.iter().any(letters)
    }
}

/// Compares once. Takes the longer the more was changed; the topics are read from their beginning.
pub(super) async fn compare(settings: &Settings, load: &Done) -> Result<Comparison, ChaosError> {
    let (expected, changes) = tables::expected(settings).await?;
    let [raw_topic, processed_topic] = settings.pipeline.data_topics();
    let reader = || -> Result<Reader, ChaosError> {
        let registry = Registry::new(&settings.registry)?;
        Ok(Reader { kafka: settings.kafka.clone(), registry, runtime: Handle::current() })
    };
    let (raw, processed, rows) =
        tokio::join!(reader()?.read(raw_topic), reader()?.read(processed_topic), tables::found(settings),);
    let (raw, processed) = (raw?, processed?);

    let mut differences = Differences::default();
    let mut stages = vec![Stage {
        records: changes.values().map(|ops| ops.len() as u64).sum(),
        ..Stage::named("postgres")
    }];
    stages.push(history::with_changes(raw_topic, &raw, &changes, &expected, &mut differences));
    stages.push(history::with_source(processed_topic, &processed, &raw, &expected, &mut differences));
    for (table, is_whole, found) in rows? {
        stages.push(tables::compare(&table, is_whole, found, &expected, &mut differences));
    }
    runs::compare(settings, load.runs, &mut differences).await?;
    let [of_raw, of_processed] = &load.poison;
    let mut dead_letters = Vec::new();
    for (topic, histories, sent) in [(raw_topic, &raw, of_raw), (processed_topic, &processed, of_processed)] {
        let found = dead::read(settings, topic).await?;
        let mut letters = dead::compare(topic, found, histories, &mut differences);
        // The sink's are written at least once.
        letters.may_repeat = topic == processed_topic;
        if letters.repeated > 0 && !letters.may_repeat {
            differences.add(topic, &"poison", || format!("{} dead letters too many", letters.repeated));
        }
        if letters
            .kinds
            .iter()
            .map(|(kind, count)| (kind.as_str(), *count))
            .ne(sent.iter().map(|(k, n)| (*k, *n)))
        {
            differences
                .add(topic, &"poison", || format!("{sent:?} were sent, {:?} set aside", letters.kinds));
        }
        dead_letters.push(letters);
    }
    Ok(Comparison { users: expected.len() as u64, stages, dead_letters, differences })
}

/// Kinds of a key's changes in their order, one letter each.
type Ops = Vec<u8>;

/// The last of them, for people.
fn last_ops(ops: &[u8]) -> String {
    const SHOWN: usize = 20;
    let from = ops.len().saturating_sub(SHOWN);
    let dots = if from > 0 { "…" } else { "" };
    format!("{dots}{}", String::from_utf8_lossy(ops.get(from..).unwrap_or_default()))
}

impl Histories {
    /// Records of all kinds.
    fn records(&self) -> u64 {
        let of_key = |history: &history::History| history.changes.len() as u64 + history.tombstones;
        self.by_key.values().map(of_key).sum::<u64>() + self.poison.len() as u64 + self.foreign.len() as u64
    }
}
