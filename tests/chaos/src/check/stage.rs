//! What a comparison has found.

use std::collections::BTreeMap;

use serde::Serialize;

/// How many differences are kept; of all others there is the count.
const KEPT: usize = 10;

/// What a stage has, compared with the one before it.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Stage {
    pub(crate) name: String,
    /// Changes in PostgreSQL, records of a topic with its tombstones, rows of a table of Cassandra.
    pub(crate) records: u64,
    /// Changes that did not arrive, or rows that are missing or not as in PostgreSQL.
    pub(crate) lost: u64,
    /// Changes or rows that nobody made.
    pub(crate) unexpected: u64,
    pub(crate) repeated: u64,
    pub(crate) out_of_order: u64,
    /// Keys that differ in another way: the state they end in, the kinds of their changes, their tombstones.
    pub(crate) different: u64,
}

impl Stage {
    pub(super) fn named(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    pub(super) const fn equal(&self) -> bool {
        self.lost + self.unexpected + self.repeated + self.out_of_order + self.different == 0
    }
}

/// A dead-letter topic.
#[derive(Debug, Serialize)]
pub(crate) struct DeadLetters {
    pub(crate) topic: String,
    /// Poison records in the source topic.
    pub(crate) expected: u64,
    /// Records, whatever they stand for.
    pub(crate) found: u64,
    /// Poison records without a dead letter.
    pub(crate) missing: u64,
    /// Dead letters of a record that has one already.
    pub(crate) repeated: u64,
    /// Dead letters of other records.
    pub(crate) unexpected: u64,
    /// Repeated ones are nothing wrong.
    pub(crate) may_repeat: bool,
    /// How many records have one of each kind of error.
    pub(crate) kinds: BTreeMap<String, u64>,
}

impl DeadLetters {
    pub(super) const fn equal(&self) -> bool {
        self.missing + self.unexpected == 0 && (self.may_repeat || self.repeated == 0)
    }
}

/// One key, or one dead letter, and what is wrong with it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Difference {
    pub(crate) stage: String,
    pub(crate) key: String,
    pub(crate) what: String,
}

/// The first differences, and how many there are.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Differences {
    pub(crate) count: u64,
    pub(crate) first: Vec<Difference>,
}

impl Differences {
    pub(super) fn add(&mut self, stage: &str, key: &dyn std::fmt::Display, what: impl FnOnce() -> String) {
        self.count += 1;
        if self.first.len() < KEPT {
            self.first.push(Difference { stage: stage.to_owned(), key: key.to_string(), what: what() });
        }
    }
}

/// All stages as they are now.
#[derive(Debug, Serialize)]
pub(crate) struct Comparison {
    /// Users in PostgreSQL.
    pub(crate) users: u64,
    pub(crate) stages: Vec<Stage>,
    pub(crate) dead_letters: Vec<DeadLetters>,
    pub(crate) differences: Differences,
}

impl Comparison {
    pub(crate) fn equal(&self) -> bool {
        self.differences.count == 0
            && self.stages.iter().all(Stage::equal)
            && self.dead_letters.iter().all(DeadLetters::equal)
    }

    /// Whether waiting can't make it equal.
    pub(crate) fn is_final(&self) -> bool {
        let stage = |stage: &Stage| stage.repeated + stage.out_of_order > 0;
        let letters =
            |letters: &DeadLetters| letters.unexpected > 0 || letters.repeated > 0 && !letters.may_repeat;
        self.equal() || self.stages.iter().any(stage) || self.dead_letters.iter().any(letters)
    }
}
