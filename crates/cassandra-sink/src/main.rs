//! The sink's process: arguments, then one call.

use std::process::ExitCode;

use cassandra_sink::config::{Settings, SinkConfig};
use clap::Parser;
use service::cli::{CommonArgs, ServiceCommand};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Writes processed records to Cassandra, effectively once.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(flatten)]
    common: CommonArgs,
    #[command(subcommand)]
    command: Option<ServiceCommand>,
}

fn main() -> ExitCode {
    let Cli { common, command } = Cli::parse();
    match command.unwrap_or_default() {
        ServiceCommand::Serve => {
            service::run(cassandra_sink::SERVICE, &common, Settings::load, cassandra_sink::start)
        }
        ServiceCommand::Healthcheck => service::healthcheck(cassandra_sink::SERVICE, &common, |config| {
            Ok(config.section::<SinkConfig>(cassandra_sink::config::SECTION)?.listen)
        }),
    }
}
