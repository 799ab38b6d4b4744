//! The commands and their options.

use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, Utc};
use clap::{Args, Parser, Subcommand};
use operate::dlq::{DeadLetterFilter, DeadLetterName};
use operate::local::Source;
use service::cli::CommonArgs;
use service::config::units::duration;

use crate::local::up::Choice;

/// Operates the pipeline: from the profile API through PostgreSQL and Kafka to Cassandra.
#[derive(Debug, Parser)]
#[command(name = "pipeline", version, propagate_version = true)]
pub struct Cli {
    #[command(flatten)]
    #[expect(missing_docs, reason = "the text would stand in the help")]
    pub common: CommonArgs,
    /// Print one JSON document on standard output, for machines
    #[arg(long, global = true)]
    pub json: bool,
    /// Folder of the stack on this machine: data, logs, secrets
    #[arg(long, global = true, value_name = "DIR", default_value = ".local", env = "PIPELINE_ROOT")]
    pub root: PathBuf,
    /// Print the logs of the libraries; twice for more
    #[arg(long, short, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    #[command(subcommand)]
    #[expect(missing_docs, reason = "the text would stand in the help")]
    pub command: Command,
}

/// What can be done.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start servers and services on this machine, and make everything ready
    Up(UpArgs),
    /// Stop everything that `up` has started
    Down(DownArgs),
    /// Show what runs, how far each hop lags, and what every stage has; fails if something is not ready
    Status,
    /// Make tables, keyspace, topics and subjects, or bring them up to date; safe to repeat
    Migrate(MigrateArgs),
    /// Trigger the DAG, follow its profiles through every stage, and compare the stages at the end
    Run(RunArgs),
    /// Compare every stage with PostgreSQL for one run; fails if they differ
    Verify(VerifyArgs),
    /// Look at the records that were set aside, send them again, or put them away
    Dlq {
        /// What to do
        #[command(subcommand)]
        command: DlqCommand,
    },
    /// Publish the rows again that a reader of a topic misses; fails if it still misses them at the end
    Repair {
        /// Only say what is missing
        #[arg(long)]
        dry_run: bool,
        /// How long to wait until the readers have them
        #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse_duration)]
        wait: Duration,
    },
    /// The process in the background that `up` starts
    #[command(hide = true)]
    Supervise(SuperviseArgs),
}

/// Of `pipeline up`.
#[derive(Debug, Args)]
pub struct UpArgs {
    /// Where the profiles come from
    #[arg(long, value_enum, default_value_t)]
    pub source: Choice,
    /// Run Kafka without ZooKeeper; the two modes keep separate data
    #[arg(long)]
    pub kraft: bool,
    /// Transform on a Spark cluster of this machine, in place of the stream-processor
    #[arg(long)]
    pub spark: bool,
}

/// Of `pipeline down`.
#[derive(Debug, Args)]
pub struct DownArgs {
    /// Remove data, logs and secrets, too
    #[arg(long)]
    pub purge: bool,
}

/// Of `pipeline supervise`.
#[derive(Debug, Args)]
pub struct SuperviseArgs {
    /// The API that was chosen
    #[arg(long, value_enum)]
    pub source: Source,
    /// Why it was
    #[arg(long)]
    pub reason: String,
    /// Run Kafka without ZooKeeper
    #[arg(long)]
    pub kraft: bool,
    /// Run Spark's job in place of the stream-processor
    #[arg(long)]
    pub spark: bool,
}

/// Of `pipeline migrate`.
#[derive(Debug, Args)]
pub struct MigrateArgs {
    /// How long to wait for a server that does not answer yet
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse_duration)]
    pub wait: Duration,
}

/// Of `pipeline run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Profiles to fetch [default: the DAG's, 1000]
    #[arg(long, value_name = "N")]
    pub count: Option<u64>,
    /// Only these nationalities, such as US,DE
    #[arg(long, value_name = "CODES", value_delimiter = ',')]
    pub nationalities: Vec<String>,
    /// The same seed gives the same profiles; taken from the run's id if not set
    #[arg(long)]
    pub seed: Option<String>,
    /// How long to follow the run; it goes on after that
    #[arg(long, value_name = "TIME", default_value = "15m", value_parser = parse_duration)]
    pub timeout: Duration,
    /// Read so many of the run's rows with cqlsh at the end
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub show_rows: u32,
}

/// Of `pipeline verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// The run's id: that of the DAG run, or the one given to the fetcher
    #[arg(long = "run", value_name = "ID")]
    pub run_id: String,
    /// How many of the ids that differ are named for each stage
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub limit: usize,
    /// Verify again until all is equal, for this long
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = parse_duration)]
    pub wait: Duration,
}

/// Of `pipeline dlq`.
#[derive(Debug, Subcommand)]
pub enum DlqCommand {
    /// List the dead letters that nobody has dealt with
    List {
        /// Which
        #[command(flatten)]
        filter: FilterArgs,
        /// How many of each topic are printed
        #[arg(long, value_name = "N", default_value_t = 100)]
        limit: usize,
    },
    /// Show one with its record, decoded if it can be
    Show {
        /// The dead letter: TOPIC/PARTITION/OFFSET
        name: DeadLetterName,
    },
    /// Send dead letters to the topics they came from, each once
    Redrive {
        /// Which
        #[command(flatten)]
        filter: FilterArgs,
        /// Leave those that were given up so often
        #[arg(long, value_name = "N", default_value_t = 3)]
        max_attempts: u32,
        /// Only say how many would be sent
        #[arg(long)]
        dry_run: bool,
    },
    /// Put dead letters away for good
    Purge {
        /// Which
        #[command(flatten)]
        filter: FilterArgs,
        /// All that are open
        #[arg(long)]
        all: bool,
        /// Only say how many would be put away
        #[arg(long)]
        dry_run: bool,
    },
}

/// Which dead letters; for all but `purge` all that are open if nothing is said.
#[derive(Debug, Args)]
pub struct FilterArgs {
    /// Only these: TOPIC/PARTITION/OFFSET
    #[arg(value_name = "LETTER")]
    pub names: Vec<DeadLetterName>,
    /// Only this kind of error, as `list` prints it
    #[arg(long)]
    pub kind: Option<String>,
    /// Only those given up since then, such as 2026-01-31T12:00:00Z
    #[arg(long, value_name = "TIME")]
    pub since: Option<DateTime<Utc>>,
    /// Only those given up before then
    #[arg(long, value_name = "TIME")]
    pub until: Option<DateTime<Utc>>,
}

impl FilterArgs {
    /// The filter that is meant.
    #[must_use]
    pub fn filter(&self) -> DeadLetterFilter {
        DeadLetterFilter {
            names: self.names.clone(),
            kind: self.kind.clone(),
            since: self.since,
            until: self.until,
        }
    }
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    duration::parse(text).ok_or_else(|| "write a whole number and ms, s, m or h, such as 90s".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_commands_are_consistent() {
        super::Cli::command().debug_assert();
    }
}
