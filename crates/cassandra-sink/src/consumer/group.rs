//! What needs an answer of the brokers: commits of the positions, and how far behind they are. On a thread of its own,
//! so that polling never waits for it.
//!
//! The lag is asked for, since librdkafka's own statistics stand still while partitions are paused: just then it
//! matters.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use kafka::context::Throttle;
use kafka::sequence::{Ledger, Seen};
use rdkafka::consumer::{CommitMode, Consumer as _};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use service::crash::{self, CrashPoint};
use service::health::Component;

use super::GroupConsumer;
use crate::config::SinkConfig;
use crate::metrics;
use crate::offsets::{Offsets, Position, Snapshot};

const LAG_INTERVAL: Duration = Duration::from_secs(5);
const CALL_TIMEOUT: Duration = Duration::from_secs(2);

/// What commits need. Not the queue: a commit without an answer must not keep the writer waiting for more.
pub(super) struct Keeper {
    pub(super) config: SinkConfig,
    pub(super) offsets: Arc<Offsets>,
    pub(super) component: Component,
    pub(super) consumer: Arc<GroupConsumer>,
}

impl Keeper {
    /// Commits and publishes the lag until `ended` is closed.
    pub(super) fn keep(&self, ended: &Receiver<()>) {
        let log = Throttle::default();
        let mut lag = Lag { keeper: self, published: BTreeSet::new(), unread_since: BTreeMap::new() };
        let mut published_at = Instant::now();
        while ended.recv_timeout(self.config.commit_interval) == Err(RecvTimeoutError::Timeout) {
            self.commit_written(&log);
            if published_at.elapsed() >= LAG_INTERVAL {
                lag.publish();
                published_at = Instant::now();
            }
        }
    }

    /// Commits what is contiguously written. What this commit loses the next one repeats.
    fn commit_written(&self, log: &Throttle) {
        let ahead = self.offsets.to_commit();
        if ahead.is_empty() {
            return;
        }
        match commit(&self.consumer, &self.config.source_topic, &ahead) {
            Ok(()) => ahead.iter().for_each(|at| self.offsets.committed(at.partition, at.next)),
            // Between two generations of the group nobody may commit; the next try will be of the new one.
            Err(KafkaError::ConsumerCommit(
                RDKafkaErrorCode::RebalanceInProgress | RDKafkaErrorCode::IllegalGeneration,
            )) => {}
            Err(error) => {
                if let Some(held_back) = log.pass() {
                    tracing::warn!(%error, held_back, "positions could not be committed, trying again");
                }
            }
        }
    }
}

/// Commits positions, all or none.
pub(super) fn commit(consumer: &GroupConsumer, topic: &str, positions: &[Position]) -> KafkaResult<()> {
    let mut list = TopicPartitionList::with_capacity(positions.len());
    for position in positions {
        let mut element = list.add_partition(topic, position.partition);
        element.set_offset(Offset::Offset(position.next))?;
        element.set_metadata(position.ledger.to_metadata());
    }
    crash::here(CrashPoint::SinkBeforeOffsetCommit);
    consumer.commit(&list, CommitMode::Sync)?;
    crash::here(CrashPoint::SinkAfterOffsetCommit);
    list.elements().iter().try_for_each(|element| element.error())
}

/// What is remembered from one measurement to the next.
struct Lag<'k> {
    keeper: &'k Keeper,
    published: BTreeSet<i32>,
    /// Partitions that have records of which none was read, and since when that is known.
    unread_since: BTreeMap<i32, Instant>,
}

impl Lag<'_> {
    /// Publishes the lag of every partition that is ours; those that were and are no longer have none.
    fn publish(&mut self) {
        let (group, topic) = (&self.keeper.config.group, &self.keeper.config.source_topic);
        let mut ours = BTreeSet::new();
        let mut answered = true;
        for (partition, position, oldest) in self.keeper.offsets.partitions() {
            let records =
                if answered { behind(&self.keeper.consumer, topic, partition, position).ok() } else { None };
            // One question without an answer is enough to know that the brokers are away.
            answered = records.is_some();
            metrics::lag(group, topic, partition, records, self.age(partition, records, oldest));
            ours.insert(partition);
        }
        for gone in self.published.difference(&ours) {
            metrics::lag(group, topic, *gone, Some(0), Duration::ZERO);
            self.unread_since.remove(gone);
        }
        // Whoever has no partitions, since there are enough others, may be asked to take some at any time.
        if ours.is_empty() {
            let metadata = self.keeper.consumer.fetch_metadata(Some(topic), CALL_TIMEOUT);
            answered = metadata.is_ok_and(|found| found.topics().iter().all(|topic| topic.error().is_none()));
        }
        if answered {
            self.keeper.component.ready();
        }
        self.published = ours;
    }

    /// Age of the oldest unwritten record; where none was read yet, at least how long there has been one.
    fn age(&mut self, partition: i32, behind: Option<i64>, oldest: Option<i64>) -> Duration {
        if let Some(timestamp) = oldest {
            self.unread_since.remove(&partition);
            return since(timestamp);
        }
        match behind {
            Some(1..) => self.unread_since.entry(partition).or_insert_with(Instant::now).elapsed(),
            Some(_) => {
                self.unread_since.remove(&partition);
                Duration::ZERO
            }
            None => self.unread_since.get(&partition).map_or(Duration::ZERO, Instant::elapsed),
        }
    }
}

/// Records between the position and the end of what is committed.
fn behind(consumer: &GroupConsumer, topic: &str, partition: i32, position: Option<i64>) -> KafkaResult<i64> {
    let (low, high) = consumer.fetch_watermarks(topic, partition, CALL_TIMEOUT)?;
    let position = match position {
        Some(position) => position,
        None => committed(consumer, topic, partition)?.unwrap_or(low),
    };
    Ok(high.saturating_sub(position).max(0))
}

/// Of partitions: what was seen up to their committed positions, and the snapshot that the group began with.
pub(super) fn known(
    consumer: &GroupConsumer,
    topic: &str,
    partitions: &[i32],
) -> KafkaResult<Vec<(i32, Seen, Snapshot)>> {
    let ours = ledgers(consumer, topic, partitions)?;
    let has_begun = |ledgers: &[(i32, Option<Ledger>)]| ledgers.iter().any(|(_, ledger)| ledger.is_some());
    // A partition without a position may be one that was added, or that had no record yet: then the others tell.
    let began = if ours.iter().all(|(_, ledger)| ledger.is_some()) {
        Snapshot::Past
    } else {
        let metadata = consumer.fetch_metadata(Some(topic), CALL_TIMEOUT)?;
        let all = metadata.topics().iter().flat_map(|found| found.partitions()).map(|found| found.id());
        let all = ledgers(consumer, topic, &all.collect::<Vec<_>>())?;
        match all.iter().find_map(|(_, ledger)| ledger.as_ref()?.snapshot) {
            Some(at) => Snapshot::At(at),
            None if has_begun(&all) => Snapshot::Past,
            None => Snapshot::Awaited,
        }
    };
    let known = ours.into_iter().map(|(partition, ledger)| match ledger {
        None => (partition, Seen::default(), began),
        Some(Ledger { seen, snapshot, .. }) => {
            (partition, seen, snapshot.map_or(Snapshot::Past, Snapshot::At))
        }
    });
    Ok(known.collect())
}

/// The ledgers of partitions; `None` where the group has no position.
fn ledgers(
    consumer: &GroupConsumer,
    topic: &str,
    partitions: &[i32],
) -> KafkaResult<Vec<(i32, Option<Ledger>)>> {
    let mut list = TopicPartitionList::with_capacity(partitions.len());
    for partition in partitions {
        list.add_partition(topic, *partition);
    }
    let committed = consumer.committed_offsets(list, CALL_TIMEOUT)?;
    let mut ledgers = Vec::with_capacity(partitions.len());
    for element in committed.elements() {
        element.error()?;
        let has_position = matches!(element.offset(), Offset::Offset(_));
        ledgers.push((element.partition(), has_position.then(|| Ledger::parse(element.metadata()))));
    }
    Ok(ledgers)
}

/// The group's position before this process has read anything.
fn committed(consumer: &GroupConsumer, topic: &str, partition: i32) -> KafkaResult<Option<i64>> {
    let mut list = TopicPartitionList::with_capacity(1);
    list.add_partition(topic, partition);
    let committed = consumer.committed_offsets(list, CALL_TIMEOUT)?;
    Ok(committed.elements().first().and_then(|element| match element.offset() {
        Offset::Offset(position) => Some(position),
        _ => None,
    }))
}

fn since(timestamp: i64) -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.saturating_sub(Duration::from_millis(u64::try_from(timestamp).unwrap_or_default()))
}
