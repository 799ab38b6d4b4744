//! Sequence numbers: how the reader of a partition knows that nothing is missing and nothing comes twice.
//!
//! Offsets can't tell. A transaction that the brokers lost after its commit leaves no more than offsets that are not
//! there, and transactions leave such offsets anyway; one that a client was told has failed may stand in the log
//! nevertheless. So every record carries, in the header [`HEADER`], its number among the records that its writer sent
//! from one source to one partition. The writer commits its last numbers together with its position, the reader
//! keeps what it has seen in the metadata of its committed offset.
//!
//! A [`Sequence::stream`] begins anew, with number 1, where a writer has lost its count: for a new slot, or after
//! somebody has reset a group's offsets.

mod watch;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use rdkafka::message::{Header, Headers, OwnedHeaders};
use serde::{Deserialize, Serialize};
pub use watch::Watch;

/// Name of the header with the sequence number, `STREAM/SOURCE/NUMBER`.
pub const HEADER: &str = "pipeline.seq";

/// Name of the header of a record that ends a repair: `TOPIC/PARTITION/` and what was [`Missing`].
pub const REPAIRED: &str = "pipeline.repaired";

/// Ranges of missing numbers that a reader tells apart; further ones widen one of the same count.
const MAX_MISSING: usize = 16;

/// Bytes of metadata that brokers take by default (`offset.metadata.max.bytes`).
const MAX_METADATA: usize = 4096;

/// A record's place among those that one writer sent to one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sequence {
    /// When the count began, in milliseconds since 1970.
    pub stream: u64,
    /// The partition that the writer read it from; 0 if it read none.
    pub source: i32,
    /// From 1, without gaps.
    pub number: u64,
}

/// Not of the form `STREAM/SOURCE/NUMBER`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not of the form STREAM/SOURCE/NUMBER")]
pub struct BadSequence(String);

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.stream, self.source, self.number)
    }
}

impl FromStr for Sequence {
    type Err = BadSequence;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let mut parts = text.split('/');
            let sequence = Self {
                stream: parts.next()?.parse().ok()?,
                source: parts.next()?.parse().ok()?,
                number: parts.next()?.parse().ok()?,
            };
            parts.next().is_none().then_some(sequence)
        };
        parse().ok_or_else(|| BadSequence(text.to_owned()))
    }
}

/// What the headers of a record say: its number, and the repairs that it ends. A record without a number, or with
/// one that can't be read, is of a writer that does not count.
#[must_use]
pub fn read<H: Headers>(headers: Option<&H>) -> Mark {
    let mut mark = Mark::default();
    for header in headers.into_iter().flat_map(|headers| headers.iter()) {
        let text = || header.value.and_then(|value| std::str::from_utf8(value).ok());
        match header.key {
            HEADER => mark.sequence = text().and_then(|text| text.parse().ok()),
            REPAIRED => mark.repaired.extend(text().map(str::to_owned)),
            _ => {}
        }
    }
    mark
}

/// What a record says about the continuity of its partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mark {
    /// Its number.
    pub sequence: Option<Sequence>,
    /// Values of [`REPAIRED`].
    pub repaired: Vec<String>,
}

/// The headers with this number, in place of one that they have.
#[must_use]
pub fn stamped<H: Headers>(headers: Option<&H>, sequence: Sequence) -> OwnedHeaders {
    let mut stamped = OwnedHeaders::new();
    for header in headers.into_iter().flat_map(|headers| headers.iter()) {
        if header.key != HEADER {
            stamped = stamped.insert(header);
        }
    }
    stamped.insert(Header { key: HEADER, value: Some(&sequence.to_string()) })
}

/// Numbers that a reader expected and that did not come, from `first` to `last`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Missing {
    /// As of [`Sequence`].
    pub stream: u64,
    /// As of [`Sequence`].
    pub source: i32,
    /// The first one.
    pub first: u64,
    /// The last one.
    pub last: u64,
    /// Whether numbers that did come may be among them, since there were too many ranges to tell apart.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub wide: bool,
}

impl Missing {
    /// How many numbers.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.last.saturating_sub(self.first).saturating_add(1)
    }

    /// Whether the number is one of them.
    #[must_use]
    pub fn contains(&self, sequence: Sequence) -> bool {
        self.is_of(sequence) && (self.first..=self.last).contains(&sequence.number)
    }

    const fn is_of(&self, sequence: Sequence) -> bool {
        self.stream == sequence.stream && self.source == sequence.source
    }

    const fn widen(&mut self, other: &Self) {
        self.first = if other.first < self.first { other.first } else { self.first };
        self.last = if other.last > self.last { other.last } else { self.last };
        self.wide = true;
    }

    /// The value of [`REPAIRED`] that says that they are repaired.
    #[must_use]
    pub fn repaired(&self, topic: &str, partition: i32) -> String {
        format!("{topic}/{partition}/{self}")
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}-{}", self.stream, self.source, self.first, self.last)
    }
}

/// What the next record of a partition means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is the one that was expected, or it has no number.
    Next,
    /// It was read before.
    Repeat,
    /// It is new, and these should have come before it.
    Gap(Missing),
}

/// The last number and the missing ones, of one partition.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Stream and last number by source.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    last: BTreeMap<i32, (u64, u64)>,
    /// The same of the stream before, of which a record may still be repeated.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    before: BTreeMap<i32, (u64, u64)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    missing: Vec<Missing>,
    /// Whether all this was too much to be kept once, so that something may be missing that is not named here.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    forgotten: bool,
}

impl Seen {
    /// Takes the next record in. A reader that knows nothing of a source takes its first record as it comes.
    pub fn take(&mut self, sequence: Sequence) -> Verdict {
        let Sequence { stream, source, number } = sequence;
        let Some(last) = self.last.get_mut(&source) else {
            self.last.insert(source, (stream, number));
            return Verdict::Next;
        };
        let counted = if last.0 == stream {
            last
        } else {
            match self.before.get_mut(&source) {
                // A stream that has ended goes on where it was, and never takes the place of the one that followed.
                Some(before) if before.0 == stream => before,
                // Not by which is later: clocks are set back, and a writer's new count must be taken for one.
                _ => {
                    self.before.insert(source, *last);
                    *last = (stream, 0);
                    last
                }
            }
        };
        let expected = counted.1 + 1;
        if number < expected {
            return if self.came_late(sequence) { Verdict::Next } else { Verdict::Repeat };
        }
        counted.1 = number;
        if number == expected {
            return Verdict::Next;
        }
        let gap = Missing { stream, source, first: expected, last: number - 1, wide: false };
        self.add(gap);
        Verdict::Gap(gap)
    }

    /// What was missing and is here now is missing no longer. In a wide range nobody knows whether it was: then it
    /// counts as read before, and what it says comes with the repair.
    fn came_late(&mut self, sequence: Sequence) -> bool {
        let late = |missing: &Missing| !missing.wide && missing.contains(sequence);
        let Some(index) = self.missing.iter().position(late) else {
            return false;
        };
        let gap = self.missing.remove(index);
        let number = sequence.number;
        let parts = [(gap.first, number - 1), (number + 1, gap.last)];
        for (first, last) in parts.into_iter().filter(|(first, last)| first <= last) {
            self.add(Missing { first, last, ..gap });
        }
        true
    }

    /// Never more than [`MAX_MISSING`] ranges, or one for each count.
    fn add(&mut self, gap: Missing) {
        let full = self.missing.len() >= MAX_MISSING;
        let same = |known: &&mut Missing| full && known.stream == gap.stream && known.source == gap.source;
        match self.missing.iter_mut().rev().find(same) {
            Some(known) => known.widen(&gap),
            None => self.missing.push(gap),
        }
    }

    /// The same in fewer bytes: one range for each count.
    fn merged(&self) -> Self {
        let mut merged: BTreeMap<(u64, i32), Missing> = BTreeMap::new();
        for gap in &self.missing {
            merged.entry((gap.stream, gap.source)).and_modify(|known| known.widen(gap)).or_insert(*gap);
        }
        let missing = merged.into_values().collect();
        Self { last: self.last.clone(), before: BTreeMap::new(), missing, forgotten: self.forgotten }
    }

    /// Says that something may be missing that is not known.
    pub fn forget(&mut self) {
        self.forgotten = true;
    }

    /// Whether something may be missing that is not known.
    #[must_use]
    pub const fn is_forgotten(&self) -> bool {
        self.forgotten
    }

    /// What is missing.
    #[must_use]
    pub fn missing(&self) -> &[Missing] {
        &self.missing
    }

    /// Takes in that a repair has ended. Whether it was one of this partition.
    pub fn repair(&mut self, repaired: &str, topic: &str, partition: i32) -> bool {
        let before = self.missing.len();
        self.missing.retain(|missing| missing.repaired(topic, partition) != repaired);
        self.missing.len() < before
    }
}

/// The last numbers that a writer gave, by partition.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
    stream: u64,
    last: BTreeMap<i32, u64>,
}

impl Sent {
    /// A new count, from now on.
    #[must_use]
    pub fn begin() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { stream: u64::try_from(now.as_millis()).unwrap_or(u64::MAX), last: BTreeMap::new() }
    }

    /// The number of the next record for a partition, read from `source`.
    pub fn next(&mut self, source: i32, partition: i32) -> Sequence {
        let last = self.last.entry(partition).or_insert(0);
        *last += 1;
        Sequence { stream: self.stream, source, number: *last }
    }
}

/// What a reader knows of a partition at an offset that it commits, as the metadata of that offset.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    /// What it has read.
    #[serde(default)]
    pub seen: Seen,
    /// What it has written of it, for a reader that is a writer too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent: Option<Sent>,
    /// Position (`__lsn`) of the records of the snapshot that its reader began with, for one that had read nothing
    /// before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<i64>,
}

impl Ledger {
    /// Of the metadata of a committed offset; one that knows nothing if there is none of ours.
    #[must_use]
    pub fn parse(metadata: &str) -> Self {
        serde_json::from_str(metadata).unwrap_or_default()
    }

    /// As metadata. What is more than brokers take is said with less: missing numbers in one range for each count,
    /// then only that something is not known, which stays an alarm.
    #[must_use]
    pub fn to_metadata(&self) -> String {
        self.kept().unwrap_or_else(|| {
            let seen = Seen { forgotten: true, ..Seen::default() };
            let forgotten = Self { seen, ..self.clone() };
            forgotten.text().unwrap_or_else(|| Self { sent: None, ..forgotten }.text().unwrap_or_default())
        })
    }

    /// Whether brokers take what must be known to miss anything.
    #[must_use]
    pub fn fits(&self) -> bool {
        self.kept().is_some()
    }

    fn kept(&self) -> Option<String> {
        self.text().or_else(|| Self { seen: self.seen.merged(), ..self.clone() }.text())
    }

    fn text(&self) -> Option<String> {
        // There are no maps in it whose keys JSON can't have.
        serde_json::to_string(self).ok().filter(|metadata| metadata.len() <= MAX_METADATA)
    }
}

#[cfg(test)]
mod tests;
