//! The command line.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use service::cli::{CommonArgs, ServiceCommand};

use crate::config::{RelayConfig, Settings};

/// Relays every committed change of PostgreSQL's published tables to Kafka, exactly once.
#[derive(Debug, Parser)]
#[command(name = "relay", version)]
struct Cli {
    #[command(flatten)]
    common: CommonArgs,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(flatten)]
    Service(ServiceCommand),
    /// Drop the slot and forget the position, so that the next start publishes every row again
    Resnapshot,
}

/// Runs the process from its arguments to its exit code.
#[must_use]
pub fn main() -> ExitCode {
    let Cli { common, command } = Cli::parse();
    match command.unwrap_or(Command::Service(ServiceCommand::Serve)) {
        Command::Service(ServiceCommand::Serve) => {
            service::run("relay", &common, Settings::load, crate::serve)
        }
        Command::Service(ServiceCommand::Healthcheck) => service::healthcheck("relay", &common, |config| {
            Ok(config.section::<RelayConfig>("relay")?.listen)
        }),
        Command::Resnapshot => service::run("relay", &common, Settings::load, crate::resnapshot::run),
    }
}
