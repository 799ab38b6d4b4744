//! The commands and their options.

use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use service::cli::CommonArgs;
use service::config::units::duration;

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
    /// Make tables, keyspace, topics and subjects, or bring them up to date; safe to repeat
    Migrate(MigrateArgs),
    /// Compare every stage with PostgreSQL for one run; fails if they differ
    Verify(VerifyArgs),
}

/// Of `pipeline migrate`.
#[derive(Debug, Args)]
pub struct MigrateArgs {
    /// How long to wait for a server that does not answer yet
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse_duration)]
    pub wait: Duration,
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
