//! With the slot held: the producer, the position, the snapshot and the stream.

use pgwire_replication::Lsn;
use sqlx::postgres::PgConnection;

use super::{Held, Prepared, Relay};
use crate::config::SnapshotMode;
use crate::error::RelayError;
use crate::interrupts::Interrupts;
use crate::offsets::{self, OffsetsError};
use crate::preflight::{Server, Unusable};
use crate::progress::{Coverage, Handover, Phase, Place, Progress};
use crate::pulse::Pulse;
use crate::relations::Relations;
use crate::sink::Sink;
use crate::snapshot::Snapshot;
use crate::stream::Stream;

impl Relay {
    /// With the slot held: the producer, the position, the snapshot if it is not finished, and the stream.
    pub(super) async fn relay_held(
        &self,
        conn: &mut PgConnection,
        server: &Server,
        held: &mut Held,
        sink: &mut Sink,
        interrupts: Interrupts<'_>,
        pulse: &Pulse,
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
                    origin: progress.clone(),
                    slot_lsn,
                    first_lsn,
                };
                // Broken off, it leaves a Kafka transaction open, which the next start aborts.
                let Some(Some(handover)) = interrupts.race(snapshot.run(coverage)).await? else {
                    return Ok(());
                };
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
            interrupts,
            pulse,
            publication: &config.publication,
        };
        stream.run(progress, place, end_lsn, handover).await
    }

    /// Takes the transactional id over and reads back what was published; `None` if nothing ever was.
    pub(super) fn take_over(
        &self,
        sink: &mut Sink,
        prepared: &Prepared,
    ) -> Result<Option<Progress>, RelayError> {
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

    pub(super) fn check_origin(&self, server: &Server, progress: &Progress) -> Result<(), Unusable> {
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
