//! The operator's command line: it makes the databases, topics and subjects ready, starts the whole pipeline on one
//! machine, triggers and follows runs, and proves that what was fetched has arrived.
//!
//! [`cli`] names the commands; each has a module of its own. What they print goes through [`output`], for people or,
//! with `--json`, for machines; the exit code says what happened: 0 for yes, 1 for a failure or a difference, 2 for a
//! configuration that can't be used.

pub mod cli;
pub mod config;
pub mod migrate;
pub mod output;
pub mod verify;
mod wait;

use std::process::ExitCode;

use clap::Parser as _;
use service::config::{Config, ConfigError};
use service::{BoxError, EXIT_CONFIG, EXIT_FAILURE, error_chain};

use crate::cli::{Cli, Command};
use crate::output::Output;

/// From the arguments to the exit code.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let output = Output::new(cli.json);
    match run(&cli, &output) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(EXIT_FAILURE),
        Err(error) => {
            output.failure(&error_chain(error.as_ref()));
            let of_configuration = error.downcast_ref::<ConfigError>().is_some();
            ExitCode::from(if of_configuration { EXIT_CONFIG } else { EXIT_FAILURE })
        }
    }
}

fn run(cli: &Cli, output: &Output) -> Result<bool, BoxError> {
    log_to_stderr(cli.verbose);
    // Fails only where it was done already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let config = Config::load(&cli.common)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(async {
        match &cli.command {
            Command::Migrate(args) => {
                migrate::run(&config::Settings::load(&config)?, args.wait, output).await?;
                Ok(true)
            }
            Command::Verify(args) => {
                let settings = config::Settings::load(&config)?;
                verify::run(&settings, &args.run_id, args.limit, args.wait, output).await
            }
        }
    });
    // Threads of librdkafka and lookups that are under way must not keep the process.
    runtime.shutdown_background();
    outcome
}

/// Logs of the libraries are for whoever looks for a fault; the commands themselves print.
fn log_to_stderr(verbose: u8) {
    let level = match verbose {
        0 => tracing::level_filters::LevelFilter::OFF,
        1 => tracing::level_filters::LevelFilter::INFO,
        _ => tracing::level_filters::LevelFilter::DEBUG,
    };
    let subscriber = tracing_subscriber::fmt().with_writer(std::io::stderr).with_max_level(level);
    // Fails only where a subscriber was set already, which serves as well.
    let _ = subscriber.try_init();
}
