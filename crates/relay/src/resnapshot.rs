//! `relay resnapshot`: every row once more, after the slot was lost.
//!
//! The next start then is a first start. What the stream missed shows as rows read again with a newer `__lsn`; rows
//! that were deleted while there was no slot do not show, so that their last record stays in the topic.

use events::meta::Op;
use service::{BoxError, Context};
use sqlx::postgres::PgConnection;

use crate::config::Settings;
use crate::preflight;
use crate::progress::{Phase, Progress};
use crate::sink::Sink;
use crate::{postgres, slot};

/// A relay that still works.
#[derive(Debug, thiserror::Error)]
#[error("slot {slot} is held by {holder} (process {pid} of PostgreSQL): stop that relay first")]
pub struct StillHeld {
    slot: String,
    holder: String,
    pid: i32,
}

/// Drops the slot, if there is one, and forgets what was published through it.
///
/// # Errors
/// A relay that still works, or errors of the servers. It can be repeated.
pub async fn run(settings: Settings, _: Context) -> Result<(), BoxError> {
    let config = &settings.relay;
    let mut conn = postgres::connect(&settings.postgres, "pipeline-relay-resnapshot").await?;
    let server = preflight::check(&mut conn, config).await?;
    let mut sink = Sink::connect(&settings.kafka, config)?;
    drop_slot(&mut conn, &config.slot).await?;
    // A relay that comes up in between finds no slot for its position, and stops.
    sink.take_over()?;
    sink.commit(Progress::of(&server, Phase::Creating))?;
    tracing::info!(
        slot = config.slot,
        operation = Op::Read.as_str(),
        "forgotten: the next start publishes every row; rows deleted since the slot was lost are not reported"
    );
    Ok(())
}

async fn drop_slot(conn: &mut PgConnection, name: &str) -> Result<(), BoxError> {
    let Some(state) = slot::find(conn, name).await? else { return Ok(()) };
    if let Some(holder) = state.holder {
        let (slot, pid) = (name.to_owned(), holder.pid);
        return Err(StillHeld { slot, holder: holder.application_name, pid }.into());
    }
    sqlx::query("SELECT pg_drop_replication_slot($1)").bind(name).execute(conn).await?;
    Ok(())
}
