//! What a person sees while services start: bars beside those of the servers on a terminal, else plain lines.

use std::io::{IsTerminal as _, Write as _, stderr};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use local_servers::Progress;

/// Where progress goes; clones share it.
#[derive(Debug, Clone)]
pub(super) enum Steps {
    Bars(MultiProgress),
    Lines,
    Hidden,
}

impl Steps {
    /// On standard error, unless `quiet`.
    pub(super) fn new(quiet: bool) -> Self {
        match (quiet, stderr().is_terminal()) {
            (true, _) => Self::Hidden,
            (false, true) => Self::Bars(MultiProgress::new()),
            (false, false) => Self::Lines,
        }
    }

    /// The same display for the servers.
    pub(super) fn of_servers(&self) -> Progress {
        match self {
            Self::Bars(bars) => Progress::with(bars.clone()),
            Self::Lines => Progress::lines(),
            Self::Hidden => Progress::hidden(),
        }
    }

    /// Begins a step.
    pub(super) fn begin(&self, name: &str) -> Step {
        let bar = match self {
            Self::Bars(bars) => {
                let bar = bars.add(ProgressBar::new_spinner());
                bar.set_style(style("{prefix:22} {spinner} {elapsed:>4}  {msg}"));
                bar.set_prefix(name.to_owned());
                bar.set_message("starting");
                bar.enable_steady_tick(Duration::from_millis(120));
                Some(bar)
            }
            Self::Lines | Self::Hidden => None,
        };
        let lines = matches!(self, Self::Lines);
        Step { name: name.to_owned(), bar, lines, begun: Instant::now() }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}

/// One step; dropped without [`Step::done`] it vanishes, since its error says the rest.
pub(super) struct Step {
    name: String,
    bar: Option<ProgressBar>,
    lines: bool,
    begun: Instant,
}

impl Step {
    /// The step has succeeded.
    pub(super) fn done(self, outcome: &str) {
        let text = format!("{outcome} in {:.1} s", self.begun.elapsed().as_secs_f64());
        match &self.bar {
            Some(bar) => {
                bar.set_style(style("{prefix:22} {msg}"));
                bar.finish_with_message(text);
            }
            None if self.lines => {
                let _ = writeln!(stderr(), "{}: {text}", self.name);
            }
            None => {}
        }
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if let Some(bar) = self.bar.as_ref().filter(|bar| !bar.is_finished()) {
            bar.finish_and_clear();
        }
    }
}
