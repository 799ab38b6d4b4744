//! The stream processor's process: arguments, then one call.

use std::process::ExitCode;

use clap::Parser;
use service::cli::CommonArgs;
use stream_processor::config::Settings;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Transforms users.raw into users.processed, exactly once.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(flatten)]
    common: CommonArgs,
}

fn main() -> ExitCode {
    let Cli { common } = Cli::parse();
    service::run(stream_processor::SERVICE, &common, Settings::load, stream_processor::start)
}
