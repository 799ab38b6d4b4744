//! Writes to one partition of Cassandra that go together.
//!
//! Many rows of a table may share a partition: all of a run's in one bucket, all of a country's month. The first write
//! to a partition goes at once. Those that come before it is answered wait for that, and then go as one unlogged batch,
//! which for one partition is a single mutation: one request instead of many, and no writes that contend for the
//! partition inside the node. Nothing waits where nothing is under way.

use std::cell::RefCell;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

use tokio::sync::oneshot;

/// Writes of one batch.
const MAX_WRITES: usize = 64;

/// Bytes of a batch's values, far below what a node takes (`max_mutation_size`, 16 MiB by default).
const MAX_BYTES: usize = 64 << 10;

/// A table of the plan, and a hash of the partition's key: two partitions of one hash go together, as two mutations.
pub type Partition = (usize, u64);

/// The partitions that are written to. `T` is a write apart from its record.
#[derive(Debug)]
pub struct Together<T>(Rc<RefCell<Partitions<T>>>);

/// Those that wait for each, oldest first.
type Partitions<T> = HashMap<Partition, VecDeque<Waiting<T>>>;

#[derive(Debug)]
struct Waiting<T> {
    write: T,
    bytes: usize,
    told: oneshot::Sender<Told<T>>,
}

#[derive(Debug)]
enum Told<T> {
    Lead(Lead<T>),
    Written,
    Failed,
}

/// How a write goes on.
#[derive(Debug)]
pub enum Turn<T> {
    /// Now, with those that have waited with it.
    Lead(Lead<T>),
    /// Not at all: another one has taken it along.
    Written,
    /// Now, alone.
    Alone,
}

/// The right to write to a partition. The next that waits gets it when this is dropped.
#[derive(Debug)]
pub struct Lead<T> {
    together: Together<T>,
    partition: Partition,
    others: Vec<Waiting<T>>,
}

impl<T> Together<T> {
    /// Waits until nothing else is written to the partition, or until another write has taken this one along.
    ///
    /// `detach` makes the write and its size in bytes, if it has to wait; what it can't make goes alone.
    pub async fn turn(&self, partition: Partition, detach: impl FnOnce() -> Option<(T, usize)>) -> Turn<T> {
        let told = match self.0.borrow_mut().entry(partition) {
            Entry::Vacant(free) => {
                free.insert(VecDeque::new());
                return Turn::Lead(self.lead(partition, Vec::new()));
            }
            Entry::Occupied(mut waiting) => {
                let Some((write, bytes)) = detach().filter(|(_, bytes)| *bytes <= MAX_BYTES) else {
                    return Turn::Alone;
                };
                let (sender, told) = oneshot::channel();
                waiting.get_mut().push_back(Waiting { write, bytes, told: sender });
                told
            }
        };
        match told.await {
            Ok(Told::Lead(lead)) => Turn::Lead(lead),
            Ok(Told::Written) => Turn::Written,
            // Which write of the batch was to blame is not known.
            Ok(Told::Failed) | Err(_) => Turn::Alone,
        }
    }

    fn lead(&self, partition: Partition, others: Vec<Waiting<T>>) -> Lead<T> {
        Lead { together: self.clone(), partition, others }
    }
}

impl<T> Lead<T> {
    /// What goes with the write.
    pub fn others(&self) -> impl Iterator<Item = &T> {
        self.others.iter().map(|other| &other.write)
    }

    /// Whether the write goes alone.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.others.is_empty()
    }

    /// Tells the others whether they are written, and passes the partition on.
    pub fn end(mut self, written: bool) {
        for other in self.others.drain(..) {
            // Whoever is gone does not need to know.
            drop(other.told.send(if written { Told::Written } else { Told::Failed }));
        }
    }
}

impl<T> Drop for Lead<T> {
    fn drop(&mut self) {
        let mut partitions = self.together.0.borrow_mut();
        let Some(waiting) = partitions.get_mut(&self.partition) else { return };
        let Some(next) = waiting.pop_front() else {
            partitions.remove(&self.partition);
            return;
        };
        let lead = self.together.lead(self.partition, take(waiting, next.bytes));
        drop(partitions);
        // If that one is gone the lead is dropped with what it was told, and so passed on again.
        drop(next.told.send(Told::Lead(lead)));
    }
}

/// As many as go with one of so many bytes.
fn take<T>(waiting: &mut VecDeque<Waiting<T>>, mut bytes: usize) -> Vec<Waiting<T>> {
    let mut taken = Vec::new();
    while taken.len() + 1 < MAX_WRITES
        && let Some(next) = waiting.pop_front_if(|next| bytes + next.bytes <= MAX_BYTES)
    {
        bytes += next.bytes;
        taken.push(next);
    }
    taken
}

impl<T> Clone for Together<T> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<T> Default for Together<T> {
    fn default() -> Self {
        Self(Rc::default())
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use futures::future::LocalBoxFuture;

    use super::*;

    const PARTITION: Partition = (1, 7);

    /// A write of ten bytes, or of so many.
    fn write(together: &Together<u8>, name: u8, bytes: usize) -> LocalBoxFuture<'static, Turn<u8>> {
        let together = together.clone();
        let mut turn = async move { together.turn(PARTITION, || Some((name, bytes))).await }.boxed_local();
        assert!((&mut turn).now_or_never().is_none(), "{name} waits");
        turn
    }

    fn first(together: &Together<u8>) -> Lead<u8> {
        lead(together.turn(PARTITION, || panic!("it does not wait")).now_or_never())
    }

    fn lead(turn: Option<Turn<u8>>) -> Lead<u8> {
        match turn {
            Some(Turn::Lead(lead)) => lead,
            other => panic!("{other:?}"),
        }
    }

    fn others(lead: &Lead<u8>) -> Vec<u8> {
        lead.others().copied().collect()
    }

    #[test]
    fn what_comes_while_a_partition_is_written_to_goes_together_after_it() {
        let together = Together::default();
        let leading = first(&together);
        assert!(leading.is_empty());
        let [one, two, three] = [1, 2, 3].map(|name| write(&together, name, 10));
        leading.end(true);
        let leading = lead(one.now_or_never());
        assert_eq!(others(&leading), [2, 3]);
        let four = write(&together, 4, 10);
        leading.end(true);
        assert!(matches!(two.now_or_never(), Some(Turn::Written)));
        assert!(matches!(three.now_or_never(), Some(Turn::Written)));
        drop(lead(four.now_or_never()));
        assert!(together.0.borrow().is_empty(), "nothing is kept of a partition that is not written to");
    }

    #[test]
    fn others_of_a_batch_that_failed_go_alone() {
        let together = Together::default();
        let leading = first(&together);
        let (one, two) = (write(&together, 1, 10), write(&together, 2, 10));
        drop(leading);
        lead(one.now_or_never()).end(false);
        assert!(matches!(two.now_or_never(), Some(Turn::Alone)));
        assert!(first(&together).is_empty());
    }

    #[test]
    fn a_batch_is_bounded() {
        let together = Together::default();
        let leading = first(&together);
        let large = write(&together, 0, MAX_BYTES - 10);
        let small: Vec<_> = (1..=100).map(|name| write(&together, name, 10)).collect();
        let too_large = together.turn(PARTITION, || Some((0, MAX_BYTES + 1))).now_or_never();
        assert!(matches!(too_large, Some(Turn::Alone)));
        drop(leading);
        let leading = lead(large.now_or_never());
        assert_eq!(others(&leading), [1], "by bytes");
        leading.end(true);
        let leading = lead(small.into_iter().nth(1).and_then(|turn| turn.now_or_never()));
        assert_eq!(leading.others().count(), MAX_WRITES - 1, "by writes");
    }

    #[test]
    fn one_that_is_gone_passes_the_partition_on() {
        let together = Together::default();
        let leading = first(&together);
        let (gone, told, last) =
            (write(&together, 1, 10), write(&together, 2, MAX_BYTES), write(&together, 3, 10));
        drop(gone);
        leading.end(true);
        // It was told to lead, and goes before it knows.
        drop(told);
        drop(lead(last.now_or_never()));
        assert!(together.0.borrow().is_empty());
    }
}
