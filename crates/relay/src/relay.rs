//! One relay from start to stop: what must be there, the slot, the producer, the position, then the stream.
//!
//! The order is what makes a takeover safe. The slot is gained first, so that no other relay streams. Then the
//! transactional id is taken over, so that a stalled predecessor can't commit any more. Only then the position is
//! read back: nothing can change it now. Whatever goes wrong begins again with the first step.

use std::time::{Duration, Instant};

use events::Registry;
use pgwire_replication::{Lsn, ReplicationClient};
use service::health::Component;
use service::retry::{self, Backoff};
use service::{Context, error_chain};
use sqlx::postgres::PgConnection;
use tokio_util::sync::CancellationToken;

use crate::config::{Settings, SnapshotMode};
use crate::error::{Part, Policy, RelayError};
use crate::metrics::RelayMetrics;
use crate::monitor::Monitor;
use crate::offsets::{self, OffsetsError};
use crate::postgres;
use crate::preflight::{self, Server, Unusable};
use crate::progress::{Coverage, Handover, Phase, Place, Progress};
use crate::relations::{self, Relations};
use crate::sink::Sink;
use crate::slot::{self, Gained, SlotState};
use crate::snapshot::Snapshot;
use crate::stream::Stream;

/// How long something must have gone well for the next failure to be retried soon.
const STEADY: Duration = Duration::from_secs(30);

/// How long the end of a replication session is waited for.
const GOODBYE: Duration = Duration::from_secs(2);

/// After this long it is said what the making of the slot waits for.
const SLOW_CREATION: Duration = Duration::from_secs(1);

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
            let Err(error) = self.relay().await else {
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
        let config = &self.settings.postgres;
        let connected = postgres::connect(config, "pipeline-relay").await;
        let address = format!("{}:{}", config.host, config.port);
        let mut conn = connected.map_err(|source| RelayError::Unreachable { address, source })?;
        let server = preflight::check(&mut conn, &self.settings.relay).await?;
        self.postgres.ready();
        let Some(prepared) = self.prepare(&server).await? else { return Ok(()) };
        let Some(mut sink) = self.connect_sink().await else { return Ok(()) };
        let Some(mut held) = self.gain(&mut conn, &server, &mut sink, prepared).await? else { return Ok(()) };
        self.slot.ready();

        let slot_lost = CancellationToken::new();
        let monitor = tokio::spawn(self.monitor(slot_lost.clone()).run());
        let outcome = self.relay_held(&mut conn, &server, &mut held, &mut sink, &slot_lost).await;
        monitor.abort();
        // So that the slot is free when it is gained again, by whomever.
        let goodbye = tokio::time::timeout(GOODBYE, held.client.shutdown());
        if goodbye.await.is_err() {
            held.client.abort();
        }
        outcome
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

    /// Gains the slot, making it first if there is none and nothing was published. `None` at the shutdown.
    async fn gain(
        &self,
        conn: &mut PgConnection,
        server: &Server,
        sink: &mut Sink,
        prepared: Prepared,
    ) -> Result<Option<Held>, RelayError> {
        let config = &self.settings.relay;
        let session = postgres::replication(
            &self.settings.postgres,
            &config.slot,
            &config.publication,
            &self.session,
            config.session_timeout,
            prepared.binary,
        );
        loop {
            match slot::gain(conn, &session, &self.slot, &self.shutdown).await? {
                Gained::Held(client, state) => return Ok(Some(Held { client: *client, state, prepared })),
                Gained::Stopped => return Ok(None),
                Gained::Missing => {
                    if !self.create(conn, server, sink, &prepared).await? {
                        return Ok(None);
                    }
                }
            }
        }
    }

    /// Makes the slot, after saying so in the offsets topic: a relay that finds the slot then knows that nothing was
    /// published through it. `false` at the shutdown.
    async fn create(
        &self,
        conn: &mut PgConnection,
        server: &Server,
        sink: &mut Sink,
        prepared: &Prepared,
    ) -> Result<bool, RelayError> {
        let config = &self.settings.relay;
        match self.take_over(sink, prepared)? {
            None => sink.commit(Progress::of(server, Phase::Creating))?,
            Some(progress) => {
                self.check_origin(server, &progress)?;
                match progress.phase {
                    Phase::Creating => {}
                    Phase::Snapshot { slot_lsn: published, .. }
                    | Phase::Streaming { end_lsn: published, .. } => {
                        return Err(Unusable::SlotGone { slot: config.slot.clone(), published }.into());
                    }
                }
            }
        }
        let mut creation = std::pin::pin!(slot::create(conn, &config.slot));
        loop {
            tokio::select! {
                () = self.shutdown.cancelled() => return Ok(false),
                created = &mut creation => return created.map(|()| true),
                () = tokio::time::sleep(SLOW_CREATION) => {
                    let mut other = postgres::connect(&self.settings.postgres, "pipeline-relay").await?;
                    let oldest = slot::oldest_transaction(&mut other).await?;
                    self.slot.waiting(format!(
                        "PostgreSQL makes the slot when the transactions that are open now have ended, such as {oldest}"
                    ));
                }
            }
        }
    }

    /// With the slot held: the producer, the position, the snapshot if it is not finished, and the stream.
    async fn relay_held(
        &self,
        conn: &mut PgConnection,
        server: &Server,
        held: &mut Held,
        sink: &mut Sink,
        slot_lost: &CancellationToken,
    ) -> Result<(), RelayError> {
        let config = &self.settings.relay;
        let Some(progress) = self.take_over(sink, &held.prepared)? else {
            return Err(Unusable::NoPosition {
                slot: config.slot.clone(),
                topic: config.offsets_topic.clone(),
            }
            .into());
        };
        self.check_origin(server, &progress)?;
        let mut relations = Relations::new(
            config,
            &self.registry,
            &self.schemas,
            &self.shutdown,
            server.has_old_rows,
            held.prepared.binary,
        );
        let confirmed = held.state.confirmed;
        let at_slot = Place { commit_lsn: confirmed, ordinal: 0 };
        let (place, end_lsn, handover) = match progress.phase.clone() {
            Phase::Creating if config.snapshot == SnapshotMode::Never => (at_slot, confirmed, None),
            Phase::Streaming { place, end_lsn, handover } => {
                self.check_slot(confirmed, end_lsn)?;
                tracing::info!(lsn = %place.commit_lsn, ordinal = place.ordinal, binary = held.prepared.binary, "streaming on");
                (place, end_lsn, handover)
            }
            phase => {
                let (slot_lsn, first_lsn, coverage) = match phase {
                    Phase::Snapshot { slot_lsn, first_lsn, coverage } => (slot_lsn, first_lsn, coverage),
                    _ => (confirmed, held.state.restart, Coverage::default()),
                };
                self.check_slot(confirmed, slot_lsn)?;
                // Whoever is told that the relay is ready may count on changes being streamed.
                self.snapshot.waiting("publishing the rows that are there already");
                let snapshot = Snapshot {
                    postgres: &self.settings.postgres,
                    conn: &mut *conn,
                    sink: &mut *sink,
                    relations: &mut relations,
                    tables: &server.tables,
                    component: &self.slot,
                    shutdown: &self.shutdown,
                    slot_lost,
                    slot: &config.slot,
                    origin: progress.clone(),
                    slot_lsn,
                    first_lsn,
                };
                let Some(handover) = snapshot.run(coverage).await? else { return Ok(()) };
                self.begin_streaming(sink, &progress, at_slot, handover)?
            }
        };
        self.snapshot.ready();
        let stream = Stream {
            client: &mut held.client,
            sink,
            relations: &mut relations,
            conn,
            metrics: &self.metrics,
            shutdown: &self.shutdown,
            slot_lost,
            slot: &config.slot,
            publication: &config.publication,
        };
        stream.run(progress, place, end_lsn, handover).await
    }

    /// Takes the transactional id over and reads back what was published; `None` if nothing ever was.
    fn take_over(&self, sink: &mut Sink, prepared: &Prepared) -> Result<Option<Progress>, RelayError> {
        let config = &self.settings.relay;
        sink.take_over()?;
        let read = || offsets::read(&self.settings.kafka, &config.offsets_topic, &config.slot);
        let progress = match read() {
            Err(OffsetsError::OpenTransaction { topic }) => {
                tracing::warn!(topic, "a transaction that nobody ends is open: aborting what may be ours");
                sink.abort_leftovers(&prepared.partitions)?;
                read()?
            }
            outcome => outcome?,
        };
        sink.count_on(progress.as_ref());
        Ok(progress)
    }

    /// From the snapshot to the stream: from now on the rule of the handover stands in the offsets topic.
    fn begin_streaming(
        &self,
        sink: &mut Sink,
        origin: &Progress,
        place: Place,
        handover: Handover,
    ) -> Result<(Place, Lsn, Option<Handover>), RelayError> {
        let end_lsn = place.commit_lsn;
        let phase = Phase::Streaming { place, end_lsn, handover: Some(handover.clone()) };
        sink.commit(Progress { phase, ..origin.clone() })?;
        self.metrics.kafka_transactions.increment(1);
        Ok((place, end_lsn, Some(handover)))
    }

    /// Waits for Kafka. `None` at the shutdown.
    async fn connect_sink(&self) -> Option<Sink> {
        let what = "the transactional producer";
        let sink = retry::until_ready(&self.kafka, &self.shutdown, what, async || {
            Sink::connect(&self.settings.kafka, &self.settings.relay).map_err(|error| error_chain(&error))
        });
        sink.await
    }

    fn monitor(&self, slot_lost: CancellationToken) -> Monitor {
        Monitor {
            postgres: self.settings.postgres.clone(),
            slot: self.settings.relay.slot.clone(),
            application_name: self.session.clone(),
            heartbeat_interval: self.settings.relay.heartbeat_interval,
            metrics: self.metrics.clone(),
            slot_lost,
        }
    }

    fn check_origin(&self, server: &Server, progress: &Progress) -> Result<(), Unusable> {
        if progress.system_id == server.system_id && progress.database == server.database {
            return Ok(());
        }
        Err(Unusable::OtherServer {
            slot: self.settings.relay.slot.clone(),
            topic: self.settings.relay.offsets_topic.clone(),
            found: format!("{} of cluster {}", progress.database, progress.system_id),
            here: format!("{} of cluster {}", server.database, server.system_id),
        })
    }

    /// The slot never moves beyond what was published, unless somebody else moves it or makes another of its name.
    fn check_slot(&self, confirmed: Lsn, published: Lsn) -> Result<(), Unusable> {
        if confirmed <= published {
            return Ok(());
        }
        Err(Unusable::SlotAhead { slot: self.settings.relay.slot.clone(), confirmed, published })
    }
}
