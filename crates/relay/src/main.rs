//! The relay's process: arguments, then one call.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use relay::config::Settings;
use service::cli::CommonArgs;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

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
    /// Relay until stopped (the default)
    Serve,
    /// Drop the slot and forget the position, so that the next start publishes every row again
    Resnapshot,
}

fn main() -> ExitCode {
    let Cli { common, command } = Cli::parse();
    match command {
        None | Some(Command::Serve) => service::run("relay", &common, Settings::load, relay::serve),
        Some(Command::Resnapshot) => service::run("relay", &common, Settings::load, relay::resnapshot::run),
    }
}
