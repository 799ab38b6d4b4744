//! The fetcher's process: arguments, then one call.

use std::process::ExitCode;

use clap::Parser as _;
use fetcher::cli::{self, Cli, Command};
use fetcher::config::Settings;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let Cli { common, command } = Cli::parse();
    match command {
        None | Some(Command::Serve) => {
            service::run("fetcher", &common, Settings::load_service, fetcher::serve)
        }
        Some(Command::Run(args)) => {
            service::run("fetcher", &common, Settings::load, async |settings, context| {
                cli::run(settings, args, context).await
            })
        }
    }
}
