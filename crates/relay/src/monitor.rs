//! Beside the stream: is the slot still ours, how far behind is it, and a heartbeat into the WAL.
//!
//! A connection that is dead without anybody having noticed looks like an idle stream. PostgreSQL gives the slot
//! free after `session_timeout`, which shows here. The heartbeat makes WAL in this database, so that its slot moves
//! on while only other databases of the cluster are busy.

use std::time::{Duration, Instant};

use service::config::PostgresConfig;
use sqlx::Row as _;
use sqlx::postgres::PgConnection;
use tokio_util::sync::CancellationToken;

use crate::metrics::RelayMetrics;
use crate::postgres;

/// How often the slot is looked at.
const INTERVAL: Duration = Duration::from_secs(2);

/// Bound of one look.
const PATIENCE: Duration = Duration::from_secs(10);

/// Prefix of the logical messages.
const HEARTBEAT: &str = "pipeline.heartbeat";

const LOOK: &str = r"
SELECT coalesce(a.application_name, ''),
       (w.lsn - s.confirmed_flush_lsn)::float8, (w.lsn - s.restart_lsn)::float8
FROM pg_replication_slots s
LEFT JOIN pg_stat_activity a ON a.pid = s.active_pid
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
    /// Between two heartbeats; zero for none.
    pub heartbeat_interval: Duration,
    /// Where the lag is shown.
    pub metrics: RelayMetrics,
    /// Cancelled when another session or none holds the slot.
    pub slot_lost: CancellationToken,
}

impl Monitor {
    /// Watches until it is dropped, or the slot is lost.
    pub async fn run(self) {
        let mut connection = None;
        let mut last_heartbeat: Option<Instant> = None;
        let mut interval = tokio::time::interval(INTERVAL);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            let heartbeat_due = !self.heartbeat_interval.is_zero()
                && last_heartbeat.is_none_or(|last| last.elapsed() >= self.heartbeat_interval);
            // A server that is away ends the stream, which says so.
            match tokio::time::timeout(PATIENCE, self.look(&mut connection, heartbeat_due)).await {
                Ok(Ok(true)) => {
                    if heartbeat_due {
                        last_heartbeat = Some(Instant::now());
                    }
                }
                Ok(Ok(false)) => {
                    self.slot_lost.cancel();
                    return;
                }
                Ok(Err(error)) => {
                    connection = None;
                    tracing::debug!(error = service::error_chain(&error), "the slot can't be looked at");
                }
                Err(_) => connection = None,
            }
        }
    }

    /// Whether the slot is still held by the session.
    async fn look(
        &self,
        connection: &mut Option<PgConnection>,
        heartbeat: bool,
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
        if heartbeat {
            sqlx::query("SELECT pg_logical_emit_message(false, $1, '')")
                .bind(HEARTBEAT)
                .execute(conn)
                .await?;
        }
        Ok(true)
    }
}
