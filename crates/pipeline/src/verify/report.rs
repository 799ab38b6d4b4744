//! What a verification found, for people and for machines.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::postgres::Run;
use super::topic::Scan;
use super::{Id, Ids};
use output::{Output, table};

/// A place where the run's profiles are.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(super) name: String,
    pub(super) ids: Ids,
    /// Records or rows of the run.
    pub(super) records: u64,
    /// Records of a topic that repeat an earlier one, or rows of a table beyond one for each profile.
    pub(super) duplicates: u64,
    /// Records of a topic that came after a later change of their key.
    pub(super) out_of_order: u64,
    /// Records of a topic that can't be decoded.
    pub(super) undecodable: u64,
}

impl Stage {
    /// A stage that can't have an id twice.
    pub(super) fn plain(name: &str, ids: Ids) -> Self {
        let records = ids.len() as u64;
        Self::table(name.to_owned(), ids, records)
    }

    /// A table with this many rows.
    pub(super) fn table(name: String, ids: Ids, records: u64) -> Self {
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

/// A dead-letter topic.
#[derive(Debug)]
pub(crate) struct DeadLetters {
    pub(super) topic: String,
    /// All that it has.
    pub(super) records: u64,
    /// Those of the run.
    pub(super) of_run: u64,
}

/// What a verification found.
#[derive(Debug)]
pub(crate) struct Report {
    pub(super) run: Run,
    /// PostgreSQL, the reference, is the first.
    pub(super) stages: Vec<Stage>,
    pub(super) dead_letters: Vec<DeadLetters>,
    pub(super) elapsed: Duration,
}

/// Ids that a stage has too few or too many.
#[derive(Debug, Serialize)]
struct Difference {
    count: usize,
    /// Some of them.
    ids: Vec<Uuid>,
}

impl Difference {
    fn new(mut ids: Vec<Id>, limit: usize) -> Self {
        let count = ids.len();
        ids.sort_unstable();
        ids.truncate(limit);
        Self { count, ids: ids.into_iter().map(Uuid::from_u128).collect() }
    }
}

impl Report {
    /// Whether every stage has the same profiles, each once and in order.
    pub(crate) fn equal(&self) -> bool {
        self.stages.iter().all(|stage| {
            stage.duplicates == 0
                && stage.out_of_order == 0
                && self.missing(stage).is_empty()
                && self.unexpected(stage).is_empty()
        })
    }

    /// Profiles by stage, in their order.
    pub(crate) fn counts(&self) -> impl Iterator<Item = (&str, usize)> {
        self.stages.iter().map(|stage| (stage.name.as_str(), stage.ids.len()))
    }

    fn reference(&self) -> Option<&Ids> {
        self.stages.first().map(|stage| &stage.ids)
    }

    fn missing(&self, stage: &Stage) -> Vec<Id> {
        self.reference().map(|all| all.difference(&stage.ids).copied().collect()).unwrap_or_default()
    }

    fn unexpected(&self, stage: &Stage) -> Vec<Id> {
        self.reference().map(|all| stage.ids.difference(all).copied().collect()).unwrap_or_default()
    }

    /// Everything; of the ids that differ `limit` for each stage.
    pub(crate) fn document(&self, limit: usize) -> Value {
        let counts: BTreeMap<&str, usize> = self.counts().collect();
        let stages: Vec<Value> = self
            .stages
            .iter()
            .map(|stage| {
                json!({
                    "stage": stage.name,
                    "profiles": stage.ids.len(),
                    "records": stage.records,
                    "duplicates": stage.duplicates,
                    "out_of_order": stage.out_of_order,
                    "undecodable": stage.undecodable,
                    "missing": Difference::new(self.missing(stage), limit),
                    "unexpected": Difference::new(self.unexpected(stage), limit),
                })
            })
            .collect();
        let dead_letters: BTreeMap<&str, Value> = self
            .dead_letters
            .iter()
            .map(|dead| (dead.topic.as_str(), json!({ "records": dead.records, "of_run": dead.of_run })))
            .collect();
        json!({
            "run": self.run,
            "equal": self.equal(),
            "counts": counts,
            "stages": stages,
            "dead_letters": dead_letters,
            "seconds": self.elapsed.as_secs_f64(),
        })
    }

    /// Prints it.
    pub(crate) fn print(&self, limit: usize, output: &Output) {
        output.document(&self.document(limit));
        if output.is_json() {
            return;
        }
        let run = &self.run;
        let source = match (run.fetched, run.simulated) {
            (0, _) => "no",
            (_, true) => "simulated",
            (_, false) => "live",
        };
        output.line(format_args!(
            "run {}: {}, {source} profiles; {} requested, {} fetched, {} rejected, {} repeated",
            run.run_id, run.status, run.requested, run.fetched, run.rejected, run.duplicates
        ));
        let rows = self.stages.iter().map(|stage| {
            let counts = [
                stage.ids.len() as u64,
                stage.records,
                stage.duplicates,
                stage.out_of_order,
                self.missing(stage).len() as u64,
                self.unexpected(stage).len() as u64,
            ];
            std::iter::once(stage.name.clone()).chain(counts.map(|count| count.to_string())).collect()
        });
        let header = ["stage", "profiles", "records", "repeated", "late", "missing", "unexpected"];
        output.line(table(&header, rows));
        for dead in &self.dead_letters {
            output.line(format_args!("{}: {} of this run, {} in all", dead.topic, dead.of_run, dead.records));
        }
        for stage in &self.stages {
            for (what, ids) in [("missing", self.missing(stage)), ("unexpected", self.unexpected(stage))] {
                let difference = Difference::new(ids, limit);
                if difference.count > 0 {
                    let ids: Vec<String> = difference.ids.iter().map(ToString::to_string).collect();
                    let more = if difference.count > ids.len() { " ..." } else { "" };
                    output.line(format_args!(
                        "{what} in {} ({}): {}{more}",
                        stage.name,
                        difference.count,
                        ids.join(" ")
                    ));
                }
            }
        }
        let verdict = if self.equal() { "all stages are equal" } else { "the stages differ" };
        output.line(format_args!("{verdict} ({:.1} s)", self.elapsed.as_secs_f64()));
    }
}

#[cfg(test)]
mod tests {
    use chrono::Utc;

    use super::*;

    fn report(stages: Vec<Stage>) -> Report {
        let run = Run {
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
        Report { run, stages, dead_letters: Vec::new(), elapsed: Duration::ZERO }
    }

    #[test]
    fn a_missing_and_an_invented_profile_are_named() {
        let stages =
            vec![Stage::plain("postgres", Ids::from([1, 2])), Stage::plain("topic", Ids::from([2, 3]))];
        let report = report(stages);
        assert!(!report.equal());
        let document = report.document(20);
        assert_eq!(document["counts"], json!({"postgres": 2, "topic": 2}));
        assert_eq!(document["stages"][1]["missing"], json!({"count": 1, "ids": [Uuid::from_u128(1)]}));
        assert_eq!(document["stages"][1]["unexpected"], json!({"count": 1, "ids": [Uuid::from_u128(3)]}));
    }

    #[test]
    fn the_same_profiles_twice_are_not_equal() {
        let twice = Stage::table("table".to_owned(), Ids::from([1, 2]), 3);
        assert!(!report(vec![Stage::plain("postgres", Ids::from([1, 2])), twice]).equal());
        let once = Stage::table("table".to_owned(), Ids::from([1, 2]), 2);
        assert!(report(vec![Stage::plain("postgres", Ids::from([1, 2])), once]).equal());
    }

    #[test]
    fn the_list_of_ids_is_bounded() {
        let difference = Difference::new((0..100).collect(), 20);
        assert_eq!((difference.count, difference.ids.len()), (100, 20));
    }
}
