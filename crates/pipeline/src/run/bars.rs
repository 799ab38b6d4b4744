//! A bar for each stage on a terminal, else a line when something has changed and some time has passed.

use std::cell::RefCell;
use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use command_line::Output;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::follow::Stages;

const NAMES: [&str; 4] = ["fetched", "users.raw", "users.processed", "Cassandra"];
/// Between two lines.
const PAUSE: Duration = Duration::from_secs(2);

/// What shows the stages.
pub(super) struct Bars<'a> {
    output: &'a Output,
    bars: Vec<ProgressBar>,
    last: RefCell<(Instant, String)>,
}

impl<'a> Bars<'a> {
    pub(super) fn new(output: &'a Output) -> Self {
        let mut bars = Vec::new();
        if !output.is_json() && std::io::stderr().is_terminal() {
            let all = MultiProgress::new();
            let style = ProgressStyle::with_template("{prefix:16} {bar:40} {pos:>8} of {len}  {per_sec}")
                .unwrap_or_else(|_| ProgressStyle::default_bar());
            for name in NAMES {
                let bar = all.add(ProgressBar::new(0));
                bar.set_style(style.clone());
                bar.set_prefix(name);
                bars.push(bar);
            }
        }
        Self { output, bars, last: RefCell::new((Instant::now(), String::new())) }
    }

    pub(super) fn show(&self, stages: &Stages, dag_state: &str) {
        let counts = [stages.fetched, stages.raw, stages.processed, stages.written];
        let wanted = stages.stored.or(stages.requested).unwrap_or(0);
        if self.bars.is_empty() {
            let counts: Vec<String> =
                NAMES.iter().zip(counts).map(|(name, count)| format!("{name} {count}")).collect();
            let wanted = if wanted == 0 { "?".to_owned() } else { wanted.to_string() };
            self.line(format!("DAG run is {dag_state}; of {wanted}: {}", counts.join(", ")));
            return;
        }
        for (index, (bar, count)) in self.bars.iter().zip(counts).enumerate() {
            // Of what was fetched, some may have been rejected.
            let length = if index == 0 { stages.requested.unwrap_or(0) } else { wanted };
            bar.set_length(length);
            bar.set_position(count.min(length));
        }
    }

    pub(super) fn finish(&self) {
        for bar in &self.bars {
            bar.abandon();
        }
    }

    fn line(&self, text: String) {
        let mut last = self.last.borrow_mut();
        let due = last.1.is_empty() || last.0.elapsed() > PAUSE;
        if due && last.1 != text {
            self.output.note(&text);
            *last = (Instant::now(), text);
        }
    }
}
