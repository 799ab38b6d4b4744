//! One relay from start to stop: what must be there, the slot, the producer, the position, then the stream.
//!
//! The order is what makes a takeover safe. The slot is gained first, so that no other relay streams. Then the
//! transactional id is taken over, so that a stalled predecessor can't commit any more. Only then the position is
//! read back: nothing can change it now. Whatever goes wrong begins again with the first step.

mod gain;
mod held;

use std::sync::Arc;
use std::time::{Duration, Instant};

use events::Registry;
use pgwire_replication::ReplicationClient;
use service::health::Component;
use service::retry::{self, Backoff};
use service::{Context, error_chain};
use sqlx::postgres::PgConnection;
use tokio_util::sync::CancellationToken;

use crate::config::Settings;
use crate::error::{Part, Policy, RelayError};
use crate::interrupts::Interrupts;
use crate::metrics::RelayMetrics;
use crate::monitor::Monitor;
use crate::postgres;
use crate::preflight::{self, Server};
use crate::pulse::Pulse;
use crate::relations;
use crate::sink::Sink;
use crate::slot::SlotState;

/// How long something must have gone well for the next failure to be retried soon.
const STEADY: Duration = Duration::from_secs(30);

/// How long the end of a replication session is waited for.
const GOODBYE: Duration = Duration::from_secs(2);

/// The relay.
pub struct Relay {
    settings: Settings,
    registry: Registry,
    postgres: Component,
    kafka: Component,
    schemas: Component,
    slot: Component,
    snapshot: Component,
    metrics: RelayMetrics,
    shutdown: CancellationToken,
    /// Name of this relay's sessions, different for every process.
    session: String,
    /// Whether a table was met whose binary form can't be read.
    text_only: bool,
}

/// What is known about what must be there.
struct Prepared {
    /// Whether the stream can be in binary form.
    binary: bool,
    /// Topics and how many partitions they have.
    partitions: Vec<(String, usize)>,
}

/// The slot, held.
struct Held {
    client: ReplicationClient,
    state: SlotState,
    prepared: Prepared,
}

/// The slot, and what the stream needs besides.
struct Acquired {
    conn: PgConnection,
    server: Server,
    sink: Sink,
    held: Held,
}

impl Relay {
    /// Nothing is connected yet.
    #[must_use]
    pub fn new(settings: Settings, registry: Registry, context: &Context) -> Self {
        Self {
            settings,
            registry,
            postgres: context.health.component("postgres"),
            kafka: context.health.component("kafka"),
            schemas: context.health.component("registry"),
            slot: context.health.component("slot"),
            snapshot: context.health.component("snapshot"),
            metrics: RelayMetrics::default(),
            shutdown: context.shutdown.clone(),
            session: format!("pipeline-relay-{:08x}", uuid::Uuid::new_v4().as_fields().0),
            text_only: false,
        }
    }

    /// Relays until the shutdown, beginning again from the published position after what may pass.
    ///
    /// # Errors
    /// What somebody must repair first.
    pub async fn run(mut self) -> Result<(), RelayError> {
        let mut backoff = Backoff::default();
        while !self.shutdown.is_cancelled() {
            let started = Instant::now();
            let Err(error) = Box::pin(self.relay()).await else {
                break;
            };
            if started.elapsed() > STEADY {
                backoff.reset();
            }
            match error.policy() {
                Policy::Stop => return Err(error),
                Policy::UseText => {
                    tracing::info!("{error}");
                    self.text_only = true;
                    continue;
                }
                Policy::Retry(part) => {
                    // Whoever is told that the relay is ready may count on changes being streamed.
                    self.slot.waiting("the stream begins again");
                    self.part(part).waiting(error_chain(&error));
                }
            }
            self.metrics.restarts.increment(1);
            tokio::select! {
                () = self.shutdown.cancelled() => {}
                () = tokio::time::sleep(backoff.next_delay()) => {}
            }
        }
        Ok(())
    }

    const fn part(&self, part: Part) -> &Component {
        match part {
            Part::Postgres => &self.postgres,
            Part::Kafka => &self.kafka,
            Part::Slot => &self.slot,
        }
    }

    /// Once through all steps; returns at the shutdown.
    async fn relay(&mut self) -> Result<(), RelayError> {
        let acquired = tokio::select! {
            biased;
            () = self.shutdown.cancelled() => None,
            acquired = self.acquire() => acquired?,
        };
        let Some(Acquired { mut conn, server, mut sink, mut held }) = acquired else { return Ok(()) };
        self.slot.ready();

        let slot_lost = CancellationToken::new();
        let config = &self.settings.relay;
        let pulse = Arc::new(Pulse::new(self.session.clone(), config.session_timeout));
        let monitor = tokio::spawn(self.monitor(slot_lost.clone(), Arc::clone(&pulse)).run());
        let interrupts = Interrupts { shutdown: &self.shutdown, slot_lost: &slot_lost, slot: &config.slot };
        let held_by_us = self.relay_held(&mut conn, &server, &mut held, &mut sink, interrupts, &pulse);
        let outcome = Box::pin(held_by_us).await;
        monitor.abort();
        // So that the slot is free when it is gained again, by whomever.
        let goodbye = tokio::time::timeout(GOODBYE, held.client.shutdown());
        if goodbye.await.is_err() {
            held.client.abort();
        }
        outcome
    }

    /// Everything up to the slot, which may be broken off anywhere. `None` at the shutdown.
    async fn acquire(&self) -> Result<Option<Acquired>, RelayError> {
        let config = &self.settings.postgres;
        let connected = postgres::connect(config, "pipeline-relay").await;
        let address = format!("{}:{}", config.host, config.port);
        let mut conn = connected.map_err(|source| RelayError::Unreachable { address, source })?;
        let server = preflight::check(&mut conn, &self.settings.relay).await?;
        self.postgres.ready();
        let Some(prepared) = self.prepare(&server).await? else { return Ok(None) };
        let Some(mut sink) = self.connect_sink().await else { return Ok(None) };
        let held = self.gain(&mut conn, &server, &mut sink, prepared).await?;
        Ok(held.map(|held| Acquired { conn, server, sink, held }))
    }

    /// Waits for the topics and the registry. `None` at the shutdown.
    async fn prepare(&self, server: &Server) -> Result<Option<Prepared>, RelayError> {
        let config = &self.settings.relay;
        let mut topics = vec![config.offsets_topic.clone()];
        let mut binary = !self.text_only;
        for published in &server.tables {
            let table = relations::table(
                config,
                &published.relation,
                &published.types,
                &published.key,
                server.has_old_rows,
            )?;
            binary &= table.reads_binary();
            topics.push(config.topic(&table.name));
        }
        let names: Vec<&str> = topics.iter().map(String::as_str).collect();
        let waited = kafka::topics::wait(&self.settings.kafka, &names, &self.kafka, &self.shutdown);
        let Some(partitions) = waited.await else { return Ok(None) };
        let answers = retry::until_ready(&self.schemas, &self.shutdown, "Schema Registry", async || {
            let answer = self.registry.global_compatibility().await;
            match answer {
                Err(error) if error.is_transient() => Err(error_chain(&error)),
                _ => Ok(()),
            }
        });
        let partitions = topics.into_iter().zip(partitions).collect();
        Ok(answers.await.map(|()| Prepared { binary, partitions }))
    }

    /// Waits for Kafka. `None` at the shutdown.
    async fn connect_sink(&self) -> Option<Sink> {
        let what = "the transactional producer";
        let sink = retry::until_ready(&self.kafka, &self.shutdown, what, async || {
            Sink::connect(&self.settings.kafka, &self.settings.relay).map_err(|error| error_chain(&error))
        });
        sink.await
    }

    fn monitor(&self, slot_lost: CancellationToken, pulse: Arc<Pulse>) -> Monitor {
        Monitor {
            postgres: self.settings.postgres.clone(),
            slot: self.settings.relay.slot.clone(),
            application_name: self.session.clone(),
            pulse,
            heartbeat_interval: self.settings.relay.heartbeat_interval,
            metrics: self.metrics.clone(),
            slot_lost,
        }
    }
}
