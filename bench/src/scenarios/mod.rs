//! What is measured, a file each.

mod catch_up;
mod end_to_end;
mod fetch;
mod growth;
mod latency;
pub(crate) mod produce;
mod sink;
mod snapshot;
mod start;
mod transform;

use std::fmt::Display;
use std::panic::AssertUnwindSafe;
use std::time::Instant;

use futures::FutureExt as _;

use crate::Result;
use crate::report::{Goal, Measured, Report, Sample};
use crate::world::World;

/// The list of scenarios, the only one: the compiler warns of one that is not in it.
macro_rules! scenarios {
    ($($module:ident::$scenario:ident),* $(,)?) => {
        /// Every scenario by its name on the command line, in the order in which they run.
        pub(crate) const NAMES: &[&str] = &[$(<$module::$scenario as Scenario>::NAME),*];

        /// Runs one.
        ///
        /// # Errors
        /// There is none of this name. A contender that fails is in the report.
        pub(crate) async fn run(name: &str, world: &World) -> Result<Report> {
            $(if name == <$module::$scenario as Scenario>::NAME {
                return Ok(Box::pin(measure(world, <$module::$scenario>::default())).await);
            })*
            Err(format!("no scenario is named {name}; there are: {}", NAMES.join(", ")).into())
        }
    };
}

scenarios![
    catch_up::CatchUp,
    snapshot::Snapshot,
    latency::Latency,
    transform::Transform,
    sink::Sink,
    // With servers that have worked for a while.
    end_to_end::EndToEnd,
    produce::Produce,
    fetch::Fetch,
    start::Start,
    growth::Growth,
];

/// Contenders that do the same, one after the other.
trait Scenario: Default {
    /// One of those that are compared.
    type Contender: Copy + Display;
    /// Its name on the command line.
    const NAME: &'static str;
    /// What is done.
    const TITLE: &'static str;
    /// What the table shows.
    const COLUMNS: &'static [&'static str];
    /// Those of the columns that are drawn.
    const PLOTS: &'static [&'static str];

    /// What ours is to reach.
    fn goals(&self, world: &World) -> Vec<Goal>;

    /// Who runs, in this order.
    fn contenders(&self, world: &World) -> Vec<Self::Contender>;

    /// Whether the short form leaves it out.
    fn is_long(&self, _: Self::Contender) -> bool {
        false
    }

    /// Whether it is a part of this project: if one of those fails, so does the bench.
    fn is_ours(&self, contender: Self::Contender) -> bool;

    /// How one is set.
    fn settings(&self, contender: Self::Contender) -> String;

    /// How often one is measured.
    fn runs(&self, world: &World, _: Self::Contender) -> u32 {
        world.runs
    }

    /// Whether one has a run before that does not count, with a tenth of the rows.
    ///
    /// In the short form only the first one, for the servers' sake: the programs themselves start anew each time.
    fn warms_up(&self, world: &World, _: Self::Contender, is_first: bool) -> bool {
        world.warms_up || is_first
    }

    /// Runs one.
    async fn sample(&self, world: &World, contender: Self::Contender) -> Result<Sample>;
}

/// Failures after which a contender is not tried again: each may have waited for its deadline.
const PATIENCE: usize = 2;

/// A warm-up of the contenders, then all of them in turns, so that what disturbs the machine hits all.
async fn measure<S: Scenario>(world: &World, scenario: S) -> Report {
    let mut contenders = scenario.contenders(world);
    contenders.retain(|contender| contender.to_string().contains(&world.only));
    let left_out = |contender| world.quick && scenario.is_long(contender);
    let mut measured: Vec<Measured> = contenders
        .iter()
        .map(|contender| Measured {
            name: contender.to_string(),
            ours: scenario.is_ours(*contender),
            settings: if left_out(*contender) {
                "left out of the short form".to_owned()
            } else {
                scenario.settings(*contender)
            },
            runs: Vec::new(),
            failures: Vec::new(),
        })
        .collect();
    let most = contenders.iter().map(|contender| scenario.runs(world, *contender)).max().unwrap_or_default();
    let few = world.with_few_rows();
    for run in 0..=most {
        let world = if run == 0 { &few } else { world };
        for (index, (contender, measured)) in contenders.iter().zip(&mut measured).enumerate() {
            let runs = scenario.runs(world, *contender);
            let due = if run == 0 { scenario.warms_up(world, *contender, index == 0) } else { run <= runs };
            if !due || left_out(*contender) || measured.failures.len() >= PATIENCE {
                continue;
            }
            let began = Instant::now();
            // The helpers of the tests panic where something is not there in time.
            let sample = AssertUnwindSafe(Box::pin(scenario.sample(world, *contender))).catch_unwind().await;
            let sample = sample.unwrap_or_else(|panic| Err(panic_text(panic.as_ref()).into()));
            let what = if run == 0 { "warm-up".to_owned() } else { format!("run {run} of {runs}") };
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
                    world.sweep().await;
                }
            }
        }
    }
    let goals = scenario.goals(world);
    Report::new(S::NAME, S::TITLE, world.rows, S::COLUMNS, S::PLOTS, measured, &goals)
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without a text").to_owned()
}
