//! Finds out what runs, how far each hop lags behind, and what every stage has.
//!
//! Each part is asked on its own and side by side, so that one server that is away hides nothing of the others.

mod hops;
mod postgres;
mod services;
mod stack;

use std::collections::BTreeMap;

use serde::Serialize;
use service::error_chain;

use crate::config::Settings;
use crate::local::{Root, RootError};
use crate::offsets::{self, OffsetWatcher};
pub use hops::Hop;
use postgres::Database;
pub use postgres::LatestRun;
pub use services::{ServiceStatus, SparkStatus, ask_service};
pub use stack::{ProcessStatus, StackStatus};

/// Reports everything that could be found out.
#[derive(Debug, Serialize)]
pub struct Status {
    /// Describes the stack on this machine; `None` if there is none.
    pub stack: Option<StackStatus>,
    /// Describes the four services.
    pub services: Vec<ServiceStatus>,
    /// Says how far each service is behind.
    pub hops: Vec<Hop>,
    /// Counts the rows of PostgreSQL's tables and the offsets of the topics (records and markers of transactions).
    pub counts: BTreeMap<String, i64>,
    /// Describes the run that was asked for last; `None` if there was none.
    pub latest_run: Option<LatestRun>,
    /// Says what could not be found out and why, by what was asked.
    pub unknown: BTreeMap<String, String>,
    /// Says whether all that should run does.
    pub healthy: bool,
}

/// Asks every service and server how it is, each for a few seconds at most.
///
/// # Errors
/// Fails if a state file of the stack in `root` can't be read. What does not answer is in the report.
pub async fn collect(root: &Root, settings: &Settings) -> Result<Status, RootError> {
    let stack = StackStatus::read(root)?;
    let pipeline = &settings.pipeline;
    let [raw, processed] = pipeline.data_topics();
    let (raw_dead, processed_dead) = (kafka::dead_letter::topic(raw), kafka::dead_letter::topic(processed));
    let watch = async |topic: &str, group: &str| match OffsetWatcher::new(&settings.kafka, topic, group) {
        Ok(watcher) => watcher.offsets().await,
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
    for (topic, offsets, reader) in topics {
        match offsets {
            Ok(offsets) => {
                counts.insert(topic.to_owned(), offsets::kept(offsets));
                if let Some((name, target)) = reader {
                    hops.push(Hop::group(name, topic, target, offsets, seconds(name)));
                }
            }
            Err(error) => {
                unknown.insert(topic.to_owned(), error_chain(error));
            }
        }
    }
    let runs = stack.as_ref().is_none_or(StackStatus::runs);
    let healthy = runs && unknown.is_empty() && services.iter().all(|service| service.ready);
    Ok(Status { stack, services, hops, counts, latest_run, unknown, healthy })
}
