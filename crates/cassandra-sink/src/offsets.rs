//! What has been read and what has been written, so that only a contiguous written position is ever committed.
//!
//! Writes end in any order. A partition's position moves over a record only when it and all before it are done, so a
//! crash repeats records and never skips one. Positions are those of the next record to read, as Kafka commits them;
//! with each goes what was seen up to it ([`kafka::sequence`]).

mod window;

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use kafka::sequence::{Ledger, Mark, Seen, Verdict};
use tokio::sync::Notify;
use window::Window;

/// A record's place among those that were read. Stale once its partition is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    partition: i32,
    epoch: u64,
    sequence: u64,
}

/// How a record ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It is in Cassandra or in the dead-letter topic.
    Done,
    /// It was given up, since its partition is: whoever reads the partition next does it.
    Abandoned,
}

/// The snapshot that a group began to read a topic with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Snapshot {
    /// The group has read nothing yet: the first record of the partition tells.
    Awaited,
    /// Its records have this position.
    At(i64),
    /// The group began with something else, or nobody knows.
    #[default]
    Past,
}

/// How far a partition is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// The partition.
    pub partition: i32,
    /// Offset of the next record to read.
    pub next: i64,
    /// What was seen up to it.
    pub ledger: Ledger,
}

/// The partitions that this process has. Shared by the consumer and the writer.
#[derive(Debug, Default)]
pub struct Offsets {
    topic: String,
    state: Mutex<State>,
    drained: Condvar,
    /// Notified when partitions are given up, so that what waits for Cassandra sees it at once.
    pub given_up: Notify,
}

#[derive(Debug, Default)]
struct State {
    epoch: u64,
    partitions: BTreeMap<i32, Partition>,
}

#[derive(Debug, Default)]
struct Partition {
    epoch: u64,
    window: Window,
    /// What was read; `None` before it is known what was read up to the committed position.
    seen: Option<Seen>,
    /// Offset of the next record that was not read yet.
    next: i64,
    /// Records whose writing has begun and not ended.
    running: usize,
    /// Nothing is begun any more.
    closing: bool,
    committed: Option<i64>,
    snapshot: Snapshot,
}

impl Ticket {
    /// Whether it is of the first record that was read of the partition since it came.
    #[must_use]
    pub const fn is_first(&self) -> bool {
        self.sequence == 0
    }
}

impl Offsets {
    /// Of a topic; none yet.
    #[must_use]
    pub fn new(topic: &str) -> Self {
        Self { topic: topic.to_owned(), ..Self::default() }
    }

    /// Partitions that are now ours, nothing of them read.
    pub fn assign(&self, partitions: impl IntoIterator<Item = i32>) {
        let mut state = self.lock();
        state.epoch += 1;
        let epoch = state.epoch;
        for partition in partitions {
            state.partitions.insert(partition, Partition { epoch, ..Partition::default() });
        }
    }

    /// Partitions that are ours and of which it is not known yet what was seen up to their committed positions.
    #[must_use]
    pub fn unknown(&self) -> Vec<i32> {
        let state = self.lock();
        state.partitions.iter().filter(|(_, known)| known.seen.is_none()).map(|(number, _)| *number).collect()
    }

    /// What was seen up to the committed position of a partition, and what the group began with.
    pub fn begin_after(&self, partition: i32, seen: Seen, snapshot: Snapshot) {
        if let Some(known) = self.lock().partitions.get_mut(&partition) {
            known.window.begin(seen.clone());
            known.seen = Some(seen);
            known.snapshot = snapshot;
        }
    }

    /// Whether a row that a snapshot has read, with this position, is of the one that the group began with. `None`:
    /// the record is another change. To be asked of the first record of a partition in any case.
    #[must_use]
    pub fn is_first_snapshot(&self, ticket: &Ticket, read_at: Option<i64>) -> bool {
        let mut state = self.lock();
        let Some(partition) = state.of(ticket) else { return false };
        if ticket.is_first() && partition.snapshot == Snapshot::Awaited {
            partition.snapshot = read_at.map_or(Snapshot::Past, Snapshot::At);
        }
        read_at.is_some_and(|position| partition.snapshot == Snapshot::At(position))
    }

    /// Records between the first unfinished one of each partition and the newest.
    #[must_use]
    pub fn unfinished(&self) -> usize {
        self.lock().partitions.values().map(|known| known.window.len()).sum()
    }

    /// A record was read; `timestamp` in milliseconds since the epoch. `None` if the partition is not ours, or if
    /// librdkafka hands the record out again, as it may after a pause.
    pub fn read(
        &self,
        partition: i32,
        offset: i64,
        timestamp: Option<i64>,
        mark: Mark,
    ) -> Option<(Ticket, Verdict)> {
        let mut state = self.lock();
        let known = state.partitions.get_mut(&partition).filter(|known| offset >= known.next)?;
        known.next = offset + 1;
        let seen = known.seen.get_or_insert_default();
        let verdict = mark.sequence.map_or(Verdict::Next, |sequence| seen.take(sequence));
        for repaired in &mark.repaired {
            seen.repair(repaired, &self.topic, partition);
        }
        let sequence = known.window.push(offset, timestamp, mark);
        Some((Ticket { partition, epoch: known.epoch, sequence }, verdict))
    }

    /// What was read of each partition that is ours.
    #[must_use]
    pub fn seen(&self) -> Vec<(i32, Seen)> {
        let state = self.lock();
        state.partitions.iter().filter_map(|(number, known)| Some((*number, known.seen.clone()?))).collect()
    }

    /// The record's writing begins. `false` if it must not, since its partition is given up.
    #[must_use]
    pub fn begin(&self, ticket: &Ticket) -> bool {
        let mut state = self.lock();
        let known = state.of(ticket).filter(|partition| !partition.closing);
        known.map(|partition| partition.running += 1).is_some()
    }

    /// Whether it is still worth while to write the record.
    #[must_use]
    pub fn is_wanted(&self, ticket: &Ticket) -> bool {
        self.lock().of(ticket).is_some_and(|partition| !partition.closing)
    }

    /// The record's writing, which had begun, ended.
    pub fn end(&self, ticket: &Ticket, end: End) {
        let mut state = self.lock();
        let Some(partition) = state.of(ticket) else { return };
        partition.running = partition.running.saturating_sub(1);
        if end == End::Done {
            partition.window.finish(ticket.sequence, &self.topic, ticket.partition);
        }
        if partition.closing && partition.running == 0 {
            self.drained.notify_all();
        }
    }

    /// The consumer stands at `position` and everything it handed over is known here: what lies between is no
    /// record (a transaction's marker), so the partition's position is there too if nothing is unfinished.
    pub fn settle(&self, partition: i32, position: i64) {
        if let Some(known) = self.lock().partitions.get_mut(&partition) {
            known.window.settle(position);
        }
    }

    /// Positions that are ahead of the last committed ones.
    #[must_use]
    pub fn to_commit(&self) -> Vec<Position> {
        self.lock().partitions.iter().filter_map(|(number, known)| known.ahead(*number)).collect()
    }

    /// The group has this position now.
    pub fn committed(&self, partition: i32, position: i64) {
        if let Some(known) = self.lock().partitions.get_mut(&partition) {
            known.committed = known.committed.max(Some(position));
        }
    }

    /// Begins nothing more of these partitions, waits until what has begun has ended or `patience` is over, and
    /// forgets them. Returns the positions that are not committed yet.
    pub fn give_up(&self, partitions: &[i32], patience: Duration) -> Vec<Position> {
        let deadline = Instant::now() + patience;
        let mut state = self.lock();
        for partition in partitions {
            if let Some(known) = state.partitions.get_mut(partition) {
                known.closing = true;
            }
        }
        self.given_up.notify_waiters();
        while state.running(partitions) > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let waited = self.drained.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        let given_up =
            partitions.iter().filter_map(|number| Some((*number, state.partitions.remove(number)?)));
        given_up.filter_map(|(number, known)| known.ahead(number)).collect()
    }

    /// Every partition that is ours: its position, and the timestamp of its oldest unfinished record in
    /// milliseconds since the epoch.
    #[must_use]
    pub fn partitions(&self) -> Vec<(i32, Option<i64>, Option<i64>)> {
        let state = self.lock();
        let all = state.partitions.iter();
        all.map(|(number, known)| (*number, known.window.position(), known.window.oldest())).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn of(&mut self, ticket: &Ticket) -> Option<&mut Partition> {
        self.partitions.get_mut(&ticket.partition).filter(|partition| partition.epoch == ticket.epoch)
    }

    fn running(&self, partitions: &[i32]) -> usize {
        partitions.iter().filter_map(|number| self.partitions.get(number)).map(|known| known.running).sum()
    }
}

impl Partition {
    fn ahead(&self, partition: i32) -> Option<Position> {
        let next = self.window.position();
        let next = next.filter(|position| self.committed.is_none_or(|committed| committed < *position))?;
        let snapshot = match self.snapshot {
            Snapshot::At(position) => Some(position),
            Snapshot::Awaited | Snapshot::Past => None,
        };
        let ledger = Ledger { seen: self.window.seen().clone(), sent: None, snapshot };
        Some(Position { partition, next, ledger })
    }
}

#[cfg(test)]
mod tests;
