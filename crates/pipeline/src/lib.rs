//! The operator's command line: it makes the databases, topics and subjects ready, starts the whole pipeline on one
//! machine, triggers and follows runs, and proves that what was fetched has arrived.
//!
//! [`cli`] names the commands; each has a module of its own. What they print goes through [`output`], for people or,
//! with `--json`, for machines; the exit code says what happened: 0 for yes, 1 for a failure or a difference, 2 for a
//! configuration that can't be used.

mod airflow;
pub mod chaos;
pub mod cli;
pub mod dlq;
pub mod local;
pub mod migrate;
pub mod repair;
pub mod run;
pub mod status;
pub mod verify;
mod wait;

use std::process::ExitCode;

use clap::Parser as _;
use operate::config::Settings;
use operate::local::{Manifest, Root};
use output::Output;
use service::config::ConfigError;
use service::{BoxError, EXIT_CONFIG, EXIT_FAILURE, error_chain};

use crate::cli::{Cli, Command, DlqCommand};
use crate::local::{down, supervise, up};

/// From the arguments to the exit code.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let output = Output::new(cli.json);
    match execute(&cli, &output) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(EXIT_FAILURE),
        Err(error) => {
            output.failure("pipeline", &error_chain(error.as_ref()));
            let of_configuration = error.downcast_ref::<ConfigError>().is_some();
            ExitCode::from(if of_configuration { EXIT_CONFIG } else { EXIT_FAILURE })
        }
    }
}

fn execute(cli: &Cli, output: &Output) -> Result<bool, BoxError> {
    // The supervisor has a log of its own.
    if !matches!(cli.command, Command::Supervise(_)) {
        log_to_stderr(cli.verbose);
    }
    // Fails only where it was done already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(command(cli, output));
    // Threads of librdkafka and lookups that are under way must not keep the process.
    runtime.shutdown_background();
    outcome
}

/// Whether the answer is yes: for most commands, that they did what they were asked to.
async fn command(cli: &Cli, output: &Output) -> Result<bool, BoxError> {
    let root = Root::new(&cli.root)?;
    let settings = || -> Result<Settings, BoxError> {
        let loaded = Settings::load(&root.configuration(&cli.common)?);
        // Without a stack there are no secrets, so the configuration alone may not do.
        if loaded.is_err() && root.manifest()?.is_none() {
            output.note(format_args!("no stack runs in {}; `pipeline up` starts one", root.path().display()));
        }
        Ok(loaded?)
    };
    match &cli.command {
        Command::Up(args) => {
            let request = up::Request { source: args.source, kraft: args.kraft, spark: args.spark };
            up::run(&root, &cli.common, request, output).await?;
        }
        Command::Down(args) => down::run(&root, args.purge, output).await?,
        Command::Status => return status::run(&root, &settings()?, output).await,
        Command::Migrate(args) => migrate::run(&settings()?, args.wait, output).await?,
        Command::Run(args) => {
            let request = run::Request {
                count: args.count,
                nationalities: args.nationalities.clone(),
                seed: args.seed.clone(),
                timeout: args.timeout,
                show_rows: args.show_rows,
            };
            return Box::pin(run::run(&settings()?, &request, output)).await;
        }
        Command::Verify(args) => {
            return verify::run(&settings()?, &args.run_id, args.limit, args.wait, output).await;
        }
        Command::Dlq { command } => {
            let settings = settings()?;
            match command {
                DlqCommand::List { filter, limit } => {
                    dlq::list(&settings, filter.filter(), *limit, output).await?;
                }
                DlqCommand::Show { name } => dlq::show(&settings, name.clone(), output).await?,
                DlqCommand::Redrive { filter, max_attempts, dry_run } => {
                    dlq::redrive(&settings, filter.filter(), *max_attempts, *dry_run, output).await?;
                }
                DlqCommand::Purge { filter, all, dry_run } => {
                    if filter.filter().is_empty() && !all {
                        return Err("say which dead letters to purge, or --all".into());
                    }
                    dlq::purge(&settings, filter.filter(), *dry_run, output).await?;
                }
            }
        }
        Command::Chaos { minutes, seed, rate } => {
            let request = chaos::Request { minutes: *minutes, seed: *seed, rate: *rate };
            return Box::pin(chaos::run(&cli.root, &cli.common, request, output)).await;
        }
        Command::Repair { dry_run, wait } => {
            return repair::run(&settings()?, *dry_run, *wait, output).await;
        }
        Command::Supervise(args) => {
            let config = cli.common.config.clone();
            let reason = args.reason.clone();
            let manifest = Manifest { config, source: args.source, reason, spark: args.spark };
            let plan = supervise::Plan { root, manifest, kraft: args.kraft, quiet: cli.json };
            // Its parent has the report.
            return Ok(supervise::run(&plan).await.is_ok());
        }
    }
    Ok(true)
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
