//! The command line, and `fetcher run`: one run without the service.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use service::cli::{CommonArgs, ServiceCommand};
use service::retry::Backoff;
use service::{BoxError, Context};
use sqlx::ConnectOptions as _;
use sqlx::postgres::PgConnection;

use crate::config::{FetcherConfig, Settings};
use crate::engine::Engine;
use crate::execute::{End, execute};
use crate::request::{Draft, FieldError, RunRequest};
use crate::runs::{self, Run, Status, Submission};
use crate::session::Session;

/// How long a run that another fetcher has is waited for: one that was just killed lets go within this time.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);
/// Between two lines of progress.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// Takes user profiles from the randomuser.me API into PostgreSQL.
#[derive(Debug, Parser)]
#[command(name = "fetcher", version)]
struct Cli {
    #[command(flatten)]
    common: CommonArgs,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(flatten)]
    Service(ServiceCommand),
    /// Do one run without the service: progress on stderr, its row on stdout
    Run(RunArgs),
}

/// Runs the process from its arguments to its exit code.
#[must_use]
pub fn main() -> ExitCode {
    let Cli { common, command } = Cli::parse();
    match command.unwrap_or(Command::Service(ServiceCommand::Serve)) {
        Command::Service(ServiceCommand::Serve) => {
            service::run("fetcher", &common, Settings::load_service, crate::serve)
        }
        Command::Service(ServiceCommand::Healthcheck) => service::healthcheck("fetcher", &common, |config| {
            Ok(config.section::<FetcherConfig>("fetcher")?.listen)
        }),
        Command::Run(args) => service::run("fetcher", &common, Settings::load, async |settings, context| {
            run(settings, args, context).await
        }),
    }
}

/// One run. The same run id again goes on where it ended.
#[derive(Debug, Clone, Args)]
struct RunArgs {
    /// Users to fetch
    #[arg(long, value_name = "N")]
    count: u64,
    /// Nationalities to choose from, such as de,fr; all if none is given
    #[arg(long, value_name = "CODE", value_delimiter = ',')]
    nationalities: Vec<String>,
    /// The API's seed; derived from the run id if none is given
    #[arg(long)]
    seed: Option<String>,
    /// Name of the run; a new one if none is given
    #[arg(long, value_name = "ID")]
    run_id: Option<String>,
    /// Print the run's row as JSON
    #[arg(long)]
    json: bool,
}

/// Why `fetcher run` ended without success.
#[derive(Debug, thiserror::Error)]
enum RunError {
    /// Arguments that can't be used.
    #[error("{}", list(.0))]
    Invalid(Vec<FieldError>),
    /// The run is there with other parameters.
    #[error("run {run_id:?} was asked for with other parameters: {}", list(errors))]
    Differs {
        /// The run.
        run_id: String,
        /// What differs.
        errors: Vec<FieldError>,
    },
    /// Another fetcher has it.
    #[error("another fetcher works on run {0:?}: see GET /runs there")]
    Taken(String),
    /// It failed.
    #[error("run {run_id:?} failed: {reason}; the same run id goes on from the next page")]
    Failed {
        /// The run.
        run_id: String,
        /// Why.
        reason: String,
    },
    /// A signal came first.
    #[error("stopped before the end of run {0:?}; the same run id goes on from the next page")]
    Stopped(String),
    /// The row has gone.
    #[error("the row of run {0:?} has gone from fetch_runs")]
    Gone(String),
}

fn list(errors: &[FieldError]) -> String {
    errors.iter().map(|error| format!("{} {}", error.field, error.detail)).collect::<Vec<_>>().join("; ")
}

/// `fetcher run`.
///
/// # Errors
/// Anything but a run that has succeeded.
async fn run(settings: Settings, args: RunArgs, context: Context) -> Result<(), BoxError> {
    let run_id = args.run_id.clone().unwrap_or_else(|| format!("cli__{}", uuid::Uuid::new_v4()));
    let draft = Draft { run_id, count: args.count, nationalities: args.nationalities, seed: args.seed };
    let request = RunRequest::check(draft, (&settings.fetcher).into()).map_err(RunError::Invalid)?;
    let engine = Engine::new(&settings, &context)?;
    let run_id = request.run_id.clone();
    let Some(mut session) = engine.open().await else { return Err(RunError::Stopped(run_id).into()) };
    // Locked before it is there, so that a service can't take it up in between.
    lock(&engine, &mut session, &run_id).await?;
    match runs::submit(&mut session.connection, &request).await? {
        Submission::Accepted(_) | Submission::Known(_) => {}
        Submission::Differs(errors) => return Err(RunError::Differs { run_id, errors }.into()),
    }
    let end = match runs::take_up(&mut session.connection, &run_id).await? {
        None => End::Succeeded,
        Some(run) => follow(&engine, session, &run).await,
    };
    report(&engine, &run_id, end, args.json).await
}

async fn lock(engine: &Engine, session: &mut Session, run_id: &str) -> Result<(), BoxError> {
    let started = std::time::Instant::now();
    let mut backoff = Backoff::default();
    while !session.try_lock(run_id).await? {
        if started.elapsed() >= LOCK_PATIENCE {
            return Err(RunError::Taken(run_id.to_owned()).into());
        }
        engine.pause(backoff.next_delay()).await.ok_or_else(|| RunError::Stopped(run_id.to_owned()))?;
    }
    Ok(())
}

/// Works on the run and tells how far it is.
async fn follow(engine: &Engine, session: Session, run: &Run) -> End {
    let progress = async {
        loop {
            tokio::time::sleep(PROGRESS_INTERVAL).await;
            if let Ok(mut connection) = engine.options.connect().await {
                tell(&mut connection, &run.run_id).await;
            }
        }
    };
    tokio::select! {
        (_, end) = execute(engine, session, run) => end,
        () = progress => End::Stopped,
    }
}

/// Tells once a second for as long as the connection lives.
async fn tell(connection: &mut PgConnection, run_id: &str) {
    let mut page = 0;
    while let Ok(Some(run)) = runs::get(&mut *connection, run_id).await {
        if run.next_page != page {
            page = run.next_page;
            let (fetched, of) = (run.fetched, run.requested);
            tracing::info!(fetched, of, stored = run.stored, rejected = run.rejected, "progress");
        }
        tokio::time::sleep(PROGRESS_INTERVAL).await;
    }
}

async fn report(engine: &Engine, run_id: &str, end: End, json: bool) -> Result<(), BoxError> {
    let stopped = || RunError::Stopped(run_id.to_owned());
    if end == End::Stopped {
        return Err(stopped().into());
    }
    let mut session = engine.open().await.ok_or_else(stopped)?;
    let run = runs::get(&mut session.connection, run_id).await?;
    session.close().await;
    let run = run.ok_or_else(|| RunError::Gone(run_id.to_owned()))?;
    let mut out = std::io::stdout().lock();
    if json {
        writeln!(out, "{}", serde_json::to_string_pretty(&run)?)?;
    } else {
        writeln!(
            out,
            "run {} {}: {} of {} fetched, {} stored, {} rejected, {} duplicates{}",
            run.run_id,
            run.status.as_str(),
            run.fetched,
            run.requested,
            run.stored,
            run.rejected,
            run.duplicates,
            if run.simulated { " (simulated)" } else { "" }
        )?;
    }
    match run.status {
        Status::Succeeded => Ok(()),
        Status::Failed => {
            let reason = run.reason.unwrap_or_default();
            Err(RunError::Failed { run_id: run.run_id, reason }.into())
        }
        Status::Pending | Status::Running => Err(RunError::Taken(run.run_id).into()),
    }
}
