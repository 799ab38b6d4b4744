//! The operator's command line: it makes the databases, topics and subjects ready, starts the whole pipeline on one
//! machine, triggers and follows runs, and proves that what was fetched has arrived.
//!
//! [`cli`] names the commands; each has a module of its own. What they print goes through [`Output`], for people or,
//! with `--json`, for machines; the exit code says what happened: 0 for yes, 1 for a failure or a difference, 2 for a
//! configuration that can't be used.

mod airflow;
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
use command_line::Output;
use operate::config::Settings;
use operate::local::{Manifest, Root};
use service::BoxError;

use crate::cli::{Cli, Command, DlqCommand};
use crate::local::{down, supervise, up};

/// From the arguments to the exit code.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let output = Output::new(cli.json);
    // The supervisor has a log of its own.
    if !matches!(cli.command, Command::Supervise(_)) {
        command_line::log_to_stderr(cli.verbose);
    }
    command_line::run("pipeline", output, command(&cli, &output))
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
