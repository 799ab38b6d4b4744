//! The stream processor: `users.raw` into `users.processed`, exactly once.
//!
//! A record is decoded, transformed and encoded by the [`engine`]; a worker reads a batch of records and writes what
//! becomes of them in one Kafka transaction together with the positions read. What can't be processed goes to the
//! dead-letter topic in the same transaction.

pub mod batch;
mod board;
mod cli;
pub mod config;
mod consumer;
pub mod continuity;
pub mod engine;
mod error;
pub mod exclusion;
mod lag;
pub mod tally;
mod worker;
pub mod write;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use events::{Registry, RegistryError, schemas};
use kafka::topics;
use service::health::Component;
use service::retry::Backoff;
use service::{BoxError, Context};
use tokio_util::sync::CancellationToken;

use board::Board;
pub use cli::main;
use config::Settings;
pub use error::{ProcessorError, SessionError};
use tally::Tally;
use worker::{Shared, Worker};
use write::Writer;

/// Name in dead letters and logs.
pub const SERVICE: &str = "stream-processor";
/// Value of the label `hop`.
pub const HOP: &str = "stream_processor";

const PROGRESS_INTERVAL: Duration = Duration::from_secs(10);

/// Starts the workers once Kafka, the topics and the registry are there.
///
/// # Errors
/// The admin port can't be opened, or the registry refuses the schema of the processed users.
pub async fn start(settings: Settings, context: Context) -> Result<(), BoxError> {
    tally::describe();
    let config = &settings.processor;
    let workers = config.workers;
    let kafka = context.health.component("kafka");
    let registry = context.health.component("registry");
    let continuity = Board::ready(context.health.component("continuity"), workers);
    let sessions = Board::waiting(context.health.component("workers"), workers, "starting");
    // After all that is waited for is known, so that it never looks ready before it is.
    context.serve_admin(config.listen, Router::new()).await?;

    let names = [&*config.source_topic, &config.target_topic, &config.dead_letter_topic];
    let waited = topics::wait(&settings.kafka, &names, &kafka, &context.shutdown).await;
    let Some([_, target_partitions, _]) = waited.as_deref() else { return Ok(()) };
    let target_partitions = i32::try_from(*target_partitions).unwrap_or(i32::MAX);
    let client = Registry::new(&settings.registry)?;
    let Some(target_id) = register(&client, &config.target_topic, &registry, &context.shutdown).await? else {
        return Ok(());
    };

    let dead_letters = Arc::<kafka::context::Throttle>::default();
    let writers: Vec<Writer> = (0..workers)
        .map(|_| Writer::new(&settings, target_partitions, target_id, Arc::clone(&dead_letters)))
        .collect();
    let shared = Arc::new(Shared {
        registry: client,
        tally: Tally::default(),
        sessions,
        brokers: Board::ready(kafka, workers),
        schemas: Board::ready(registry, workers),
        continuity,
        shutdown: context.shutdown.clone(),
        runtime: tokio::runtime::Handle::current(),
        settings,
    });
    for (index, writer) in writers.into_iter().enumerate() {
        let worker = Worker::new(Arc::clone(&shared), index, writer);
        context.tasks.spawn_blocking("worker", || worker.run());
    }
    context.tasks.spawn("progress", report(shared));
    Ok(())
}

/// Registers the schema of the processed users, or finds it there: its id. Waits while the registry is away; `None` if
/// the shutdown came first.
///
/// # Errors
/// The registry refuses the schema.
pub async fn register(
    registry: &Registry,
    topic: &str,
    component: &Component,
    shutdown: &CancellationToken,
) -> Result<Option<u32>, ProcessorError> {
    let subject = schemas::value_subject(topic);
    let mut backoff = Backoff::default();
    loop {
        let answer = tokio::select! {
            () = shutdown.cancelled() => return Ok(None),
            answer = registry.register(&subject, schemas::USERS_PROCESSED) => answer,
        };
        match answer {
            Ok(id) => {
                component.ready();
                return Ok(Some(id));
            }
            Err(error @ RegistryError::Unavailable { .. }) => component.waiting(service::error_chain(&error)),
            Err(
                source @ (RegistryError::Incompatible { .. }
                | RegistryError::Refused { .. }
                | RegistryError::NotFound { .. }),
            ) => return Err(ProcessorError::Schema { subject, source: Box::new(source) }),
        }
        tokio::select! {
            () = shutdown.cancelled() => return Ok(None),
            () = tokio::time::sleep(backoff.next_delay()) => {}
        }
    }
}

async fn report(shared: Arc<Shared>) -> Result<(), ProcessorError> {
    let mut last = 0;
    loop {
        tokio::select! {
            () = shared.shutdown.cancelled() => break,
            () = tokio::time::sleep(PROGRESS_INTERVAL) => {}
        }
        shared.tally.report(&mut last);
    }
    Ok(())
}
