//! Breaks services, servers and connections at random while rows are written, changed and deleted; afterwards compares
//! every stage.
//!
//! The faults are drawn from the seed before the run begins ([`faults::schedule`]), so that a run that has found
//! something can be repeated, as far as the machine lets it. It has servers, services and a folder of its own, and
//! touches nothing that `pipeline up` runs. Services reach PostgreSQL, Kafka, the registry and Cassandra through proxies
//! in this process; ZooKeeper is Kafka's own matter.

mod check;
mod cli;
mod error;
mod faults;
mod leaders;
mod load;
mod migrate;
mod player;
mod report;
mod run;
mod setup;

use std::process::ExitCode;

use clap::Parser as _;
use command_line::Output;

use crate::cli::Cli;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let output = Output::new(cli.json);
    command_line::log_to_stderr(cli.verbose);
    command_line::run("chaos", output, Box::pin(run::run(&cli.root, &cli.common, cli.request, &output)))
}
