//! Writes a topic of Avro change records to Cassandra tables, effectively once.
//!
//! A record's way: [`consumer`] polls it and hands it to [`writer`], which reads it by the [`plan`] of its schema and
//! executes a statement per table on [`cluster`]. Writes carry the change's own position as their timestamp, so
//! repeats and reordering change nothing; [`offsets`] lets a partition's position move only over what is written.
//! What never can be written goes to the dead-letter topic ([`dead_letters`]).

pub mod availability;
mod cli;
pub mod cluster;
pub mod config;
pub mod consumer;
pub mod convert;
pub mod dead_letters;
pub mod failure;
pub mod mapping;
pub mod metrics;
pub mod offsets;
pub mod plan;
pub mod plans;
pub mod poison;
pub mod record;
pub mod statement;
pub mod table;
pub mod together;
pub mod writer;

use std::rc::Rc;
use std::sync::Arc;

use axum::Router;
use events::{Registry, RegistryError};
use service::health::Component;
use service::{BoxError, Context, retry};
use tokio::runtime::{Builder, Handle};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

pub use cli::main;
use cluster::Cluster;
use config::Settings;
use consumer::Poller;
use dead_letters::DeadLetters;
use metrics::Metrics;
use offsets::Offsets;
use plans::Plans;
use record::{BATCH_BYTES, Batch};
use writer::Writer;

/// Name of the service, in logs, dead letters and to the brokers.
pub const SERVICE: &str = "cassandra-sink";
/// Value of the label `hop`.
pub(crate) const HOP: &str = "cassandra_sink";

/// Starts the two threads: the consumer joins its group once the writer can write.
///
/// # Errors
/// The admin port can't be opened, or a client refuses its configuration.
pub async fn start(settings: Settings, context: Context) -> Result<(), BoxError> {
    let registry = Registry::new(&settings.registry)?;
    let offsets = Arc::new(Offsets::new(&settings.sink.source_topic));
    let (queue, batches) = mpsc::channel((settings.sink.queue_bytes / BATCH_BYTES).max(1));
    let (writer_ready, ready) = oneshot::channel();

    let kafka = context.health.component("kafka");
    let continuity = context.health.component("continuity");
    continuity.ready();
    let poller = Poller {
        config: settings.sink.clone(),
        kafka: settings.kafka.clone(),
        offsets: Arc::clone(&offsets),
        queue,
        component: kafka.clone(),
        continuity,
        shutdown: context.shutdown.clone(),
        runtime: Handle::current(),
    };
    let writer = Parts {
        cassandra: context.health.component("cassandra"),
        registry: (registry, context.health.component("registry")),
        dead_letters: context.health.component("dead_letters"),
        settings: settings.clone(),
        offsets,
        shutdown: context.shutdown.clone(),
    };
    // After every component exists: a service without any would count as ready.
    context.serve_admin(settings.sink.listen, Router::new()).await?;
    context.tasks.spawn_blocking("writer", move || writer.run(batches, writer_ready));

    let topics = [settings.sink.source_topic.as_str(), &settings.sink.dead_letter_topic()];
    let topics = kafka::topics::wait(&settings.kafka, &topics, &kafka, &context.shutdown).await;
    if topics.is_some() && ready.await.is_ok() {
        context.tasks.spawn_blocking("consumer", move || poller.run());
    }
    Ok(())
}

/// What the writer's thread makes its parts of: the driver's tasks must run on that thread's runtime.
struct Parts {
    cassandra: Component,
    registry: (Registry, Component),
    dead_letters: Component,
    settings: Settings,
    offsets: Arc<Offsets>,
    shutdown: CancellationToken,
}

impl Parts {
    fn run(self, batches: mpsc::Receiver<Batch>, ready: oneshot::Sender<()>) -> Result<(), BoxError> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let Some(writer) = self.writer().await? else { return Ok(()) };
            // Only nobody is told if the start was given up meanwhile: then the queue is closed as well.
            let _ = ready.send(());
            writer.run(batches).await;
            Ok(())
        })
    }

    /// `None` if the shutdown came first.
    async fn writer(self) -> Result<Option<Writer>, BoxError> {
        let Self {
            cassandra,
            registry: (registry, registry_component),
            dead_letters,
            settings,
            offsets,
            shutdown,
        } = self;
        let Settings { sink, cassandra: cassandra_config, kafka, .. } = settings;
        let dead_letters =
            DeadLetters::new(&kafka, SERVICE, &sink.source_topic, &sink.dead_letter_topic(), dead_letters)?;
        let (cluster, registry_up) = tokio::join!(
            Cluster::connect(&cassandra_config, &sink, cassandra, offsets, &shutdown),
            retry::until_ready(&registry_component, &shutdown, "start", async || probe(&registry).await),
        );
        let (Some(cluster), Some(())) = (cluster, registry_up) else { return Ok(None) };
        let cluster = Rc::new(cluster);
        Ok(Some(Writer {
            plans: Plans::new(Rc::clone(&cluster), registry, registry_component, sink.tables.clone()),
            cluster,
            dead_letters,
            metrics: Metrics::new(&sink.source_topic, &sink.tables),
            config: sink,
            progress: Default::default(),
        }))
    }
}

/// Asks for any schema: that there is none is an answer too.
async fn probe(registry: &Registry) -> Result<(), RegistryError> {
    match registry.schema_by_id(1).await {
        Err(RegistryError::NotFound { .. }) | Ok(_) => Ok(()),
        Err(error) => Err(error),
    }
}
