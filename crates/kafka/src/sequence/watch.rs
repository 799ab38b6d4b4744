//! What readers say about the continuity of a topic: the same metrics, logs and alarm wherever it is read.

use metrics::{Unit, counter, describe_counter, describe_gauge, gauge};

use super::{HEADER, Missing, Seen};

const REPEATS: &str = "pipeline_sequence_repeats_total";
const GAPS: &str = "pipeline_sequence_gaps_total";
const MISSING: &str = "pipeline_sequence_missing";

/// Reports on one topic for one hop.
#[derive(Debug, Clone)]
pub struct Watch {
    hop: &'static str,
    topic: String,
}

impl Watch {
    /// Explains the metrics to who scrapes them.
    #[must_use]
    pub fn new(hop: &'static str, topic: &str) -> Self {
        describe_counter!(REPEATS, Unit::Count, "Records that were read before, and dropped");
        describe_counter!(GAPS, Unit::Count, "Times that records were missing before one that was read");
        describe_gauge!(MISSING, Unit::Count, "Records that are missing now");
        Self { hop, topic: topic.to_owned() }
    }

    /// The topic.
    #[must_use]
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// Records were dropped.
    pub fn repeats(&self, partition: i32, count: u64) {
        tracing::warn!(topic = self.topic, partition, count, "records that were read before are dropped");
        counter!(REPEATS, "hop" => self.hop, "topic" => self.topic.clone(), "partition" => partition.to_string())
            .increment(count);
    }

    /// Records are missing.
    pub fn gap(&self, partition: i32, gap: &Missing) {
        tracing::error!(topic = self.topic, partition, missing = %gap, "records are missing: pipeline repair");
        counter!(GAPS, "hop" => self.hop, "topic" => self.topic.clone(), "partition" => partition.to_string())
            .increment(1);
    }

    /// A repair has ended.
    pub fn repaired(&self, partition: i32, repaired: &str) {
        tracing::info!(topic = self.topic, partition, repaired, "missing records are repaired");
    }

    /// What is missing of a partition now; `None` if somebody else reads it.
    pub fn missing(&self, partition: i32, seen: Option<&Seen>) {
        let missing: u64 = seen.map_or(&[][..], Seen::missing).iter().map(Missing::count).sum();
        // Exact up to 2^53 records.
        #[expect(clippy::cast_precision_loss)]
        gauge!(MISSING, "hop" => self.hop, "topic" => self.topic.clone(), "partition" => partition.to_string())
            .set(missing as f64);
    }

    /// Everything that is missing, for people; `None` if nothing is.
    #[must_use]
    pub fn alarm<'s>(&self, partitions: impl Iterator<Item = (i32, &'s Seen)>) -> Option<String> {
        let mut forgotten = None;
        let partitions = partitions.inspect(|(partition, seen)| {
            if seen.is_forgotten() {
                forgotten = forgotten.max(Some(*partition));
            }
        });
        let gaps =
            partitions.flat_map(|(partition, seen)| seen.missing().iter().map(move |gap| (partition, gap)));
        let mut gaps: Vec<_> = gaps.collect();
        gaps.sort_unstable();
        if let Some(partition) = forgotten {
            return Some(format!(
                "what was read of partition {partition} of {} was more than the metadata of an offset holds, so that \
                 missing records would not be noticed: compare with `pipeline verify`, use fewer partitions, and \
                 commit the group's offsets without metadata",
                self.topic
            ));
        }
        let (partition, gap) = gaps.first()?;
        let records: u64 = gaps.iter().map(|(_, gap)| gap.count()).sum();
        let more =
            if gaps.len() > 1 { format!(", and {} more ranges", gaps.len() - 1) } else { String::new() };
        let topic = &self.topic;
        Some(format!(
            "{records} records are missing: partition {partition} of {topic} lacks {gap} \
             (stream/source/first-last of the header {HEADER}){more}; `pipeline repair` publishes their rows again"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sequence::Sequence;

    #[test]
    fn the_alarm_names_the_first_gap_and_counts_all() {
        let watch = Watch::new("sink", "t");
        let seen = |numbers: &[u64]| {
            let mut seen = Seen::default();
            for number in numbers {
                seen.take(Sequence { stream: 7, source: 0, number: *number });
            }
            seen
        };
        let (whole, torn) = (seen(&[1, 2]), seen(&[1, 4, 6]));
        assert_eq!(watch.alarm([(0, &whole)].into_iter()), None);
        let mut forgotten = whole.clone();
        forgotten.forget();
        let alarm = watch.alarm([(0, &whole), (4, &forgotten)].into_iter()).unwrap();
        assert!(alarm.contains("partition 4 of t was more than"), "{alarm}");
        assert_eq!(
            watch.alarm([(0, &whole), (3, &torn)].into_iter()).as_deref(),
            Some(
                "3 records are missing: partition 3 of t lacks 7/0/2-3 (stream/source/first-last of the header \
                 pipeline.seq), and 1 more ranges; `pipeline repair` publishes their rows again"
            )
        );
    }
}
