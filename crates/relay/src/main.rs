//! The relay's process: arguments, then one call.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use relay::config::{RelayConfig, Settings};
use service::cli::{CommonArgs, ServiceCommand};

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
    #[command(flatten)]
    Service(ServiceCommand),
    /// Drop the slot and forget the position, so that the next start publishes every row again
    Resnapshot,
}

fn main() -> ExitCode {
    let Cli { common, command } = Cli::parse();
    match command.unwrap_or(Command::Service(ServiceCommand::Serve)) {
        Command::Service(ServiceCommand::Serve) => {
            service::run("relay", &common, Settings::load, relay::serve)
        }
        Command::Service(ServiceCommand::Healthcheck) => service::healthcheck("relay", &common, |config| {
            Ok(config.section::<RelayConfig>("relay")?.listen)
        }),
        Command::Resnapshot => service::run("relay", &common, Settings::load, relay::resnapshot::run),
    }
}
