//! `local-servers`: a stack in the foreground, for developers.

use std::{io::Write, path::PathBuf, process::ExitCode, time::Duration};

use clap::{Parser, Subcommand};
use local_servers::{AirflowConfig, CQLSH, Cache, Progress, Server, Stack, StackConfig};
use tokio::signal::unix::{SignalKind, signal};

/// Real servers as local processes.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Download what is missing and start nothing.
    Fetch(Fetch),
    /// Run servers in the foreground until SIGINT or SIGTERM.
    Up(Up),
}

#[derive(Debug, clap::Args)]
struct Fetch {
    /// Only what these servers need, separated by commas, and cqlsh.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Server>,
    /// Kafka of the line that runs without ZooKeeper.
    #[arg(long)]
    kraft: bool,
}

#[derive(Debug, clap::Args)]
struct Up {
    /// Data, logs and the state file go here.
    #[arg(long, default_value = ".local/servers")]
    root: PathBuf,
    /// Listen on free ports instead of the standard ones.
    #[arg(long)]
    free_ports: bool,
    /// Only these servers and what they need, separated by commas.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Server>,
    /// Run Kafka without ZooKeeper.
    #[arg(long)]
    kraft: bool,
    /// Airflow's DAG folder; adds Airflow to the servers.
    #[arg(long)]
    dags: Option<PathBuf>,
}

type AnyError = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.command {
        Command::Fetch(wanted) => fetch(wanted).await,
        Command::Up(up) => run(up).await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(error.as_ref());
            ExitCode::FAILURE
        }
    }
}

/// The whole chain, once.
fn report(error: &dyn std::error::Error) {
    let mut text = format!("error: {error}");
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    let _ = writeln!(std::io::stderr(), "{text}");
}

async fn fetch(wanted: Fetch) -> Result<(), AnyError> {
    let servers = if wanted.only.is_empty() { Server::ALL.to_vec() } else { wanted.only };
    let mut artifacts: Vec<_> =
        servers.into_iter().flat_map(|server| server.artifacts(wanted.kraft)).copied().collect();
    artifacts.dedup_by_key(|artifact| artifact.name);
    artifacts.push(CQLSH);
    Ok(local_servers::fetch(&Cache::from_env()?, &artifacts, &Progress::auto()).await?)
}

async fn run(up: Up) -> Result<(), AnyError> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut config = if up.free_ports {
        StackConfig::on_free_ports(up.root)?
    } else {
        StackConfig::on_standard_ports(up.root)?
    };
    config.kraft = up.kraft;
    config.progress = Progress::auto();
    if !up.only.is_empty() {
        config.servers = up.only;
    }
    if let Some(dags) = up.dags {
        config.servers.push(Server::Airflow);
        config.airflow = Some(AirflowConfig { dags, env: Vec::new() });
    }
    let stack = tokio::select! {
        stack = Stack::start(config) => stack?,
        _ = interrupt.recv() => return Err("interrupted while starting".into()),
        _ = terminate.recv() => return Err("terminated while starting".into()),
    };
    show(&stack)?;
    loop {
        tokio::select! {
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
            () = tokio::time::sleep(Duration::from_secs(1)) => {
                if let Some((name, how)) = stack.exited().into_iter().next() {
                    stack.shutdown().await?;
                    return Err(format!("{name} ended ({how}); see {}", stack.log(&name).display()).into());
                }
            }
        }
    }
    Ok(stack.shutdown().await?)
}

fn show(stack: &Stack) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    for status in stack.status() {
        let record = status.record;
        writeln!(
            out,
            "{:22} {:14} port {:6} pid {:8} {:5} MB  {}",
            record.name,
            record.version,
            record.port.map_or_else(|| "-".to_owned(), |port| port.to_string()),
            record.process.map_or(0, |id| id.pid),
            status.resident_bytes >> 20,
            record.log.display()
        )?;
    }
    writeln!(out, "{}", serde_json::to_string_pretty(&stack.endpoints())?)?;
    writeln!(out, "ready; stop with ctrl-C")
}
