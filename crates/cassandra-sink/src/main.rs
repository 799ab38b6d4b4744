//! The sink's process: arguments, then one call.

use std::process::ExitCode;

use cassandra_sink::config::Settings;
use clap::Parser;
use service::cli::CommonArgs;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Writes processed records to Cassandra, effectively once.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(flatten)]
    common: CommonArgs,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    service::run(cassandra_sink::SERVICE, &cli.common, Settings::load, cassandra_sink::start)
}
