//! How far the group is behind the source topic, in records and in seconds.
//!
//! The end of a partition is its last stable offset, as a `read_committed` consumer sees it. Transaction markers take
//! offsets too, so a partition that is read to its end has no lag although its committed offset is below that end.

use std::collections::HashMap;
use std::time::Instant;

use metrics::gauge;
use rdkafka::Statistics;
use rdkafka::statistics::Partition;

use crate::batch::Progress;

/// Lag of the partitions that are assigned to one worker.
#[derive(Debug)]
pub(crate) struct Lag {
    group: String,
    topic: String,
    partitions: HashMap<i32, Position>,
}

#[derive(Debug)]
struct Position {
    /// Committed by this worker; before its first commit the broker's is used.
    committed: Option<i64>,
    /// Seconds between a record's commit and its processing, and when they were measured.
    late: f64,
    measured: Instant,
}

impl Lag {
    pub(crate) fn new(group: &str, topic: &str) -> Self {
        Self { group: group.to_owned(), topic: topic.to_owned(), partitions: HashMap::new() }
    }

    pub(crate) fn assigned(&mut self, partition: i32) {
        self.partitions.insert(partition, Position { committed: None, late: 0.0, measured: Instant::now() });
    }

    /// Another worker shows it from now on.
    pub(crate) fn revoked(&mut self, partition: i32) {
        self.partitions.remove(&partition);
        self.show(partition, 0.0, 0.0);
    }

    /// The consumer is gone, and its partitions with it.
    pub(crate) fn all_revoked(&mut self) {
        for partition in self.partitions.keys().copied().collect::<Vec<_>>() {
            self.revoked(partition);
        }
    }

    pub(crate) fn committed(&mut self, partition: i32, progress: Progress, now_ms: i64) {
        let Some(position) = self.partitions.get_mut(&partition) else { return };
        position.committed = Some(progress.next);
        position.late = progress.oldest.map_or(0.0, |oldest| seconds(now_ms - oldest));
        position.measured = Instant::now();
    }

    /// Measures again, from what librdkafka knows of the ends. `in_hand` tells whether records of a partition were read
    /// and not committed yet.
    pub(crate) fn update(&mut self, statistics: &Statistics, in_hand: impl Fn(i32) -> bool) {
        let Some(topic) = statistics.topics.get(&self.topic) else { return };
        let mut measured = Vec::with_capacity(self.partitions.len());
        for (id, position) in &mut self.partitions {
            let Some(partition) = topic.partitions.get(id) else { continue };
            let records = behind(partition, position.committed, in_hand(*id));
            if records == 0 {
                position.late = 0.0;
                position.measured = Instant::now();
            }
            let late =
                if records == 0 { 0.0 } else { position.late + position.measured.elapsed().as_secs_f64() };
            measured.push((*id, records, late));
        }
        for (partition, records, late) in measured {
            // Exact up to 2^53 records.
            #[expect(clippy::cast_precision_loss)]
            self.show(partition, records as f64, late);
        }
    }

    fn show(&self, partition: i32, records: f64, late: f64) {
        let partition = partition.to_string();
        gauge!("kafka_consumergroup_lag", "consumergroup" => self.group.clone(), "topic" => self.topic.clone(), "partition" => partition.clone())
            .set(records);
        gauge!("pipeline_lag_seconds", "hop" => crate::HOP, "topic" => self.topic.clone(), "partition" => partition)
            .set(late);
    }
}

/// Records between the committed position and the end.
fn behind(partition: &Partition, committed: Option<i64>, in_hand: bool) -> i64 {
    let end = partition.ls_offset;
    let position = committed.unwrap_or(match partition.committed_offset {
        known if known >= 0 => known,
        _ => partition.lo_offset,
    });
    // Everything up to the end was fetched, handed out and committed: what is left are markers.
    let drained = partition.next_offset >= end && partition.fetchq_cnt == 0 && !in_hand;
    if drained || end < 0 || position < 0 { 0 } else { (end - position).max(0) }
}

/// Milliseconds as seconds; a clock that is behind the source's gives none.
pub(crate) fn seconds(milliseconds: i64) -> f64 {
    u32::try_from(milliseconds.max(0)).map_or(f64::from(u32::MAX), f64::from) / 1000.0
}
