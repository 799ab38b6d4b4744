//! Beside the stream: is the slot still ours, how far behind is it, and a heartbeat into the WAL.
//!
//! A connection that is dead without anybody having noticed looks like an idle stream. PostgreSQL gives the slot
//! free after `session_timeout`, which shows here. The heartbeat makes WAL in this database, so that its slot moves
//! on while only other databases of the cluster are busy, and comes back through the stream ([`crate::pulse`]).

use std::sync::Arc;
use std::time::{Duration, Instant};

use pgwire_replication::Lsn;

use service::config::PostgresConfig;
use sqlx::Row as _;
use sqlx::postgres::PgConnection;
use tokio_util::sync::CancellationToken;

use crate::catalog;
use crate::metrics::RelayMetrics;
use crate::postgres;
use crate::pulse::{self, Pulse};

/// How often the slot is looked at.
const INTERVAL: Duration = Duration::from_secs(2);

const LOOK: &str = r"
SELECT coalesce(a.application_name, ''),
       (w.lsn - s.confirmed_flush_lsn)::float8, (w.lsn - s.restart_lsn)::float8, r.sent_lsn::text
FROM pg_replication_slots s
LEFT JOIN pg_stat_activity a ON a.pid = s.active_pid
LEFT JOIN pg_stat_replication r ON r.pid = s.active_pid
CROSS JOIN (SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END) w (lsn)
WHERE s.slot_name = $1";

/// Watches one slot while one session holds it.
#[derive(Debug)]
pub struct Monitor {
    /// How to connect.
    pub postgres: PostgresConfig,
    /// The slot.
    pub slot: String,
    /// Name of the session that must hold it.
    pub application_name: String,
    /// What is known of the heartbeats.
    pub pulse: Arc<Pulse>,
    /// Between two heartbeats; zero for none.
    pub heartbeat_interval: Duration,
    /// Where the lag is shown.
    pub metrics: RelayMetrics,
    /// Cancelled when another session or none holds the slot.
    pub slot_lost: CancellationToken,
}

/// The heartbeats of one monitor.
#[derive(Debug, Default)]
struct Heart {
    beats: u64,
    last: Option<Instant>,
    /// Where the last one ends in the WAL, as long as PostgreSQL has not sent it.
    unsent: Option<Lsn>,
}

impl Monitor {
    /// Watches until it is dropped, or the slot is lost.
    pub async fn run(self) {
        let (mut connection, mut heart) = (None, Heart::default());
        let mut last_seen = Instant::now();
        let mut interval = tokio::time::interval(INTERVAL);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            match postgres::within(self.look(&mut connection, &mut heart)).await {
                Ok(true) => last_seen = Instant::now(),
                Ok(false) => {
                    self.slot_lost.cancel();
                    return;
                }
                Err(error) => {
                    connection = None;
                    tracing::debug!(error = service::error_chain(&error), "the slot can't be looked at");
                }
            }
            self.pulse.seen(last_seen.elapsed() < self.pulse.patience());
        }
    }

    /// Whether the slot is still held by the session.
    async fn look(
        &self,
        connection: &mut Option<PgConnection>,
        heart: &mut Heart,
    ) -> Result<bool, sqlx::Error> {
        let conn = match connection {
            Some(conn) => conn,
            None => connection.insert(postgres::connect(&self.postgres, "pipeline-relay-monitor").await?),
        };
        let Some(row) = sqlx::query(LOOK).bind(&self.slot).fetch_optional(&mut *conn).await? else {
            return Ok(false);
        };
        self.metrics.lag_bytes.set(row.try_get::<Option<f64>, _>(1)?.unwrap_or(0.0));
        self.metrics.retained_bytes.set(row.try_get::<Option<f64>, _>(2)?.unwrap_or(0.0));
        if row.try_get::<String, _>(0)? != self.application_name {
            return Ok(false);
        }
        if heart.unsent.is_some() && heart.unsent <= catalog::lsn(&row, 3)? {
            heart.unsent = None;
            self.pulse.sent(heart.beats);
        }
        let due = !self.heartbeat_interval.is_zero()
            && heart.last.is_none_or(|last| last.elapsed() >= self.heartbeat_interval);
        // One that waits to be sent keeps the slot moving as well as another would.
        if due && heart.unsent.is_none() {
            let emit = "SELECT pg_logical_emit_message(false, $1, $2)::text";
            let content = self.pulse.content(heart.beats + 1);
            let row = sqlx::query(emit).bind(pulse::PREFIX).bind(content).fetch_one(conn).await?;
            heart.unsent = catalog::lsn(&row, 0)?;
            heart.last = Some(Instant::now());
            heart.beats += 1;
        }
        Ok(true)
    }
}
