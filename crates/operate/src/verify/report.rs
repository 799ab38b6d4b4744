use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Serialize, Serializer};
use uuid::Uuid;

use super::ids::{ProfileId, ProfileIds};
use super::postgres::FetchRun;
use super::topic::Scan;

/// Has the profiles of the run that a stage has.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) name: String,
    pub(super) ids: ProfileIds,
    /// Counts the records or rows of the run.
    pub(super) records: u64,
    /// Counts the records of a topic that repeat an earlier one, or the rows of a table beyond one for each profile.
    pub(super) duplicates: u64,
    /// Counts the records of a topic that came after a later change of their key.
    pub(super) out_of_order: u64,
    /// Counts the records of a topic that can't be decoded.
    pub(super) undecodable: u64,
}

impl Stage {
    /// Makes a stage that can't have an id twice.
    pub(super) fn plain(name: &str, ids: ProfileIds) -> Self {
        let records = ids.len() as u64;
        Self::table(name.to_owned(), ids, records)
    }

    /// Makes a table with this many rows.
    pub(super) fn table(name: String, ids: ProfileIds, records: u64) -> Self {
        let duplicates = records - ids.len() as u64;
        Self { name, ids, records, duplicates, out_of_order: 0, undecodable: 0 }
    }
}

impl From<Scan> for Stage {
    fn from(scan: Scan) -> Self {
        let Scan { topic, ids, records, duplicates, out_of_order, undecodable, .. } = scan;
        Self { name: topic, ids, records, duplicates, out_of_order, undecodable }
    }
}

/// Has the profiles of a run in every stage, as they were at one look.
#[derive(Debug)]
pub struct Verification {
    pub(super) run: FetchRun,
    /// Begins with PostgreSQL, the reference.
    pub(super) stages: Vec<Stage>,
    pub(super) dead_letters: Vec<TopicDeadLetters>,
    pub(super) elapsed: Duration,
}

/// Sums a verification up, for people and for machines.
#[derive(Debug, Serialize)]
pub struct VerificationSummary {
    /// Describes the run as the fetcher left it.
    pub run: FetchRun,
    /// Says whether every stage has the same profiles, each once and in order.
    pub equal: bool,
    /// Counts the profiles of each stage, by its name.
    pub counts: BTreeMap<String, usize>,
    /// Describes each stage in the order in which profiles pass them.
    pub stages: Vec<StageSummary>,
    /// Counts the dead letters, as JSON by their topic.
    #[serde(serialize_with = "by_topic")]
    pub dead_letters: Vec<TopicDeadLetters>,
    /// How long the comparison took.
    pub seconds: f64,
}

/// Compares a stage with PostgreSQL.
#[derive(Debug, Serialize)]
pub struct StageSummary {
    /// Names the stage: `postgres`, a topic, or a table of Cassandra.
    pub stage: String,
    /// Counts the profiles of the run that it has.
    pub profiles: usize,
    /// Counts its records or rows of the run.
    pub records: u64,
    /// Counts the records that repeat an earlier one, or the rows beyond one for each profile.
    pub duplicates: u64,
    /// Counts the records that came after a later change of their key.
    pub out_of_order: u64,
    /// Counts the records that can't be decoded.
    pub undecodable: u64,
    /// Has the profiles that PostgreSQL has and this stage has not.
    pub missing: Difference,
    /// Has the profiles that this stage has and PostgreSQL has not.
    pub unexpected: Difference,
}

/// Counts the dead letters of a topic.
#[derive(Debug, Clone, Serialize)]
pub struct TopicDeadLetters {
    /// Names the dead-letter topic.
    #[serde(skip)]
    pub topic: String,
    /// Counts all that nobody has dealt with.
    pub records: u64,
    /// Counts those of the run.
    pub of_run: u64,
}

/// Has the ids that a stage has too few or too many.
#[derive(Debug, Serialize)]
pub struct Difference {
    /// Counts all of them.
    pub count: usize,
    /// Has the first of them in order, up to the limit.
    pub ids: Vec<Uuid>,
}

impl Difference {
    fn new(mut ids: Vec<ProfileId>, limit: usize) -> Self {
        let count = ids.len();
        ids.sort_unstable();
        ids.truncate(limit);
        Self { count, ids: ids.into_iter().map(Uuid::from_u128).collect() }
    }
}

fn by_topic<S: Serializer>(letters: &[TopicDeadLetters], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(letters.iter().map(|letters| (&letters.topic, letters)))
}

impl Verification {
    /// Returns whether every stage has the same profiles, each once and in order.
    #[must_use]
    pub fn equal(&self) -> bool {
        self.stages.iter().all(|stage| {
            stage.duplicates == 0
                && stage.out_of_order == 0
                && self.missing(stage).is_empty()
                && self.unexpected(stage).is_empty()
        })
    }

    /// Sums it up. Of the ids that differ each stage gets `limit` at most.
    #[must_use]
    pub fn summary(&self, limit: usize) -> VerificationSummary {
        let summary = |stage: &Stage| StageSummary {
            stage: stage.name.clone(),
            profiles: stage.ids.len(),
            records: stage.records,
            duplicates: stage.duplicates,
            out_of_order: stage.out_of_order,
            undecodable: stage.undecodable,
            missing: Difference::new(self.missing(stage), limit),
            unexpected: Difference::new(self.unexpected(stage), limit),
        };
        VerificationSummary {
            run: self.run.clone(),
            equal: self.equal(),
            counts: self.stages.iter().map(|stage| (stage.name.clone(), stage.ids.len())).collect(),
            stages: self.stages.iter().map(summary).collect(),
            dead_letters: self.dead_letters.clone(),
            seconds: self.elapsed.as_secs_f64(),
        }
    }

    fn reference(&self) -> Option<&ProfileIds> {
        self.stages.first().map(|stage| &stage.ids)
    }

    fn missing(&self, stage: &Stage) -> Vec<ProfileId> {
        self.reference().map(|all| all.difference(&stage.ids).copied().collect()).unwrap_or_default()
    }

    fn unexpected(&self, stage: &Stage) -> Vec<ProfileId> {
        self.reference().map(|all| stage.ids.difference(all).copied().collect()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use chrono::Utc;
    use serde_json::json;

    use super::*;

    fn verification(stages: Vec<Stage>) -> Verification {
        let run = FetchRun {
            run_id: "run".to_owned(),
            status: "succeeded".to_owned(),
            requested: 2,
            fetched: 2,
            stored: 2,
            rejected: 0,
            duplicates: 0,
            simulated: true,
            created_at: Utc::now(),
            finished_at: None,
        };
        Verification { run, stages, dead_letters: Vec::new(), elapsed: Duration::ZERO }
    }

    #[test]
    fn a_missing_and_an_invented_profile_are_named() {
        let stages = vec![
            Stage::plain("postgres", ProfileIds::from([1, 2])),
            Stage::plain("topic", ProfileIds::from([2, 3])),
        ];
        let found = verification(stages);
        assert!(!found.equal());
        let document = json!(found.summary(20));
        assert_eq!(document["counts"], json!({"postgres": 2, "topic": 2}));
        assert_eq!(document["stages"][1]["missing"], json!({"count": 1, "ids": [Uuid::from_u128(1)]}));
        assert_eq!(document["stages"][1]["unexpected"], json!({"count": 1, "ids": [Uuid::from_u128(3)]}));
    }

    #[test]
    fn the_same_profiles_twice_are_not_equal() {
        let twice = Stage::table("table".to_owned(), ProfileIds::from([1, 2]), 3);
        assert!(!verification(vec![Stage::plain("postgres", ProfileIds::from([1, 2])), twice]).equal());
        let once = Stage::table("table".to_owned(), ProfileIds::from([1, 2]), 2);
        assert!(verification(vec![Stage::plain("postgres", ProfileIds::from([1, 2])), once]).equal());
    }

    #[test]
    fn machines_get_dead_letters_by_topic_and_people_in_the_order_of_the_stages() {
        let of = |topic: &str| TopicDeadLetters { topic: topic.to_owned(), records: 3, of_run: 1 };
        let dead_letters = vec![of("users.raw.dlq"), of("users.processed.dlq")];
        let summary = Verification { dead_letters, ..verification(Vec::new()) }.summary(20);
        let counts = json!({"records": 3, "of_run": 1});
        let expected = json!({"users.raw.dlq": counts, "users.processed.dlq": counts});
        assert_eq!(json!(summary)["dead_letters"], expected);
        assert_eq!(summary.dead_letters[0].topic, "users.raw.dlq");
    }

    #[test]
    fn the_list_of_ids_is_bounded() {
        let difference = Difference::new((0..100).collect(), 20);
        assert_eq!((difference.count, difference.ids.len()), (100, 20));
    }
}
