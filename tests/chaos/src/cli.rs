//! The options.

use std::path::PathBuf;

use clap::{Args, Parser};
use service::cli::CommonArgs;

/// Break services, servers and connections of a stack of its own at random, and compare every stage afterwards; fails
/// if anything was lost, repeated or out of order
#[derive(Debug, Parser)]
#[command(name = "chaos", version)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) common: CommonArgs,
    /// Print one JSON document on standard output, for machines
    #[arg(long)]
    pub(crate) json: bool,
    /// Folder in which the run has its own: data, logs, secrets
    #[arg(long, value_name = "DIR", default_value = ".local", env = "PIPELINE_ROOT")]
    pub(crate) root: PathBuf,
    /// Print the logs of the libraries; twice for more
    #[arg(long, short, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    #[command(flatten)]
    pub(crate) request: Request,
}

/// What is asked for.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Request {
    /// How long faults are injected
    #[arg(long, value_name = "N", default_value_t = 30)]
    pub(crate) minutes: u32,
    /// The same seed gives the same faults
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Transactions per second of the load, each of one to four changes
    #[arg(long, value_name = "N", default_value_t = 80, value_parser = clap::value_parser!(u32).range(1..=400))]
    pub(crate) rate: u32,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_options_are_consistent() {
        super::Cli::command().debug_assert();
    }
}
