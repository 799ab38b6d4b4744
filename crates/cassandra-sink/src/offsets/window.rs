//! One partition's unfinished records, in the order they were read.

use std::collections::VecDeque;

use kafka::sequence::{Mark, Seen};

/// From the oldest unfinished record to the newest one read.
#[derive(Debug, Default)]
pub(super) struct Window {
    /// Number of the record at the front; numbers count records read, since offsets have gaps.
    first: u64,
    records: VecDeque<Record>,
    position: Option<i64>,
    /// What was read up to the position.
    seen: Seen,
}

#[derive(Debug)]
struct Record {
    offset: i64,
    timestamp: Option<i64>,
    mark: Mark,
    finished: bool,
}

impl Window {
    /// Adds the next record and returns its number.
    pub(super) fn push(&mut self, offset: i64, timestamp: Option<i64>, mark: Mark) -> u64 {
        self.records.push_back(Record { offset, timestamp, mark, finished: false });
        self.first + self.records.len() as u64 - 1
    }

    /// Records from the first unfinished one on.
    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    /// What was read before the first record.
    pub(super) fn begin(&mut self, seen: Seen) {
        self.seen = seen;
    }

    /// What was read up to the position.
    pub(super) const fn seen(&self) -> &Seen {
        &self.seen
    }

    /// Finishes a record and moves the position as far as no unfinished one is passed.
    pub(super) fn finish(&mut self, number: u64, topic: &str, partition: i32) {
        let index = number.checked_sub(self.first).and_then(|index| usize::try_from(index).ok());
        if let Some(record) = index.and_then(|index| self.records.get_mut(index)) {
            record.finished = true;
        }
        while self.records.front().is_some_and(|front| front.finished) {
            if let Some(done) = self.records.pop_front() {
                self.first += 1;
                self.position = Some(done.offset + 1);
                done.mark.sequence.map(|sequence| self.seen.take(sequence));
                for repaired in &done.mark.repaired {
                    self.seen.repair(repaired, topic, partition);
                }
            }
        }
    }

    /// Moves the position on if nothing is unfinished.
    pub(super) fn settle(&mut self, position: i64) {
        if self.records.is_empty() {
            self.position = self.position.max(Some(position));
        }
    }

    /// Of the next record that must be read if everything ended now; `None` before the first was finished.
    pub(super) fn position(&self) -> Option<i64> {
        self.position
    }

    /// Timestamp of the oldest unfinished record.
    pub(super) fn oldest(&self) -> Option<i64> {
        self.records.front().and_then(|front| front.timestamp)
    }
}
