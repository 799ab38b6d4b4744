//! `pipeline up`: starts the supervisor and shows what it does until everything is ready.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use command_line::Output;
use local_servers::{Phase, StackState};
use operate::config::Settings;
use operate::local::{Manifest, Root, RootError, Secrets, Source, absolute, secrets};
use serde_json::json;
use service::BoxError;
use service::cli::CommonArgs;
use service::config::{Config, DEFAULT_FILE};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use super::error::LocalError;
use super::source;
pub use super::source::Choice;
use super::supervise::Outcome;

/// Overlay that is read after [`DEFAULT_FILE`] when no file is named.
const LOCAL_FILE: &str = "config/local.toml";
/// How long the supervisor may take to stop what it has started.
const STOP_PATIENCE: Duration = Duration::from_secs(90);

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Request {
    /// Where the profiles come from.
    pub source: Choice,
    /// Kafka without ZooKeeper.
    pub kraft: bool,
    /// Spark in place of the stream-processor.
    pub spark: bool,
}

/// Starts everything unless it runs; returns when all is ready.
///
/// # Errors
/// What kept the stack from starting, with the last lines of the log that tells; nothing runs then.
pub async fn run(root: &Root, args: &CommonArgs, request: Request, output: &Output) -> Result<(), BoxError> {
    let begun = Instant::now();
    if let Some(state) = StackState::load(root.path())?.filter(StackState::is_running) {
        return already_running(root, &state, request, output);
    }
    let secrets = Secrets::load_or_create(root)?;
    let files = files(args)?;
    let settings = Settings::load(&Config::from_files(&files)?.or_variables(secrets.variables()))?;
    let (source, reason) = source::choose(request.source, &settings.fetcher.api_url).await;
    output.note(format_args!("source: {source} profiles ({reason})"));
    let manifest = Manifest { config: files, source, reason, spark: request.spark };
    let mut supervisor = spawn(root, &manifest, request.kraft, output)?;
    let outcome = tokio::select! {
        outcome = outcome(&mut supervisor) => outcome?,
        interrupted = tokio::signal::ctrl_c() => {
            interrupted?;
            output.note("interrupted; stopping what was started");
            stop(root, &mut supervisor).await?;
            return Err(LocalError::Interrupted.into());
        }
    };
    match outcome {
        Some(Outcome::Ready) => {}
        Some(Outcome::Failed(report)) => {
            supervisor.wait().await?;
            return Err(LocalError::Failed(report).into());
        }
        None => {
            stop(root, &mut supervisor).await?;
            return Err(LocalError::Vanished(root.supervisor_log()).into());
        }
    }
    show(root, &settings, &manifest, true, begun.elapsed(), output);
    Ok(())
}

fn already_running(
    root: &Root,
    state: &StackState,
    request: Request,
    output: &Output,
) -> Result<(), BoxError> {
    let manifest = root.manifest()?.filter(|_| state.phase == Phase::Ready);
    let Some(manifest) = manifest else {
        return Err(LocalError::Busy { root: root.path().to_owned(), pid: state.supervisor.pid }.into());
    };
    let wanted = match request.source {
        Choice::Auto => manifest.source,
        Choice::Live => Source::Live,
        Choice::Sim => Source::Sim,
    };
    if wanted != manifest.source {
        let (root, running) = (root.path().to_owned(), manifest.source);
        return Err(LocalError::OtherSource { root, running, wanted }.into());
    }
    if request.spark != manifest.spark {
        return Err(LocalError::OtherEngine { root: root.path().to_owned(), spark: manifest.spark }.into());
    }
    let config = root.configuration(&CommonArgs::default())?;
    output.line(format_args!("already running in {}: nothing was changed", root.path().display()));
    show(root, &Settings::load(&config)?, &manifest, false, Duration::ZERO, output);
    Ok(())
}

/// The files that are read.
fn files(args: &CommonArgs) -> Result<Vec<PathBuf>, RootError> {
    if args.config.is_empty() {
        absolute(&[DEFAULT_FILE.into(), LOCAL_FILE.into()])
    } else {
        absolute(&args.config)
    }
}

/// The supervisor: this program again. It draws on our standard error and reports on its standard output.
fn spawn(root: &Root, manifest: &Manifest, kraft: bool, output: &Output) -> Result<Child, RootError> {
    let log = root.supervisor_log();
    let program = std::env::current_exe().map_err(RootError::file("find", &log))?;
    let mut command = Command::new(&program);
    command.arg("supervise").arg("--root").arg(root.path());
    command.arg("--source").arg(if manifest.source == Source::Sim { "sim" } else { "live" });
    command.arg("--reason").arg(&manifest.reason);
    for file in &manifest.config {
        command.arg("--config").arg(file);
    }
    if kraft {
        command.arg("--kraft");
    }
    if manifest.spark {
        command.arg("--spark");
    }
    if output.is_json() {
        command.arg("--json");
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    command.spawn().map_err(RootError::file("start", &program))
}

/// The supervisor's report; `None` if it ended without one.
async fn outcome(supervisor: &mut Child) -> Result<Option<Outcome>, BoxError> {
    let Some(stdout) = supervisor.stdout.take() else { return Ok(None) };
    let mut lines = BufReader::new(stdout).lines();
    while let Some(line) = lines.next_line().await? {
        if let Ok(outcome) = serde_json::from_str(&line) {
            return Ok(Some(outcome));
        }
    }
    Ok(None)
}

async fn stop(root: &Root, supervisor: &mut Child) -> Result<(), BoxError> {
    if let Some(state) = StackState::load(root.path())? {
        state.terminate(STOP_PATIENCE).await?;
    } else {
        supervisor.kill().await?;
    }
    supervisor.wait().await?;
    Ok(())
}

fn show(
    root: &Root,
    settings: &Settings,
    manifest: &Manifest,
    started: bool,
    elapsed: Duration,
    output: &Output,
) {
    let processor = if manifest.spark { "Spark's job" } else { "stream-processor" };
    let mut urls = vec![
        ("Airflow", settings.airflow_url.to_string()),
        ("fetcher", format!("http://{}/runs", settings.fetcher.listen)),
        ("relay", format!("http://{}/metrics", settings.relay.listen)),
        (processor, format!("http://{}/metrics", settings.stream_processor.listen)),
        ("cassandra-sink", format!("http://{}/metrics", settings.cassandra_sink.listen)),
        ("Schema Registry", settings.registry.url.to_string()),
        ("Kafka", settings.kafka.bootstrap_servers.clone()),
        (
            "PostgreSQL",
            format!("{}:{}/{}", settings.postgres.host, settings.postgres.port, settings.postgres.database),
        ),
        ("Cassandra", settings.cassandra.contact_points.join(", ")),
    ];
    if manifest.spark {
        urls.push(("Spark", format!("http://127.0.0.1:{}", settings.pipeline.local.spark_ui_port)));
    }
    if started {
        output.line(format_args!("everything is ready after {:.1} s", elapsed.as_secs_f64()));
    }
    output.line(format_args!("source            {} profiles ({})", manifest.source, manifest.reason));
    for (name, url) in &urls {
        output.line(format_args!("{name:<17} {url}"));
    }
    let (secrets_file, logs) = (root.secrets_file(), root.path().join("logs"));
    output.line(format_args!(
        "logs              {}\nsecrets           {} (Airflow's user is {}, its password {})",
        logs.display(),
        secrets_file.display(),
        settings.airflow.user,
        secrets::AIRFLOW
    ));
    let urls: serde_json::Map<String, serde_json::Value> =
        urls.into_iter().map(|(name, url)| (name.to_owned(), url.into())).collect();
    output.document(&json!({
        "started": started,
        "seconds": elapsed.as_secs_f64(),
        "root": root.path(),
        "source": manifest.source,
        "reason": manifest.reason,
        "urls": urls,
        "secrets": secrets_file,
        "logs": logs,
    }));
}
