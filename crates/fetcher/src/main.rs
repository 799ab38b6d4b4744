//! The fetcher's process: arguments, then one call.

use std::process::ExitCode;

use clap::Parser as _;
use fetcher::cli::{self, Cli, Command};
use fetcher::config::{FetcherConfig, Settings};
use service::cli::ServiceCommand;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let Cli { common, command } = Cli::parse();
    match command.unwrap_or(Command::Service(ServiceCommand::Serve)) {
        Command::Service(ServiceCommand::Serve) => {
            service::run("fetcher", &common, Settings::load_service, fetcher::serve)
        }
        Command::Service(ServiceCommand::Healthcheck) => service::healthcheck("fetcher", &common, |config| {
            Ok(config.section::<FetcherConfig>("fetcher")?.listen)
        }),
        Command::Run(args) => service::run("fetcher", &common, Settings::load, async |settings, context| {
            cli::run(settings, args, context).await
        }),
    }
}
