//! Measures the pipeline, its peers and the physical limits on the same data, servers and machine.
//!
//! `scenarios/` says what is measured, `peers/` how the others are run, `world.rs` starts the servers and makes the
//! rows, `measure.rs` reads `/proc`, and `report.rs` makes the tables.

mod clock;
mod histogram;
mod load;
mod machine;
mod measure;
mod peers;
mod plot;
mod report;
mod scenarios;
mod static_pages;
mod topics;
mod world;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::{Parser, Subcommand};
use serde_json::json;

use crate::report::Report;
use crate::world::World;

/// Any failure ends a run; its text says what and where.
type Error = Box<dyn std::error::Error + Send + Sync>;
type Result<T> = std::result::Result<T, Error>;

/// Side by side with its peers, on this machine.
#[derive(Debug, Parser)]
#[command(name = "bench", version, about)]
struct Args {
    /// Only this scenario; may be given several times.
    #[arg(long = "scenario", value_name = "NAME", value_parser = clap::builder::PossibleValuesParser::new(scenarios::NAMES))]
    scenarios: Vec<String>,
    /// Only contenders whose names have this in them; ratios need those that they are compared with.
    #[arg(long, value_name = "TEXT", default_value = "")]
    only: String,
    /// Rows of a run; 500,000, or 50,000 with --quick.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1000..=1_000_000))]
    rows: Option<u64>,
    /// Measured runs of each contender; 3, or 1 with --quick.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    runs: Option<u32>,
    /// Few rows and less warm-up: the whole in some minutes. Starts weigh more then than they do in use.
    #[arg(long)]
    quick: bool,
    /// Where results.json and results.md go.
    #[arg(long, value_name = "DIR", default_value = "target/bench")]
    out: PathBuf,
    #[command(subcommand)]
    part: Option<Part>,
}

/// What this program runs as a process of its own, to be measured.
#[derive(Debug, Subcommand)]
enum Part {
    /// The relay's producer alone.
    #[command(hide = true)]
    Produce { bootstrap: String, topic: String, rows: u64, file: PathBuf },
}

fn main() -> ExitCode {
    let args = Args::parse();
    if let Some(Part::Produce { bootstrap, topic, rows, file }) = &args.part {
        let produced = scenarios::produce::produce(bootstrap, topic, *rows, file);
        return produced.map_or_else(|error| failed(&error), |()| ExitCode::SUCCESS);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error.into()),
    };
    match runtime.block_on(Box::pin(bench(args))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

async fn bench(args: Args) -> Result<()> {
    let rows = args.rows.unwrap_or(if args.quick { 50_000 } else { 500_000 });
    let machine = machine::describe();
    let began = Instant::now();
    let runs = args.runs.unwrap_or(if args.quick { 1 } else { 3 });
    let world = World::start(rows, runs, args.quick, args.only).await?;
    say(&format!("the servers are up and have {rows} rows after {:.0} s", began.elapsed().as_secs_f64()));
    let names: Vec<&str> = match &args.scenarios[..] {
        [] => scenarios::NAMES.to_vec(),
        some => some.iter().map(String::as_str).collect(),
    };
    let mut reports: Vec<Report> = Vec::new();
    for name in names {
        let started = Instant::now();
        let report = scenarios::run(name, &world).await?;
        say(&format!("{name} took {:.0} s\n\n{}", started.elapsed().as_secs_f64(), report.markdown()));
        reports.push(report);
        // After each, so that what was measured is there if a later one is stopped.
        write(&args.out, &machine, &world, &reports)?;
    }
    world.stack.shutdown().await?;
    say(&format!("{}\n", report::goals(reports.iter())));
    say(&format!(
        "{:.0} s in all; tables and charts are in {}",
        began.elapsed().as_secs_f64(),
        args.out.display()
    ));
    let (ours, theirs): (Vec<_>, Vec<_>) =
        reports.iter().flat_map(Report::failures).partition(|(ours, _)| *ours);
    for (_, failure) in theirs.iter().chain(&ours) {
        say(&format!("FAILED: {failure}"));
    }
    if ours.is_empty() {
        Ok(())
    } else {
        Err(format!("{} runs of this project's own programs failed", ours.len()).into())
    }
}

fn write(
    out: &Path,
    machine: &BTreeMap<&'static str, String>,
    world: &World,
    reports: &[Report],
) -> Result<()> {
    std::fs::create_dir_all(out)?;
    let json = json!({"machine": machine, "rows": world.rows, "runs": world.runs, "warm_up": world.warms_up, "scenarios": reports});
    std::fs::write(out.join("results.json"), serde_json::to_vec_pretty(&json)?)?;
    let mut text = format!("## Goals\n\n{}\n\n", report::goals(reports.iter()));
    for report in reports {
        text += &report.markdown();
        text.push('\n');
        if let Some(svg) = plot::svg(report) {
            let file = format!("{}.svg", report.scenario);
            text += &format!("![{}]({file})\n\n", report.scenario);
            std::fs::write(out.join(file), svg)?;
        }
    }
    text += &format!(
        "Median (least–greatest) of {} runs, unless a scenario says otherwise, after a warm-up with a tenth of the rows, \
         all contenders in turns. A ratio is that of the medians, with the worst and the best that the runs allow.\n\n",
        world.runs
    );
    for (what, value) in machine {
        text += &format!("- {what}: {value}\n");
    }
    std::fs::write(out.join("results.md"), &text)?;
    Ok(())
}

fn failed(error: &Error) -> ExitCode {
    say(&format!("bench: {error}"));
    ExitCode::FAILURE
}

/// To whoever runs it.
#[expect(clippy::print_stdout, reason = "a command line tells its user how far it is")]
fn say(text: &str) {
    println!("{text}");
}
