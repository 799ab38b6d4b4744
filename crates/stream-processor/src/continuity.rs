//! Whether a worker reads every record once: the ledgers of its partitions, see [`kafka::sequence`].
//!
//! A ledger is the metadata of the offset that it belongs to. It is read once for each partition that comes, and
//! committed with every transaction.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use kafka::sequence::{self, Ledger, Missing, Sent, Sequence, Verdict, Watch};
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::KafkaResult;
use rdkafka::message::Message;

use serde::{Deserialize, Serialize};

use crate::HOP;

/// How long the committed ledgers are waited for by a transaction.
const CALL_TIMEOUT: Duration = Duration::from_secs(8);
/// And without one: a shutdown may wait for it.
const LOOK_TIMEOUT: Duration = Duration::from_secs(2);

/// The ledgers of a worker's partitions, as they are committed.
#[derive(Debug)]
pub struct Continuity {
    watch: Watch,
    committed: HashMap<i32, Ledger>,
    /// Partitions that came and whose ledgers could not be read yet.
    unknown: BTreeSet<i32>,
}

/// The ledgers as one transaction makes them, and what it has found.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Draft {
    ledgers: HashMap<i32, Ledger>,
    gaps: Vec<(i32, Missing)>,
    repeats: HashMap<i32, u64>,
    repaired: Vec<(i32, String)>,
}

impl Continuity {
    /// Of the partitions of this topic.
    pub fn new(topic: &str) -> Self {
        Self { watch: Watch::new(HOP, topic), committed: HashMap::new(), unknown: BTreeSet::new() }
    }

    /// Forgets partitions that are somebody else's.
    pub fn revoked(&mut self, partitions: &[i32]) {
        self.committed.retain(|partition, _| !partitions.contains(partition));
        self.unknown.retain(|partition| !partitions.contains(partition));
        partitions.iter().for_each(|partition| self.watch.missing(*partition, None));
    }

    /// Forgets all partitions.
    pub fn all_revoked(&mut self) {
        let all: Vec<i32> = self.committed.keys().chain(&self.unknown).copied().collect();
        self.revoked(&all);
    }

    /// Partitions came, whose ledgers are to be read.
    pub fn assigned(&mut self, partitions: &[i32]) {
        self.unknown.extend(partitions);
    }

    /// Reads the ledgers of partitions that came: what is missing is missing also if no record ever follows. `false`
    /// if there were none to read. What fails is to be tried again.
    ///
    /// # Errors
    /// The brokers don't tell what was committed.
    pub fn learn<C: ConsumerContext>(&mut self, consumer: &BaseConsumer<C>) -> KafkaResult<bool> {
        if self.unknown.is_empty() {
            return Ok(false);
        }
        let unknown: Vec<i32> = self.unknown.iter().copied().collect();
        self.read(consumer, &unknown, LOOK_TIMEOUT)?;
        self.unknown.clear();
        Ok(true)
    }

    /// Reads the ledgers that are not known, of these partitions.
    fn read<C: ConsumerContext>(
        &mut self,
        consumer: &BaseConsumer<C>,
        partitions: &[i32],
        within: Duration,
    ) -> KafkaResult<()> {
        let mut new = TopicPartitionList::new();
        for partition in partitions.iter().filter(|partition| !self.committed.contains_key(partition)) {
            new.add_partition(self.watch.topic(), *partition);
        }
        if new.count() > 0 {
            for element in consumer.committed_offsets(new, within)?.elements() {
                element.error()?;
                self.adopt(element.partition(), element.metadata());
            }
        }
        Ok(())
    }

    /// For a transaction with records of these partitions. Blocks if one of them is new.
    ///
    /// # Errors
    /// The brokers don't tell what was committed.
    pub fn draft<C: ConsumerContext>(
        &mut self,
        consumer: &BaseConsumer<C>,
        partitions: impl Iterator<Item = i32>,
    ) -> KafkaResult<Draft> {
        let partitions: Vec<i32> = partitions.collect();
        self.read(consumer, &partitions, CALL_TIMEOUT)?;
        Ok(self.draft_known(partitions.into_iter()))
    }

    /// Takes over the ledger of a partition, from the metadata of its committed offset.
    pub fn adopt(&mut self, partition: i32, metadata: &str) {
        let mut ledger = Ledger::parse(metadata);
        ledger.sent.get_or_insert_with(Sent::begin);
        self.watch.missing(partition, Some(&ledger.seen));
        self.committed.insert(partition, ledger);
        self.unknown.remove(&partition);
    }

    /// For a transaction with records of these partitions, whose ledgers are known.
    pub fn draft_known(&self, partitions: impl Iterator<Item = i32>) -> Draft {
        let known = partitions
            .map(|partition| (partition, self.committed.get(&partition).cloned().unwrap_or_default()));
        Draft { ledgers: known.collect(), ..Draft::default() }
    }

    /// The transaction is committed.
    pub fn committed(&mut self, draft: Draft) {
        for (partition, count) in draft.repeats {
            self.watch.repeats(partition, count);
        }
        for (partition, gap) in draft.gaps {
            self.watch.gap(partition, &gap);
        }
        for (partition, repaired) in draft.repaired {
            self.watch.repaired(partition, &repaired);
        }
        for (partition, mut ledger) in draft.ledgers {
            if !ledger.fits() {
                ledger.seen.forget();
            }
            self.watch.missing(partition, Some(&ledger.seen));
            self.committed.insert(partition, ledger);
        }
    }

    /// What is missing, for people; `None` if nothing is.
    pub fn alarm(&self) -> Option<String> {
        self.watch.alarm(self.committed.iter().map(|(partition, ledger)| (*partition, &ledger.seen)))
    }
}

impl Draft {
    /// Takes a record in; `false` if it was read before.
    pub fn take<M: Message>(&mut self, record: &M) -> bool {
        let (topic, partition) = (record.topic(), record.partition());
        let ledger = self.ledgers.entry(partition).or_default();
        let mark = sequence::read(record.headers());
        match mark.sequence.map(|sequence| ledger.seen.take(sequence)) {
            Some(Verdict::Repeat) => {
                *self.repeats.entry(partition).or_default() += 1;
                return false;
            }
            Some(Verdict::Gap(gap)) => self.gaps.push((partition, gap)),
            Some(Verdict::Next) | None => {}
        }
        for repaired in mark.repaired {
            if ledger.seen.repair(&repaired, topic, partition) {
                self.repaired.push((partition, repaired));
            }
        }
        true
    }

    /// The number of the next record for a partition of the target that comes of one of this partition.
    pub fn number(&mut self, source: i32, target: i32) -> Sequence {
        let ledger = self.ledgers.entry(source).or_default();
        ledger.sent.get_or_insert_with(Sent::begin).next(source, target)
    }

    /// The metadata for the offset of a partition.
    pub fn metadata(&self, partition: i32) -> String {
        self.ledgers.get(&partition).map(Ledger::to_metadata).unwrap_or_default()
    }
}
