//! The command line.

use std::process::ExitCode;

use clap::Parser;
use service::cli::{CommonArgs, ServiceCommand};

use crate::SERVICE;
use crate::config::{ProcessorConfig, SECTION, Settings};

/// Transforms users.raw into users.processed, exactly once.
#[derive(Debug, Parser)]
#[command(name = SERVICE, version)]
struct Cli {
    #[command(flatten)]
    common: CommonArgs,
    #[command(subcommand)]
    command: Option<ServiceCommand>,
}

/// Runs the process from its arguments to its exit code.
#[must_use]
pub fn main() -> ExitCode {
    let Cli { common, command } = Cli::parse();
    match command.unwrap_or_default() {
        ServiceCommand::Serve => service::run(SERVICE, &common, Settings::load, crate::start),
        ServiceCommand::Healthcheck => service::healthcheck(SERVICE, &common, |config| {
            Ok(config.section::<ProcessorConfig>(SECTION)?.listen)
        }),
    }
}
