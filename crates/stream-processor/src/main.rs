//! The stream processor's process: arguments, then one call.

use std::process::ExitCode;

use clap::Parser;
use service::cli::{CommonArgs, ServiceCommand};
use stream_processor::config::{ProcessorConfig, Settings};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Transforms users.raw into users.processed, exactly once.
#[derive(Parser)]
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
            service::run(stream_processor::SERVICE, &common, Settings::load, stream_processor::start)
        }
        ServiceCommand::Healthcheck => service::healthcheck(stream_processor::SERVICE, &common, |config| {
            Ok(config.section::<ProcessorConfig>(stream_processor::config::SECTION)?.listen)
        }),
    }
}
