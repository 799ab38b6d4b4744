use std::fmt;

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::postgres::PgRow;
use sqlx::{ConnectOptions as _, FromRow, Row as _};

use crate::config::Settings;

/// Describes the replication slot.
#[derive(Debug)]
pub(super) struct Slot {
    /// Says whether a reader is connected.
    pub(super) active: bool,
    /// Counts the bytes of WAL between the confirmed position and the end.
    pub(super) lag_bytes: Option<i64>,
}

/// Describes the run that was asked for last. As text it is a line for people.
#[derive(Debug, Serialize)]
pub struct LatestRun {
    /// The run's id.
    pub run_id: String,
    /// Says how far it is, such as `succeeded`.
    pub status: String,
    /// Counts the profiles that were asked for.
    pub requested: i64,
    /// Counts those that are in PostgreSQL.
    pub stored: i64,
    /// Counts those that break a rule.
    pub rejected: i64,
    /// Says whether they come from the simulator.
    pub simulated: bool,
    /// When it was asked for.
    pub created_at: DateTime<Utc>,
    /// When it ended; `None` until then.
    pub finished_at: Option<DateTime<Utc>>,
    /// Says why it failed.
    pub reason: Option<String>,
}

impl FromRow<'_, PgRow> for LatestRun {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            run_id: row.try_get("run_id")?,
            status: row.try_get("status")?,
            requested: row.try_get("requested")?,
            stored: row.try_get("stored")?,
            rejected: row.try_get("rejected")?,
            simulated: row.try_get("simulated")?,
            created_at: row.try_get("created_at")?,
            finished_at: row.try_get("finished_at")?,
            reason: row.try_get("reason")?,
        })
    }
}

impl fmt::Display for LatestRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let source = if self.simulated { "simulated" } else { "live" };
        write!(
            f,
            "latest run: {} is {}, {} of {} {source} profiles stored, {} rejected",
            self.run_id, self.status, self.stored, self.requested, self.rejected
        )?;
        self.reason.as_ref().map_or(Ok(()), |reason| write!(f, " ({reason})"))
    }
}

/// Has what PostgreSQL knows: rows, the slot, the latest run.
#[derive(Debug)]
pub(super) struct Database {
    pub(super) counts: Vec<(String, i64)>,
    pub(super) slot: Option<Slot>,
    pub(super) latest_run: Option<LatestRun>,
}

impl Database {
    pub(super) async fn ask(settings: &Settings) -> Result<Self, sqlx::Error> {
        let mut connection = settings.postgres_options().connect().await?;
        let count = "SELECT (SELECT count(*) FROM users), (SELECT count(*) FROM fetch_rejects), \
                     (SELECT count(*) FROM fetch_runs)";
        let (users, rejects, runs): (i64, i64, i64) =
            sqlx::query_as(count).fetch_one(&mut connection).await?;
        let slot = "SELECT active, pg_wal_lsn_diff(pg_current_wal_lsn(), confirmed_flush_lsn)::bigint AS lag_bytes \
                    FROM pg_replication_slots WHERE slot_name = $1 AND database = current_database()";
        let slot: Option<(bool, Option<i64>)> =
            sqlx::query_as(slot).bind(&settings.relay.slot).fetch_optional(&mut connection).await?;
        let slot = slot.map(|(active, lag_bytes)| Slot { active, lag_bytes });
        let latest = "SELECT run_id, status, requested, stored, rejected, simulated, created_at, finished_at, reason \
                      FROM fetch_runs ORDER BY created_at DESC LIMIT 1";
        let latest_run = sqlx::query_as(latest).fetch_optional(&mut connection).await?;
        let counts =
            [("postgres.users", users), ("postgres.fetch_rejects", rejects), ("postgres.fetch_runs", runs)];
        let counts = counts.map(|(what, count)| (what.to_owned(), count)).into();
        Ok(Self { counts, slot, latest_run })
    }
}
