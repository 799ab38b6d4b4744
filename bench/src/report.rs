//! What was measured, as a table for people and as JSON.

use std::borrow::Cow;
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
/// Latencies: half of them are shorter.
pub(crate) const P50: &str = "p50 ms";
/// All but a hundredth are shorter.
pub(crate) const P99: &str = "p99 ms";
/// The longest.
pub(crate) const MAX: &str = "max ms";
/// Cores that the tool kept busy.
pub(crate) const CORES: &str = "cores";
/// Transactions that were committed, of one row each.
pub(crate) const COMMITTED: &str = "committed rows/s";

/// What ours is to reach, beside a peer.
#[derive(Debug, Clone)]
pub(crate) struct Goal {
    /// Whose value.
    pub(crate) ours: Cow<'static, str>,
    /// What is compared.
    pub(crate) metric: &'static str,
    /// Whom it is divided by; by nobody's if absent.
    pub(crate) peer: Option<Cow<'static, str>>,
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

impl Goal {
    /// A bound of a value.
    pub(crate) fn of(ours: impl Into<Cow<'static, str>>, metric: &'static str, bound: Bound) -> Self {
        Self { ours: ours.into(), metric, peer: None, bound }
    }

    /// A bound of a value divided by a peer's.
    pub(crate) fn beside(
        ours: impl Into<Cow<'static, str>>,
        metric: &'static str,
        peer: impl Into<Cow<'static, str>>,
        bound: Bound,
    ) -> Self {
        Self { ours: ours.into(), metric, peer: Some(peer.into()), bound }
    }
}

/// A contender's runs.
#[derive(Debug, Serialize)]
pub(crate) struct Measured {
    /// Its name.
    pub(crate) name: String,
    /// Whether it is a part of this project.
    pub(crate) ours: bool,
    /// How it was set.
    pub(crate) settings: String,
    /// Each run's values.
    pub(crate) runs: Vec<Sample>,
    /// What kept it from running.
    pub(crate) failures: Vec<String>,
}

impl Measured {
    /// Over its runs; `None` if none has it.
    pub(crate) fn spread(&self, metric: &str) -> Option<Spread> {
        let values: Vec<f64> = self.runs.iter().filter_map(|run| run.get(metric).copied()).collect();
        Spread::of(&values)
    }
}

/// A goal and what came of it.
#[derive(Debug, Serialize)]
pub(crate) struct Verdict {
    ours: String,
    metric: &'static str,
    peer: Option<String>,
    goal: String,
    /// Of the medians, with the worst and the best that the runs allow.
    reached: Option<Spread>,
    met: Option<bool>,
}

/// One scenario's result.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// Its name on the command line.
    pub(crate) scenario: &'static str,
    /// What it does.
    pub(crate) title: &'static str,
    /// Records per run.
    pub(crate) rows: u64,
    /// Who ran.
    pub(crate) contenders: Vec<Measured>,
    /// Goals.
    pub(crate) verdicts: Vec<Verdict>,
    #[serde(skip)]
    columns: &'static [&'static str],
    /// The columns that are drawn.
    #[serde(skip)]
    pub(crate) plots: &'static [&'static str],
}

impl Report {
    pub(crate) fn new(
        scenario: &'static str,
        title: &'static str,
        rows: u64,
        columns: &'static [&'static str],
        plots: &'static [&'static str],
        contenders: Vec<Measured>,
        goals: &[Goal],
    ) -> Self {
        let verdicts = goals.iter().map(|goal| verdict(goal, &contenders)).collect();
        Self { scenario, title, rows, contenders, verdicts, columns, plots }
    }

    /// What failed, a line each: whether it is ours, and what happened to whom.
    pub(crate) fn failures(&self) -> impl Iterator<Item = (bool, String)> {
        self.contenders.iter().flat_map(|contender| {
            let line = |failure| format!("{}, {}, {failure}", self.scenario, contender.name);
            contender.failures.iter().map(move |failure| (contender.ours, line(failure)))
        })
    }

    /// Markdown: title, table, goals, settings.
    pub(crate) fn markdown(&self) -> String {
        let mut table = markdown_table();
        table.set_header(std::iter::once("").chain(self.columns.iter().copied()));
        for contender in &self.contenders {
            let cells =
                self.columns.iter().map(|column| contender.spread(column).map_or_else(String::new, show));
            table.add_row(std::iter::once(contender.name.clone()).chain(cells).map(Cell::new));
        }
        let mut text = format!("## {}\n\n{}. {} rows.\n\n{table}\n\n", self.scenario, self.title, self.rows);
        if !self.verdicts.is_empty() {
            text += &format!("{}\n\n", goals(std::iter::once(self)));
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

/// The goals of some scenarios as a table of ratios.
pub(crate) fn goals<'a>(reports: impl Iterator<Item = &'a Report>) -> Table {
    let mut table = markdown_table();
    table.set_header(["", "ours", "what", "beside", "goal", "reached", ""]);
    for report in reports {
        for verdict in &report.verdicts {
            let met = match verdict.met {
                Some(true) => "met",
                Some(false) => "MISSED",
                None => "not measured",
            };
            let peer = verdict.peer.clone().unwrap_or_default();
            let reached = verdict.reached.map(show).unwrap_or_default();
            table.add_row([
                report.scenario,
                &verdict.ours,
                verdict.metric,
                &peer,
                &verdict.goal,
                &reached,
                met,
            ]);
        }
    }
    table
}

fn markdown_table() -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table
}

fn verdict(goal: &Goal, contenders: &[Measured]) -> Verdict {
    let spread = |name: &str| {
        let found = contenders.iter().find(|contender| contender.name == name)?;
        found.spread(goal.metric)
    };
    let reached = spread(&goal.ours).and_then(|ours| match &goal.peer {
        Some(peer) => spread(peer).filter(|peer| peer.min > 0.0).map(|peer| Spread {
            median: ours.median / peer.median,
            min: ours.min / peer.max,
            max: ours.max / peer.min,
        }),
        None => Some(ours),
    });
    let (sign, bound) = match goal.bound {
        Bound::AtLeast(bound) => (">=", bound),
        Bound::AtMost(bound) => ("<=", bound),
    };
    let met = reached.map(|reached| match goal.bound {
        Bound::AtLeast(bound) => reached.median >= bound,
        Bound::AtMost(bound) => reached.median <= bound,
    });
    let times = if goal.peer.is_some() { " x" } else { "" };
    Verdict {
        ours: goal.ours.to_string(),
        metric: goal.metric,
        peer: goal.peer.as_deref().map(str::to_owned),
        goal: format!("{sign} {}{times}", number(bound)),
        reached,
        met,
    }
}

/// Median, and least and greatest where they differ.
pub(crate) fn show(spread: Spread) -> String {
    let Spread { median, min, max } = spread;
    let [middle, low, high] = [median, min, max].map(number);
    if low == high { middle } else { format!("{middle} ({low}–{high})") }
}

/// Three digits that count.
pub(crate) fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 9_999_500.0 => format!("{:.1} M", value / 1e6),
        size if size >= 9_999.5 => format!("{:.1} k", value / 1000.0),
        size if size >= 99.95 => format!("{value:.0}"),
        size if size >= 9.995 => format!("{value:.1}"),
        size if size >= 0.0995 || size == 0.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(name: &str, rates: &[f64]) -> Measured {
        let runs = rates.iter().map(|rate| Sample::from([(RATE, *rate)])).collect();
        let ours = name == "ours";
        Measured { name: name.to_owned(), ours, settings: "none".to_owned(), runs, failures: Vec::new() }
    }

    fn judged(ours: &[f64], peer: &[f64]) -> (Option<Spread>, Option<bool>) {
        let goal = Goal::beside("ours", RATE, "peer", Bound::AtLeast(2.0));
        let verdict = verdict(&goal, &[measured("ours", ours), measured("peer", peer)]);
        (verdict.reached, verdict.met)
    }

    #[test]
    fn a_goal_is_a_ratio_of_medians() {
        let spread = |median, min, max| Some(Spread { median, min, max });
        assert_eq!(judged(&[10.0, 40.0, 20.0], &[5.0, 10.0, 100.0]), (spread(2.0, 0.1, 8.0), Some(true)));
        assert_eq!(judged(&[10.0, 19.0, 20.0], &[5.0, 10.0, 100.0]), (spread(1.9, 0.1, 4.0), Some(false)));
        assert_eq!(judged(&[10.0], &[]), (None, None));
    }

    #[test]
    fn what_failed_is_said() {
        let mut failed = measured("peer", &[]);
        failed.failures.push("no java".to_owned());
        let contenders = vec![measured("ours", &[123_456.0, 99.0]), failed];
        let report = Report::new("demo", "A demo", 5, &[RATE], &[RATE], contenders, &[]);
        let text = report.markdown();
        assert!(text.contains("61.8 k (99.0–123.5 k)") && text.contains("FAILED: no java"), "{text}");
        assert_eq!(report.failures().collect::<Vec<_>>(), [(false, "demo, peer, no java".to_owned())]);
    }

    #[test]
    fn numbers_have_three_digits_that_count() {
        let shown = [0.0, 0.0667, 0.3, 9.999, 99.96, 512.4, 9_999.7, 123_456.0, 12_345_678.0].map(number);
        assert_eq!(shown, ["0.00", "0.067", "0.30", "10.0", "100", "512", "10.0 k", "123.5 k", "12.3 M"]);
    }
}
