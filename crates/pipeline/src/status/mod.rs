//! `pipeline status`: what runs, how far each hop lags behind, and what every stage has.
//!
//! Each part is asked on its own and side by side, so that one server that is away hides nothing of the others.

mod hops;
mod postgres;
pub(crate) mod services;

use std::collections::BTreeMap;

use local_servers::{Phase, ProcessRecord, StackState};
use serde::Serialize;
use service::{BoxError, error_chain};

use crate::config::Settings;
use crate::local::{Manifest, Root};
use crate::offsets::{self, Watcher};
use hops::Hop;
use output::{Output, table};
use postgres::Database;
use services::Service;

/// Everything that could be found out.
#[derive(Debug, Serialize)]
struct Status {
    /// The stack on this machine; nothing if there is none.
    stack: Option<Stack>,
    services: Vec<Service>,
    hops: Vec<Hop>,
    /// Profiles in PostgreSQL and offsets of the topics (records and markers of transactions).
    counts: BTreeMap<String, i64>,
    latest_run: Option<postgres::LatestRun>,
    /// What could not be found out, by what was asked.
    unknown: BTreeMap<String, String>,
    /// Whether all that should run does.
    healthy: bool,
}

#[derive(Debug, Serialize)]
struct Stack {
    root: std::path::PathBuf,
    phase: Phase,
    source: Option<Manifest>,
    secrets: std::path::PathBuf,
    processes: Vec<Process>,
}

#[derive(Debug, Serialize)]
struct Process {
    #[serde(flatten)]
    record: ProcessRecord,
    alive: bool,
    resident_bytes: u64,
}

impl Process {
    fn new(record: ProcessRecord) -> Self {
        Self { alive: record.is_alive(), resident_bytes: record.resident_bytes(), record }
    }

    fn state(&self) -> String {
        match (self.alive, self.record.ready, &self.record.exit) {
            (true, true, _) => "ready".to_owned(),
            (true, false, _) => "starting".to_owned(),
            (false, _, Some(how)) => format!("ended ({how})"),
            (false, _, None) => "stopped".to_owned(),
        }
    }
}

/// Prints what there is; whether all that should run does.
///
/// # Errors
/// A state file that can't be read.
pub async fn run(root: &Root, settings: &Settings, output: &Output) -> Result<bool, BoxError> {
    let status = collect(settings, stack(root)?).await;
    output.document(&status);
    print(&status, root, output);
    Ok(status.healthy)
}

fn stack(root: &Root) -> Result<Option<Stack>, BoxError> {
    let Some(state) = StackState::load(root.path())? else { return Ok(None) };
    Ok(Some(Stack {
        root: root.path().to_owned(),
        phase: state.phase,
        source: root.manifest()?,
        secrets: root.secrets_file(),
        processes: state.processes.into_iter().map(Process::new).collect(),
    }))
}

async fn collect(settings: &Settings, stack: Option<Stack>) -> Status {
    let pipeline = &settings.pipeline;
    let [raw, processed] = pipeline.data_topics();
    let (raw_dead, processed_dead) = (kafka::dead_letter::topic(raw), kafka::dead_letter::topic(processed));
    let watch = async |topic: &str, group: &str| match Watcher::new(&settings.kafka, topic, group) {
        Ok(watcher) => watcher.positions().await,
        Err(error) => Err(error),
    };
    let (processor, sink) = (&settings.stream_processor.group, &settings.cassandra_sink.group);
    let (services, database, raw_at, processed_at, raw_dead_at, processed_dead_at) = tokio::join!(
        services::ask(settings),
        Database::ask(settings),
        watch(raw, processor),
        watch(processed, sink),
        watch(&raw_dead, processor),
        watch(&processed_dead, sink),
    );

    let mut unknown = BTreeMap::new();
    let mut counts = BTreeMap::new();
    let seconds =
        |name: &str| services.iter().find(|service| service.name == name).and_then(|s| s.lag_seconds);
    let mut hops = Vec::new();
    let mut latest_run = None;
    match database {
        Ok(database) => {
            hops.push(Hop::relay(raw, &database, seconds("relay")));
            counts.extend(database.counts);
            latest_run = database.latest_run;
        }
        Err(error) => {
            unknown.insert("postgres".to_owned(), error_chain(&error));
        }
    }
    let topics = [
        (raw, &raw_at, Some(("stream-processor", processed))),
        (processed, &processed_at, Some(("cassandra-sink", "cassandra"))),
        (raw_dead.as_str(), &raw_dead_at, None),
        (processed_dead.as_str(), &processed_dead_at, None),
    ];
    for (topic, positions, reader) in topics {
        match positions {
            Ok(positions) => {
                counts.insert(topic.to_owned(), offsets::kept(positions));
                if let Some((name, target)) = reader {
                    hops.push(Hop::group(name, topic, target, positions, seconds(name)));
                }
            }
            Err(error) => {
                unknown.insert(topic.to_owned(), error_chain(error));
            }
        }
    }
    let runs = stack.as_ref().is_none_or(|stack| {
        stack.phase == Phase::Ready
            && stack.processes.iter().all(|process| process.alive && process.record.ready)
    });
    let healthy = runs && unknown.is_empty() && services.iter().all(|service| service.ready);
    Status { stack, services, hops, counts, latest_run, unknown, healthy }
}

fn print(status: &Status, root: &Root, output: &Output) {
    match &status.stack {
        None => output.line(format_args!("no stack runs in {}\n", root.path().display())),
        Some(stack) => print_stack(stack, output),
    }
    let services = status.services.iter().map(|service| vec![service.name.to_owned(), service.state()]);
    output.line(format_args!("{}\n", table(&["service", "state"], services)));
    output.line(format_args!("{}\n", table(&hops::HEADER, status.hops.iter().map(Hop::row))));
    let counts = status.counts.iter().map(|(what, count)| vec![what.clone(), count.to_string()]);
    output.line(format_args!("{}\n", table(&["stage", "rows or offsets"], counts)));
    if let Some(run) = &status.latest_run {
        output.line(run);
    }
    for (what, problem) in &status.unknown {
        output.line(format_args!("{what} is unknown: {problem}"));
    }
}

fn print_stack(stack: &Stack, output: &Output) {
    let processes = stack.processes.iter().map(|process| {
        let record = &process.record;
        let number = |number: Option<String>| number.unwrap_or_else(|| "-".to_owned());
        vec![
            record.name.clone(),
            record.version.clone(),
            number(record.port.map(|port| port.to_string())),
            number(record.process.filter(|_| process.alive).map(|id| id.pid.to_string())),
            format!("{}", process.resident_bytes.div_ceil(1_000_000)),
            process.state(),
        ]
    });
    let header = ["process", "version", "port", "pid", "RSS (MB)", "state"];
    output.line(format_args!("{}\n", table(&header, processes)));
    if let Some(source) = &stack.source {
        output.line(format_args!("source: {} profiles ({})", source.source, source.reason));
    }
    output.line(format_args!("root: {}, secrets: {}\n", stack.root.display(), stack.secrets.display()));
}
