//! `pipeline chaos`: services, servers and connections broken at random while rows are written, changed and deleted;
//! afterwards every stage is compared.
//!
//! The faults are drawn from the seed before the run begins ([`schedule`]), so that a run that has found something can
//! be repeated, as far as the machine lets it. It has servers, services and a folder of its own, and touches nothing
//! that `pipeline up` runs. Services reach PostgreSQL, Kafka, the registry and Cassandra through proxies in this
//! process; ZooKeeper is Kafka's own matter.

mod check;
mod fetching;
mod leaders;
mod load;
mod play;
mod poison;
mod proxy;
mod report;
mod schedule;
mod setup;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use command_line::Output;
use kafka::reader::ReadError;
use operate::config::Settings;
use operate::local::{Root, RootError};
use operate::stamp::SchemaFailure;
use rdkafka::error::KafkaError;
use service::cli::CommonArgs;
use service::{BoxError, error_chain};
use tokio::task::JoinError;
use tokio::time::Instant;

use self::check::Comparison;
use self::load::{Done, Load};
use self::play::Player;
use self::report::Report;
use self::setup::{Plan, Running};

/// Within which a process is started again, with all that it needs.
const HEAL_WITHIN: Duration = Duration::from_secs(120);
/// Within which every stage catches up once everything is healed.
const QUIET_WITHIN: Duration = Duration::from_secs(240);
/// Between two comparisons.
const PAUSE: Duration = Duration::from_secs(1);

/// A run that could not be carried out, which says nothing about the pipeline.
#[derive(Debug, thiserror::Error)]
enum ChaosError {
    #[error(transparent)]
    Server(#[from] local_servers::Error),
    #[error(transparent)]
    Local(#[from] RootError),
    #[error(transparent)]
    Config(#[from] service::config::ConfigError),
    #[error(transparent)]
    Topic(#[from] ReadError),
    #[error(transparent)]
    CassandraConnection(#[from] cassandra::ConnectError),
    #[error("{0} is set, which would lead to other servers than the run's own; unset it")]
    Overridden(String),
    #[error("the folder of an earlier run can't be removed")]
    Purge(#[source] RootError),
    #[error("a proxy can't be started")]
    Proxy(#[source] std::io::Error),
    #[error("the servers can't be made ready")]
    Migrate(#[source] BoxError),
    #[error("not ready in time: {0}")]
    NotReady(String),
    #[error("PostgreSQL failed to {what}")]
    Sql { what: &'static str, source: sqlx::Error },
    #[error("poison records can't be written")]
    Poison(#[source] KafkaError),
    #[error("the schemas of poison records can't be had or used")]
    PoisonSchema(#[source] BoxError),
    #[error("no HTTP client can be made")]
    Client(#[source] reqwest::Error),
    #[error("a schema can't be had")]
    Schema(#[source] Box<SchemaFailure>),
    #[error("Cassandra's table {table} can't be read: {problem}")]
    Cassandra { table: String, problem: String },
    #[error("{path} can't be read")]
    Log { path: PathBuf, source: std::io::Error },
    #[error("a task of the run was broken off")]
    Cancelled(#[source] JoinError),
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Request {
    /// How long faults are injected.
    pub minutes: u32,
    /// Which faults, and which changes.
    pub seed: u64,
    /// Transactions per second of the load at most; not 0.
    pub rate: u32,
}

/// Breaks and compares; whether nothing was lost, repeated or out of order, and no service ended by itself.
///
/// # Errors
/// The run could not be carried out, or was broken off.
pub async fn run(
    folder: &Path,
    args: &CommonArgs,
    request: Request,
    output: &Output,
) -> Result<bool, BoxError> {
    let root = Root::new(&folder.join(format!("chaos-{}", request.seed)))?;
    let plan = Plan::new(root, args)?;
    let settings = plan.settings.clone();
    let logs = plan.root.path().join("logs");
    // Whatever ends this, the stack goes with it.
    let report = tokio::select! {
        report = Box::pin(carry_out(plan, &settings, request, output)) => report?,
        _ = tokio::signal::ctrl_c() => return Err("broken off".into()),
    };
    report.print(output);
    if !report.is_clean() {
        let Request { minutes, seed, rate } = request;
        output.note(format_args!(
            "the same faults again: pipeline chaos --minutes {minutes} --seed {seed} --rate {rate}; logs are in {}",
            logs.display()
        ));
    }
    Ok(report.is_clean())
}

async fn carry_out(
    plan: Plan,
    settings: &Settings,
    request: Request,
    output: &Output,
) -> Result<Report, ChaosError> {
    let steps = schedule::schedule(request.seed, Duration::from_secs(60) * request.minutes);
    let running = plan.start(output, async |settings| load::prepare(settings).await).await?;
    let faults: usize = steps.iter().map(|step| step.faults.len()).sum();
    output.note(format_args!("{faults} faults are to come"));
    let load = Load::start(settings, running.fetching(), request).await?;
    let ended = Arc::new(AtomicBool::new(false));
    let relays = tokio::spawn(leaders::watch(running.addresses(schedule::RELAY), Arc::clone(&ended)));
    let began = Instant::now();
    let mut player = Player::new(&running, output);
    player.play(&steps).await?;
    let lasted = began.elapsed();
    let done = load.finish().await?;
    output.note("everything is healed: waiting until every stage is equal");
    let healed = Instant::now();
    let comparison = quiet(&mut player, settings, &done).await?;
    let caught_up = healed.elapsed();
    let waiting = unready(&running, &mut player).await?;
    ended.store(true, Ordering::Relaxed);
    let both = relays.await.map_err(ChaosError::Cancelled)?;
    if both > leaders::AT_MOST {
        player.find(schedule::RELAY, format!("two were ready at once for {:.0} s", both.as_secs_f64()));
    }
    player.find_panics()?;
    for name in running.services.keys() {
        if running.stack.status().iter().any(|process| process.record.name == *name) {
            player.stop(name).await?;
        }
    }
    let report = Report {
        request,
        seconds: lasted.as_secs_f64(),
        caught_up_seconds: caught_up.as_secs_f64(),
        load: done,
        faults: player.tally,
        findings: player.findings,
        exits: player.exits,
        waiting,
        comparison,
    };
    running.stack.shutdown().await?;
    Ok(report)
}

/// Compares until every stage is equal, can't become it, or the time is over.
async fn quiet(player: &mut Player<'_>, settings: &Settings, done: &Done) -> Result<Comparison, ChaosError> {
    let deadline = Instant::now() + QUIET_WITHIN;
    loop {
        player.look().await?;
        let overdue = Instant::now() > deadline;
        match check::compare(settings, done).await {
            Ok(comparison) if overdue || comparison.is_final() => return Ok(comparison),
            // A server that was just started may not answer yet.
            Err(error) if overdue => return Err(error),
            Err(error) => tracing::info!(error = error_chain(&error), "not comparable yet"),
            Ok(_) => {}
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Services that are not ready although everything is: all but the one relay that stands by, which must not be.
async fn unready(running: &Running, player: &mut Player<'_>) -> Result<Vec<String>, ChaosError> {
    let deadline = Instant::now() + HEAL_WITHIN;
    loop {
        player.look().await?;
        let waiting = running.waiting().await;
        let (relays, others): (Vec<String>, Vec<String>) =
            waiting.into_iter().partition(|waiting| waiting.starts_with(schedule::RELAY));
        let left: Vec<String> = match relays.len() {
            0 => [vec!["two relays are ready".to_owned()], others].concat(),
            1 => others,
            _ => [relays, others].concat(),
        };
        if left.is_empty() || Instant::now() > deadline {
            return Ok(left);
        }
        tokio::time::sleep(PAUSE).await;
    }
}
