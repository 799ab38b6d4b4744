//! What a person sees while downloads and starts run side by side: bars on a terminal, else plain lines.

use std::{
    io::{IsTerminal, Write, stderr},
    time::{Duration, Instant},
};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// Where progress goes. Clones share one display.
#[derive(Clone, Debug)]
pub struct Progress {
    mode: Mode,
}

#[derive(Clone, Debug)]
enum Mode {
    Bars(MultiProgress),
    Lines,
    Hidden,
}

impl Progress {
    /// Bars when standard error is a terminal, else one line per start and finish.
    pub fn auto() -> Self {
        let mode = if stderr().is_terminal() { Mode::Bars(MultiProgress::new()) } else { Mode::Lines };
        Self { mode }
    }

    /// One line per start and finish, on standard error.
    pub fn lines() -> Self {
        Self { mode: Mode::Lines }
    }

    /// Nothing at all; for tests and for machine-readable output.
    pub fn hidden() -> Self {
        Self { mode: Mode::Hidden }
    }

    /// Joins bars that the caller draws itself.
    pub fn with(bars: MultiProgress) -> Self {
        Self { mode: Mode::Bars(bars) }
    }

    /// Starts to show one piece of work; `bytes` is its expected size when it has one.
    pub(crate) fn step(&self, name: &str, bytes: Option<u64>) -> Step {
        let bar = match &self.mode {
            Mode::Bars(bars) => {
                let bar = bars.add(bytes.map_or_else(ProgressBar::new_spinner, ProgressBar::new));
                bar.set_style(style(bytes.is_some()));
                bar.set_prefix(name.to_owned());
                bar.enable_steady_tick(Duration::from_millis(120));
                Some(bar)
            }
            Mode::Lines | Mode::Hidden => None,
        };
        let lines = matches!(self.mode, Mode::Lines);
        Step { name: name.to_owned(), bar, lines, started: Instant::now() }
    }
}

fn style(sized: bool) -> ProgressStyle {
    let template = if sized {
        "{prefix:22} {bar:30} {bytes:>10} of about {total_bytes}  {msg}"
    } else {
        "{prefix:22} {spinner} {elapsed:>4}  {msg}"
    };
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}

/// One piece of work on the display. Dropped without [`Step::done`], it vanishes: its error says the rest.
#[derive(Debug)]
pub(crate) struct Step {
    name: String,
    bar: Option<ProgressBar>,
    lines: bool,
    started: Instant,
}

impl Step {
    /// Says what is being done.
    pub(crate) fn say(&self, what: &str) {
        match &self.bar {
            Some(bar) => bar.set_message(what.to_owned()),
            None if self.lines => line(&format!("{}: {what}", self.name)),
            None => {}
        }
    }

    /// Shows how many bytes there are by now.
    pub(crate) fn set_bytes(&self, bytes: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(bytes.min(bar.length().unwrap_or(bytes)));
        }
    }

    /// The work is done.
    pub(crate) fn done(self, outcome: &str) {
        let text = format!("{outcome} in {:.1} s", self.started.elapsed().as_secs_f64());
        match &self.bar {
            Some(bar) => {
                bar.set_style(
                    ProgressStyle::with_template("{prefix:22} {msg}")
                        .unwrap_or_else(|_| ProgressStyle::default_spinner()),
                );
                bar.finish_with_message(text);
            }
            None if self.lines => line(&format!("{}: {text}", self.name)),
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

/// Progress that cannot be written is no reason to fail.
fn line(text: &str) {
    let _ = writeln!(stderr(), "{text}");
}
