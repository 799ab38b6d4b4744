//! What is measured, a file each.

mod catch_up;
mod fetch;
mod latency;
pub(crate) mod produce;
mod sink;
mod snapshot;
mod start;
mod transform;

use std::fmt::Display;
use std::time::Instant;

use crate::Result;
use crate::report::{Goal, Measured, Report, Sample};
use crate::world::World;

/// Every scenario by its name on the command line, in the order in which they run.
pub(crate) const NAMES: [&str; 7] =
    ["catch-up", "snapshot", "latency", "transform", "sink", "produce", "start"];

/// Runs one.
///
/// # Errors
/// There is none of this name, or it can't be prepared. A contender that fails is in the report.
pub(crate) async fn run(name: &str, world: &World) -> Result<Report> {
    match name {
        "catch-up" => measure(world, catch_up::CatchUp).await,
        "fetch" => measure(world, fetch::Fetch).await,
        "latency" => measure(world, latency::Latency).await,
        "produce" => measure(world, produce::Produce).await,
        "snapshot" => measure(world, snapshot::Snapshot).await,
        "sink" => measure(world, sink::Sink).await,
        "start" => measure(world, start::Start).await,
        "transform" => measure(world, transform::Transform).await,
        other => Err(format!("no scenario is named {other}; there are: {}", NAMES.join(", ")).into()),
    }
}

/// Contenders that do the same, one after the other.
trait Scenario {
    /// One of those that are compared.
    type Contender: Copy + Display;
    /// Its name on the command line.
    const NAME: &'static str;
    /// What is done.
    const TITLE: &'static str;
    /// What the table shows.
    const COLUMNS: &'static [&'static str];
    /// What ours is to reach.
    const GOALS: &'static [Goal];

    /// Who runs, in this order.
    fn contenders(&self) -> Vec<Self::Contender>;

    /// How one is set.
    fn settings(&self, contender: Self::Contender) -> String;

    /// Runs one.
    async fn sample(&self, world: &World, contender: Self::Contender) -> Result<Sample>;
}

/// A warm-up of each contender, or of ours alone if it is to be quick, then all of them in turns, so that what disturbs the machine hits all.
async fn measure<S: Scenario>(world: &World, scenario: S) -> Result<Report> {
    let contenders = scenario.contenders();
    let mut measured: Vec<Measured> = contenders
        .iter()
        .map(|contender| Measured {
            name: contender.to_string(),
            settings: scenario.settings(*contender),
            runs: Vec::new(),
            failures: Vec::new(),
        })
        .collect();
    for run in 0..=world.runs {
        // The servers warm up with ours even where the peers, which start anew each time, do not.
        let all = run > 0 || world.warms_up;
        let count = if all { contenders.len() } else { 1 };
        for (contender, measured) in contenders.iter().zip(&mut measured).take(count) {
            let began = Instant::now();
            let sample = Box::pin(scenario.sample(world, *contender)).await;
            let what = if run == 0 { "warm-up".to_owned() } else { format!("run {run} of {}", world.runs) };
            let prefix = format!("{}, {contender}, {what}, {:.0} s", S::NAME, began.elapsed().as_secs_f64());
            match sample {
                Ok(sample) => {
                    crate::say(&format!("{prefix}: {sample:.2?}"));
                    if run > 0 {
                        measured.runs.push(sample);
                    }
                }
                Err(error) => {
                    crate::say(&format!("{prefix}: FAILED: {error}"));
                    measured.failures.push(format!("{what}: {error}"));
                }
            }
        }
    }
    let title = S::TITLE.to_owned();
    Ok(Report::new(S::NAME, title, world.rows, S::COLUMNS.to_vec(), measured, S::GOALS))
}
