//! The replication slot: making it, and gaining it from another relay.

use std::sync::Arc;
use std::time::Duration;

use pgwire_replication::{Lsn, PgWireError, ReplicationClient, ReplicationConfig};
use service::health::Component;
use sqlx::Row as _;
use sqlx::postgres::PgConnection;
use tokio_util::sync::CancellationToken;

use crate::catalog;
use crate::error::RelayError;
use crate::postgres::{PATIENCE, within};
use crate::preflight::Unusable;

/// How often a standby looks whether the slot is free.
const STANDBY_INTERVAL: Duration = Duration::from_millis(500);

/// `object_in_use`: another session has the slot.
const IN_USE: &str = "SQLSTATE 55006";
/// `undefined_object`: the slot was dropped since it was looked up.
const UNDEFINED: &str = "SQLSTATE 42704";
/// `duplicate_object`: another relay made the slot first.
const DUPLICATE: &str = "42710";
/// `configuration_limit_exceeded`: no room for another slot.
const LIMIT: &str = "53400";

/// A slot as `pg_replication_slots` shows it.
#[derive(Debug, Clone)]
pub struct SlotState {
    /// Decoding plugin; empty for a physical slot.
    pub plugin: String,
    /// Database; empty for a physical slot.
    pub database: String,
    /// Who streams it.
    pub holder: Option<Holder>,
    /// Changes of transactions that commit from here on are streamed.
    pub confirmed: Lsn,
    /// The oldest WAL that the slot may need.
    pub restart: Lsn,
    /// Why it can't be used any more, if so.
    pub invalid: Option<String>,
}

/// The session that streams a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Process of the server.
    pub pid: i32,
    /// Name that the session gave itself.
    pub application_name: String,
}

const SLOT: &str = r"
SELECT coalesce(s.plugin, '')::text, coalesce(s.database, '')::text, s.active_pid,
       coalesce(a.application_name, ''), s.confirmed_flush_lsn::text, s.restart_lsn::text,
       CASE WHEN s.wal_status = 'lost' OR to_jsonb(s) ->> 'invalidation_reason' IS NOT NULL
            THEN coalesce(to_jsonb(s) ->> 'invalidation_reason', 'its WAL was removed') END
FROM pg_replication_slots s LEFT JOIN pg_stat_activity a ON a.pid = s.active_pid
WHERE s.slot_name = $1";

/// Looks the slot up.
///
/// # Errors
/// sqlx's.
pub async fn find(conn: &mut PgConnection, slot: &str) -> Result<Option<SlotState>, sqlx::Error> {
    let Some(row) = within(sqlx::query(SLOT).bind(slot).fetch_optional(conn)).await? else {
        return Ok(None);
    };
    let holder = match row.try_get(2)? {
        Some(pid) => Some(Holder { pid, application_name: row.try_get(3)? }),
        None => None,
    };
    Ok(Some(SlotState {
        plugin: row.try_get(0)?,
        database: row.try_get(1)?,
        holder,
        confirmed: catalog::lsn(&row, 4)?.unwrap_or_default(),
        restart: catalog::lsn(&row, 5)?.unwrap_or_default(),
        invalid: row.try_get(6)?,
    }))
}

/// What became of gaining the slot.
pub enum Gained {
    /// It is held; the stream begins at its confirmed position.
    Held(Box<ReplicationClient>, SlotState),
    /// There is no such slot.
    Missing,
    /// The shutdown came first.
    Stopped,
}

/// Waits until no other session has the slot, and takes it.
///
/// # Errors
/// A slot that can't be used, or PostgreSQL's errors.
pub async fn gain(
    conn: &mut PgConnection,
    config: &ReplicationConfig,
    component: &Component,
    shutdown: &CancellationToken,
) -> Result<Gained, RelayError> {
    let slot = &config.slot;
    while !shutdown.is_cancelled() {
        let Some(state) = find(conn, slot).await? else {
            return Ok(Gained::Missing);
        };
        check(slot, &state, config)?;
        if let Some(holder) = &state.holder {
            component.waiting(format!(
                "standby: slot {slot} is held by {} (process {} of PostgreSQL)",
                holder.application_name, holder.pid
            ));
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = tokio::time::sleep(STANDBY_INTERVAL) => {}
            }
            continue;
        }
        let mut client = ReplicationClient::connect(config.clone()).await?;
        let started = tokio::time::timeout(PATIENCE, client.wait_started()).await;
        match started.unwrap_or_else(|_| Err(PgWireError::Io(Arc::new(std::io::ErrorKind::TimedOut.into()))))
        {
            Ok(()) => {
                // Read again: its last holder may have confirmed more since.
                let state = find(conn, slot).await?.unwrap_or(state);
                return Ok(Gained::Held(Box::new(client), state));
            }
            Err(PgWireError::Server(message)) if message.contains(IN_USE) => {
                tokio::time::sleep(STANDBY_INTERVAL).await;
            }
            Err(PgWireError::Server(message)) if message.contains(UNDEFINED) => return Ok(Gained::Missing),
            Err(error) => {
                // One that is still about to begin would hold the slot, and nobody would read it.
                client.abort();
                return Err(error.into());
            }
        }
    }
    Ok(Gained::Stopped)
}

fn check(slot: &str, state: &SlotState, config: &ReplicationConfig) -> Result<(), Unusable> {
    if state.plugin != "pgoutput" || state.database != config.database {
        return Err(Unusable::OtherSlot {
            slot: slot.to_owned(),
            found: if state.plugin.is_empty() {
                "a physical slot".to_owned()
            } else {
                format!("one of {} in database {}", state.plugin, state.database)
            },
            wanted: config.database.clone(),
        });
    }
    match &state.invalid {
        None => Ok(()),
        Some(reason) => Err(Unusable::Invalidated {
            slot: slot.to_owned(),
            reason: reason.clone(),
            confirmed: state.confirmed,
        }),
    }
}

/// Makes the slot, or finds that another relay just did. PostgreSQL waits for the transactions that are open now.
///
/// # Errors
/// No room for another slot, or PostgreSQL's errors.
pub async fn create(conn: &mut PgConnection, slot: &str) -> Result<(), RelayError> {
    let created = sqlx::query("SELECT lsn::text FROM pg_create_logical_replication_slot($1, 'pgoutput')")
        .bind(slot)
        .fetch_one(&mut *conn)
        .await;
    match created {
        Ok(row) => {
            tracing::info!(slot, lsn = row.try_get::<String, _>(0)?, "slot made");
            Ok(())
        }
        Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some(DUPLICATE) => Ok(()),
        Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some(LIMIT) => {
            let max = sqlx::query_scalar("SELECT current_setting('max_replication_slots')::bigint")
                .fetch_one(conn)
                .await?;
            Err(Unusable::SlotsFull { max }.into())
        }
        Err(error) => Err(error.into()),
    }
}

const WORKING: &str =
    "SELECT coalesce(bool_or(state = 'active' AND wait_event IS DISTINCT FROM 'ClientWrite'), false)
FROM pg_stat_activity WHERE pid = $1";

/// Whether a session is at work: neither idle nor gone, nor stuck in telling us something that does not arrive. What
/// may rightly take long is looked at so, where a bound would break it off.
///
/// # Errors
/// sqlx's.
pub async fn is_working(conn: &mut PgConnection, pid: i32) -> Result<bool, sqlx::Error> {
    within(sqlx::query_scalar(WORKING).bind(pid).fetch_one(conn)).await
}

/// The process of a session.
///
/// # Errors
/// sqlx's.
pub async fn process(conn: &mut PgConnection) -> Result<i32, sqlx::Error> {
    within(sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(conn)).await
}

/// The oldest transaction that is open, for a person to find it.
const OLDEST: &str = r"
SELECT format('process %s (%s) of %s, open since %s', pid, application_name, usename,
              date_trunc('second', xact_start))
FROM pg_stat_activity
WHERE pid <> pg_backend_pid() AND (backend_xid IS NOT NULL OR backend_xmin IS NOT NULL) AND backend_type = 'client backend'
ORDER BY xact_start LIMIT 1";

/// Describes the oldest open transaction that others may have to wait for.
///
/// # Errors
/// sqlx's.
pub async fn oldest_transaction(conn: &mut PgConnection) -> Result<String, sqlx::Error> {
    let found: Option<String> = within(sqlx::query_scalar(OLDEST).fetch_optional(conn)).await?;
    Ok(found.unwrap_or_else(|| "a prepared transaction (pg_prepared_xacts)".to_owned()))
}
