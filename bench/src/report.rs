//! What was measured, as a table for people and as JSON.

use std::collections::BTreeMap;

use comfy_table::{Cell, Table, presets};
use serde::Serialize;

use crate::measure::Spread;

/// One run of a contender: values by the name of what they are.
pub(crate) type Sample = BTreeMap<&'static str, f64>;

/// Records a second, from the first visible one to the last.
pub(crate) const RATE: &str = "rows/s";
/// From the start of the process to the last record.
pub(crate) const WALL: &str = "wall s";
/// CPU seconds of the tool since its start.
pub(crate) const CPU: &str = "CPU s";
/// Records per CPU second of the tool, its start included.
pub(crate) const PER_CPU: &str = "rows/CPU s";
/// The same since the first visible record.
pub(crate) const PER_CPU_STARTED: &str = "rows/CPU s, started";
/// Peak of the tool's resident memory.
pub(crate) const PEAK: &str = "peak MB";
/// CPU seconds of PostgreSQL from the tool's start to the last record.
pub(crate) const POSTGRES_CPU: &str = "PostgreSQL CPU s";
/// The broker's.
pub(crate) const KAFKA_CPU: &str = "Kafka CPU s";
/// Cassandra's.
pub(crate) const CASSANDRA_CPU: &str = "Cassandra CPU s";

/// What ours is to reach, beside a peer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Goal {
    /// Whose value.
    pub(crate) ours: &'static str,
    /// What is compared.
    pub(crate) metric: &'static str,
    /// Whom it is divided by; by nobody's if absent.
    pub(crate) peer: Option<&'static str>,
    /// What the quotient must be.
    pub(crate) bound: Bound,
}

/// A bound of a quotient of medians, or of a median.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Bound {
    /// So much or more.
    AtLeast(f64),
    /// So much or less.
    AtMost(f64),
}

/// A contender's runs.
#[derive(Debug, Serialize)]
pub(crate) struct Measured {
    /// Its name.
    pub(crate) name: String,
    /// How it was set.
    pub(crate) settings: String,
    /// Each run's values.
    pub(crate) runs: Vec<Sample>,
    /// What kept it from running.
    pub(crate) failures: Vec<String>,
}

impl Measured {
    fn spread(&self, metric: &str) -> Option<Spread> {
        let values: Vec<f64> = self.runs.iter().filter_map(|run| run.get(metric).copied()).collect();
        Spread::of(&values)
    }
}

/// A goal and what came of it.
#[derive(Debug, Serialize)]
pub(crate) struct Verdict {
    text: String,
    reached: Option<f64>,
    met: Option<bool>,
}

/// One scenario's result.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// Its name on the command line.
    pub(crate) scenario: &'static str,
    /// What it does.
    pub(crate) title: String,
    /// Records per run.
    pub(crate) rows: u64,
    /// Who ran.
    pub(crate) contenders: Vec<Measured>,
    /// Goals.
    pub(crate) verdicts: Vec<Verdict>,
    #[serde(skip)]
    columns: Vec<&'static str>,
}

impl Report {
    pub(crate) fn new(
        scenario: &'static str,
        title: String,
        rows: u64,
        columns: Vec<&'static str>,
        contenders: Vec<Measured>,
        goals: &[Goal],
    ) -> Self {
        let verdicts = goals.iter().map(|goal| verdict(goal, &contenders)).collect();
        Self { scenario, title, rows, contenders, verdicts, columns }
    }

    /// Markdown: title, table, goals, settings.
    pub(crate) fn markdown(&self) -> String {
        let mut table = Table::new();
        table.load_style(presets::ASCII_MARKDOWN);
        table.set_header(std::iter::once("").chain(self.columns.iter().copied()));
        for contender in &self.contenders {
            let cells =
                self.columns.iter().map(|column| contender.spread(column).map_or_else(String::new, show));
            table.add_row(std::iter::once(contender.name.clone()).chain(cells).map(Cell::new));
        }
        let mut text = format!("## {}\n\n{}. {} rows.\n\n{table}\n\n", self.scenario, self.title, self.rows);
        for verdict in &self.verdicts {
            let met = match verdict.met {
                Some(true) => "met",
                Some(false) => "MISSED",
                None => "not measured",
            };
            let reached = verdict.reached.map_or_else(String::new, |reached| format!("{reached:.2}, "));
            text += &format!("- {}: {reached}{met}\n", verdict.text);
        }
        if !self.verdicts.is_empty() {
            text.push('\n');
        }
        for contender in &self.contenders {
            text += &format!("- {}: {}\n", contender.name, contender.settings);
            for failure in &contender.failures {
                text += &format!("  - FAILED: {failure}\n");
            }
        }
        text
    }
}

fn verdict(goal: &Goal, contenders: &[Measured]) -> Verdict {
    let median = |name: &str| {
        let found = contenders.iter().find(|contender| contender.name == name)?;
        found.spread(goal.metric).map(|spread| spread.median)
    };
    let reached = median(goal.ours).and_then(|ours| match goal.peer {
        Some(peer) => median(peer).filter(|peer| *peer > 0.0).map(|peer| ours / peer),
        None => Some(ours),
    });
    let (sign, bound) = match goal.bound {
        Bound::AtLeast(bound) => (">=", bound),
        Bound::AtMost(bound) => ("<=", bound),
    };
    let met = reached.map(|reached| match goal.bound {
        Bound::AtLeast(bound) => reached >= bound,
        Bound::AtMost(bound) => reached <= bound,
    });
    let text = match goal.peer {
        Some(peer) => format!("{}: {} {sign} {bound:.3} x {peer}", goal.metric, goal.ours),
        None => format!("{}: {} {sign} {bound}", goal.metric, goal.ours),
    };
    Verdict { text, reached, met }
}

fn show(spread: Spread) -> String {
    let Spread { median, min, max } = spread;
    format!("{} ({}–{})", number(median), number(min), number(max))
}

/// Three digits that count.
fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 10_000.0 => format!("{:.1} k", value / 1000.0),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(name: &str, rates: &[f64]) -> Measured {
        let runs = rates.iter().map(|rate| Sample::from([(RATE, *rate)])).collect();
        Measured { name: name.to_owned(), settings: "none".to_owned(), runs, failures: Vec::new() }
    }

    fn judged(ours: &[f64], peer: &[f64]) -> (Option<f64>, Option<bool>) {
        let goal = Goal { ours: "ours", metric: RATE, peer: Some("peer"), bound: Bound::AtLeast(2.0) };
        let verdict = verdict(&goal, &[measured("ours", ours), measured("peer", peer)]);
        (verdict.reached, verdict.met)
    }

    #[test]
    fn a_goal_is_a_ratio_of_medians() {
        assert_eq!(judged(&[10.0, 40.0, 20.0], &[9.0, 10.0, 99.0]), (Some(2.0), Some(true)));
        assert_eq!(judged(&[10.0, 19.0, 20.0], &[9.0, 10.0, 99.0]), (Some(1.9), Some(false)));
        assert_eq!(judged(&[10.0], &[]), (None, None));
    }

    #[test]
    fn what_failed_stands_below_the_table() {
        let mut failed = measured("peer", &[]);
        failed.failures.push("no java".to_owned());
        let contenders = vec![measured("ours", &[123_456.0]), failed];
        let text = Report::new("demo", "A demo".to_owned(), 5, vec![RATE], contenders, &[]).markdown();
        assert!(text.contains("123.5 k (123.5 k–123.5 k)") && text.contains("FAILED: no java"), "{text}");
    }
}
