//! Measures the pipeline, its peers and the physical limits on the same data, servers and machine.
//!
//! `scenarios/` says what is measured, `peers/` how the others are run, `world.rs` starts the servers and makes the
//! rows, `measure.rs` reads `/proc`, and `report.rs` makes the tables.

mod clock;
mod machine;
mod measure;
mod peers;
mod report;
mod scenarios;
mod topics;
mod world;

use std::path::PathBuf;
use std::process::ExitCode;

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
    let began = std::time::Instant::now();
    let world = World::start(rows, args.runs.unwrap_or(if args.quick { 1 } else { 3 }), !args.quick).await?;
    let names: Vec<&str> = match &args.scenarios[..] {
        [] => scenarios::NAMES.to_vec(),
        some => some.iter().map(String::as_str).collect(),
    };
    let mut reports: Vec<Report> = Vec::new();
    for name in names {
        reports.push(scenarios::run(name, &world).await?);
        // After each, so that what was measured is there if a later one is stopped.
        write(&args.out, &machine, &world, &reports)?;
    }
    world.stack.shutdown().await?;
    say(&format!("{:.0} s in all; the tables are in {}", began.elapsed().as_secs_f64(), args.out.display()));
    Ok(())
}

fn write(
    out: &std::path::Path,
    machine: &std::collections::BTreeMap<&'static str, String>,
    world: &World,
    reports: &[Report],
) -> Result<()> {
    std::fs::create_dir_all(out)?;
    let json = json!({"machine": machine, "rows": world.rows, "runs": world.runs, "warm_up": world.warms_up, "scenarios": reports});
    std::fs::write(out.join("results.json"), serde_json::to_vec_pretty(&json)?)?;
    let mut text = String::new();
    for report in reports {
        text += &report.markdown();
        text.push('\n');
    }
    text += &format!(
        "Median (least–greatest) of {} runs after a warm-up, all contenders in turns.\n\n",
        world.runs
    );
    for (what, value) in machine {
        text += &format!("- {what}: {value}\n");
    }
    std::fs::write(out.join("results.md"), &text)?;
    if let Some(last) = reports.last() {
        say(&last.markdown());
    }
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
