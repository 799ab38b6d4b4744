//! Up to the slot: gaining it, and making it where there is none.

use std::time::Duration;

use sqlx::postgres::PgConnection;

use super::{Held, Prepared, Relay};
use crate::error::RelayError;
use crate::postgres;
use crate::preflight::{Server, Unusable};
use crate::progress::{Phase, Progress};
use crate::sink::Sink;
use crate::slot::{self, Gained};

/// After this long it is said what the making of the slot waits for.
const SLOW_CREATION: Duration = Duration::from_secs(1);

/// So many looks in a row at a session that makes a slot and does nothing: its answer, or our question, was lost.
const MAX_IDLE: u32 = 5;

impl Relay {
    /// Gains the slot, making it first if there is none and nothing was published. `None` at the shutdown.
    pub(super) async fn gain(
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
    /// published through it. Another relay may make it first. `false` at the shutdown.
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
                        // A relay that started at the same time may have made it, and published, since we looked.
                        if slot::find(conn, &config.slot).await?.is_some() {
                            return Ok(true);
                        }
                        return Err(Unusable::SlotGone { slot: config.slot.clone(), published }.into());
                    }
                }
            }
        }
        let pid = slot::process(conn).await?;
        let mut creation = std::pin::pin!(slot::create(conn, &config.slot));
        let mut idle = 0;
        loop {
            tokio::select! {
                () = self.shutdown.cancelled() => return Ok(false),
                created = &mut creation => return created.map(|()| true),
                () = tokio::time::sleep(SLOW_CREATION) => {
                    let mut other = postgres::connect(&self.settings.postgres, "pipeline-relay").await?;
                    idle = if slot::is_working(&mut other, pid).await? { 0 } else { idle + 1 };
                    if idle == MAX_IDLE {
                        return Err(postgres::silent().into());
                    }
                    let oldest = slot::oldest_transaction(&mut other).await?;
                    self.slot.waiting(format!(
                        "PostgreSQL makes the slot when the transactions that are open now have ended, such as {oldest}"
                    ));
                }
            }
        }
    }
}
