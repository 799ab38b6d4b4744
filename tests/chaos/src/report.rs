//! What a run has found.

use command_line::{Output, table};
use serde_json::json;

use crate::check::Comparison;
use crate::cli::Request;
use crate::faults::schedule::Kind;
use crate::load::Done;
use crate::player::{Finding, Tally};

/// All of it.
pub(crate) struct Report {
    pub(crate) request: Request,
    /// How long faults were injected.
    pub(crate) seconds: f64,
    /// From the last fault's end until every stage was equal, or was given up on.
    pub(crate) caught_up_seconds: f64,
    pub(crate) load: Done,
    pub(crate) faults: Tally,
    pub(crate) findings: Vec<Finding>,
    /// Servers that ended by themselves: faults that nobody injected.
    pub(crate) exits: Vec<Finding>,
    /// Services that were not ready in the end, and why.
    pub(crate) waiting: Vec<String>,
    pub(crate) comparison: Comparison,
}

impl Report {
    /// Whether there is nothing to look into.
    pub(crate) fn is_clean(&self) -> bool {
        self.comparison.equal() && self.findings.is_empty() && self.waiting.is_empty()
    }

    fn injected(&self) -> u32 {
        self.faults.values().flat_map(|kinds| kinds.values()).sum()
    }

    pub(crate) fn print(&self, output: &Output) {
        output.document(&json!({
            "clean": self.is_clean(),
            "seed": self.request.seed,
            "minutes": self.request.minutes,
            "rate": self.request.rate,
            "seconds": self.seconds,
            "caught_up_seconds": self.caught_up_seconds,
            "faults": self.faults,
            "injected": self.injected(),
            "server_exits": self.exits,
            "load": self.load,
            "users": self.comparison.users,
            "stages": self.comparison.stages,
            "dead_letters": self.comparison.dead_letters,
            "differences": self.comparison.differences,
            "findings": self.findings,
            "waiting": self.waiting,
        }));
        self.print_faults(output);
        self.print_stages(output);
        let Done { committed, failed, poison, runs } = &self.load;
        let poison: u64 = poison.iter().flat_map(|kinds| kinds.values()).sum();
        output.line(format_args!(
            "{} faults in {:.0} s; {committed} transactions acknowledged, {failed} failed, {runs} runs fetched, \
             {poison} poison records; {} users left; equal {:.1} s after the last fault",
            self.injected(),
            self.seconds,
            self.comparison.users,
            self.caught_up_seconds
        ));
        for difference in &self.comparison.differences.first {
            output.line(format_args!(
                "DIFFERENCE: {} {}: {}",
                difference.stage, difference.key, difference.what
            ));
        }
        let more =
            self.comparison.differences.count.saturating_sub(self.comparison.differences.first.len() as u64);
        if more > 0 {
            output.line(format_args!("{more} more differences"));
        }
        for finding in &self.findings {
            output
                .line(format_args!("FINDING: {:.1} s {} {}", finding.seconds, finding.process, finding.what));
        }
        for exit in &self.exits {
            output.line(format_args!("SERVER: {:.1} s {} {}", exit.seconds, exit.process, exit.what));
        }
        for waiting in &self.waiting {
            output.line(format_args!("NOT READY: {waiting}"));
        }
    }

    fn print_faults(&self, output: &Output) {
        let [kill, pause, restart, join, latency, reset, half_open] = Kind::NAMES;
        let rows = self.faults.iter().map(|(target, kinds)| {
            let counts = Kind::NAMES.map(|kind| kinds.get(kind).copied().unwrap_or(0).to_string());
            std::iter::once((*target).to_owned()).chain(counts).collect()
        });
        let header = ["faults", kill, pause, restart, join, latency, reset, half_open];
        output.line(table(&header, rows));
    }

    fn print_stages(&self, output: &Output) {
        let rows = self.comparison.stages.iter().map(|stage| {
            let figures = [
                stage.records,
                stage.lost,
                stage.unexpected,
                stage.repeated,
                stage.out_of_order,
                stage.different,
            ];
            std::iter::once(stage.name.clone()).chain(figures.map(|figure| figure.to_string())).collect()
        });
        let header = ["stage", "records", "lost", "unexpected", "repeated", "out of order", "different"];
        output.line(table(&header, rows));
        let rows = self.comparison.dead_letters.iter().map(|letters| {
            let figures =
                [letters.expected, letters.found, letters.missing, letters.repeated, letters.unexpected];
            std::iter::once(letters.topic.clone()).chain(figures.map(|figure| figure.to_string())).collect()
        });
        let header = ["dead letters", "expected", "found", "missing", "repeated", "unexpected"];
        output.line(table(&header, rows));
    }
}
