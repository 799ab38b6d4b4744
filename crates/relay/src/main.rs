//! The relay's process: arguments, then one call.

use std::process::ExitCode;

use clap::Parser;
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
}

fn main() -> ExitCode {
    service::run("relay", &Cli::parse().common, Settings::load, relay::serve)
}
