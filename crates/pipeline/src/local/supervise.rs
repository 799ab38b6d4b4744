//! The process in the background that everything else belongs to: it starts all, keeps all running, and stops all.
//!
//! While it starts it draws on the terminal of the `pipeline up` that it is a child of, and reports the outcome on
//! its standard output, a pipe: one [`Outcome`] as JSON. Then it lets go of both. What ends by itself is started
//! again; when the supervisor ends, however it does, nothing that it started stays.

use std::collections::HashMap;
use std::io::Write as _;
use std::time::{Duration, Instant};

use command_line::Output;
use local_servers::{ServiceSpec, Stack};
use operate::config::Settings;
use operate::local::{Manifest, Root, Secrets};
use serde::{Deserialize, Serialize};
use service::config::Config;
use service::retry::Backoff;
use service::{BoxError, error_chain};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

use super::steps::Steps;
use super::{services, spark, stack, stdio};
use crate::migrate;

/// How long a migration waits for servers that have answered already.
const MIGRATION_PATIENCE: Duration = Duration::from_secs(60);
/// How often processes are looked at.
const LOOK: Duration = Duration::from_millis(500);
/// A process that has run this long was no failed start.
const STEADY: Duration = Duration::from_secs(60);

/// How the start ended.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Outcome {
    /// Everything is ready.
    Ready,
    /// Nothing runs; why.
    Failed(String),
}

/// What to start.
#[derive(Debug)]
pub struct Plan {
    /// Where.
    pub root: Root,
    /// With what.
    pub manifest: Manifest,
    /// Kafka without ZooKeeper.
    pub kraft: bool,
    /// Show no progress.
    pub quiet: bool,
}

/// Starts everything and keeps it running until SIGTERM or SIGINT.
///
/// # Errors
/// Whatever kept it from starting or from stopping in good order; the parent has been told.
pub async fn run(plan: &Plan) -> Result<(), BoxError> {
    stdio::leave_session();
    let log = stdio::open_log(&plan.root.supervisor_log())?;
    // Fails only where a subscriber was set already.
    let _ = tracing_subscriber::fmt().with_writer(log).with_ansi(false).try_init();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let started = tokio::select! {
        started = start(plan) => started,
        _ = terminate.recv() => Err("stopped while it was starting".into()),
        _ = interrupt.recv() => Err("stopped while it was starting".into()),
    };
    let stack = match started {
        Ok(stack) => stack,
        Err(error) => {
            tracing::error!(error = error_chain(error.as_ref()), "could not start");
            report(&Outcome::Failed(error_chain(error.as_ref())));
            return Err(error);
        }
    };
    plan.root.write_manifest(&plan.manifest)?;
    report(&Outcome::Ready);
    stdio::detach(&plan.root.supervisor_log())?;
    tracing::info!("everything is ready");
    tokio::select! {
        () = keep_running(&stack) => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping");
    let stopped = stack.shutdown().await;
    plan.root.remove_manifest()?;
    stopped?;
    tracing::info!("stopped");
    Ok(())
}

fn report(outcome: &Outcome) {
    if let Ok(text) = serde_json::to_string(outcome) {
        // A parent that has gone away does not want to know.
        let _ = writeln!(std::io::stdout(), "{text}");
    }
}

/// If it fails, the stack's drop kills what it had started.
async fn start(plan: &Plan) -> Result<Stack, BoxError> {
    let secrets = Secrets::load_or_create(&plan.root)?;
    let config = Config::from_files(&plan.manifest.config)?.or_variables(secrets.variables());
    let settings = Settings::load(&config)?;
    let mut specs = services::specs(&settings, &secrets, &plan.manifest)?;
    let spark = if plan.manifest.spark { Some(spark::cluster(&secrets, &plan.manifest)?) } else { None };
    let steps = Steps::new(plan.quiet);
    let servers = stack::config(&settings, &secrets, &plan.root, plan.kraft, spark, &steps)?;
    let stack = Stack::start(servers).await?;
    if plan.manifest.spark {
        specs.push(spark::job(stack.config(), &settings, &secrets, &plan.manifest)?);
    }

    let step = steps.begin("migrate");
    migrate::run(&settings, MIGRATION_PATIENCE, &Output::silent()).await?;
    step.done("done");

    let mut starts = JoinSet::new();
    for spec in specs {
        let (stack, steps) = (stack.clone(), steps.clone());
        starts.spawn(async move { start_service(&stack, spec, &steps).await });
    }
    while let Some(started) = starts.join_next().await {
        started??;
    }
    Ok(stack)
}

async fn start_service(stack: &Stack, spec: ServiceSpec, steps: &Steps) -> Result<(), local_servers::Error> {
    let step = steps.begin(&spec.name);
    stack.start_service(spec, env!("CARGO_PKG_VERSION")).await?;
    step.done("ready");
    Ok(())
}

/// Starts again whatever ends, each with its own backoff.
async fn keep_running(stack: &Stack) {
    let mut attempts: HashMap<String, (Backoff, Instant)> = HashMap::new();
    let mut restarts = JoinSet::new();
    let mut restarting: Vec<String> = Vec::new();
    loop {
        tokio::time::sleep(LOOK).await;
        while let Some(done) = restarts.try_join_next() {
            let Ok(name) = done else { continue };
            restarting.retain(|other| *other != name);
        }
        for (name, how) in stack.exited() {
            if restarting.contains(&name) {
                continue;
            }
            let fresh = || (Backoff::new(Duration::from_secs(1), Duration::from_secs(30)), Instant::now());
            let (backoff, last) = attempts.entry(name.clone()).or_insert_with(fresh);
            if last.elapsed() > STEADY {
                backoff.reset();
            }
            *last = Instant::now();
            let delay = backoff.next_delay();
            tracing::warn!(name, how, delay = ?delay, "ended by itself; starting it again");
            restarting.push(name.clone());
            let stack = stack.clone();
            restarts.spawn(async move {
                tokio::time::sleep(delay).await;
                match stack.restart(&name).await {
                    Ok(()) => tracing::info!(name, "runs again"),
                    Err(error) => {
                        tracing::error!(name, error = error_chain(&error), "could not be started again")
                    }
                }
                name
            });
        }
    }
}
