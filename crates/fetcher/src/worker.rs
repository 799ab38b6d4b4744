//! Who takes up runs: loops that ask the table for the next one, and one that watches the table.

use std::sync::Arc;
use std::time::Duration;

use service::BoxError;
use service::retry::Backoff;
use tokio::sync::Notify;

use crate::database::DatabaseError;
use crate::engine::Engine;
use crate::execute::{End, execute};
use crate::session::Session;
use crate::{metrics, runs};

/// How often the gauges of the table are brought up to date.
const WATCH_INTERVAL: Duration = Duration::from_secs(5);

/// Works on one run at a time until the shutdown. `wake` is told of new runs; runs of fetchers that died, and what
/// `wake` missed, are found every `poll_interval`.
///
/// # Errors
/// None: what goes wrong with a run ends in its row, and PostgreSQL is waited for.
pub async fn work(engine: Arc<Engine>, wake: Arc<Notify>, poll_interval: Duration) -> Result<(), BoxError> {
    let mut backoff = Backoff::default();
    let mut kept: Option<Session> = None;
    loop {
        let session = match kept.take() {
            Some(session) => Some(session),
            None => engine.open().await,
        };
        let Some(mut session) = session else { return Ok(()) };
        let next = tokio::select! {
            () = engine.shutdown.cancelled() => Ok(None),
            next = session.take_up_next() => next,
        };
        match next {
            Ok(Some(run)) => {
                backoff.reset();
                let (session, end) = execute(&engine, session, &run).await;
                kept = session;
                if end == End::Lost {
                    // Whatever took it away is still there; asking again at once would only repeat it.
                    let _ = engine.pause(poll_interval).await;
                }
            }
            Ok(None) => {
                backoff.reset();
                kept = Some(session);
                tokio::select! {
                    () = engine.shutdown.cancelled() => {}
                    () = wake.notified() => {}
                    () = tokio::time::sleep(poll_interval) => {}
                }
            }
            Err(error) => {
                engine.readiness.failed(&error);
                // At the shutdown the loop ends below.
                let _ = engine.pause(backoff.next_delay()).await;
            }
        }
        if engine.shutdown.is_cancelled() {
            if let Some(session) = kept {
                session.close().await;
            }
            return Ok(());
        }
    }
}

/// Keeps readiness and the gauge of runs up to date, also while all workers are busy or idle.
///
/// # Errors
/// None.
pub async fn watch(engine: Arc<Engine>) -> Result<(), BoxError> {
    loop {
        let Some(session) = engine.open().await else { return Ok(()) };
        let watched = tokio::select! {
            () = engine.shutdown.cancelled() => return Ok(()),
            watched = gauges(session, &engine) => watched,
        };
        if let Err(error) = watched {
            engine.readiness.failed(&error);
        }
    }
}

async fn gauges(mut session: Session, engine: &Engine) -> Result<(), DatabaseError> {
    loop {
        let counts =
            tokio::time::timeout(WATCH_INTERVAL, runs::count_by_status(&mut session.connection)).await;
        for (status, count) in counts.unwrap_or(Err(DatabaseError::Timeout(WATCH_INTERVAL)))? {
            metrics::runs(status, count);
        }
        engine.readiness.reached();
        tokio::time::sleep(WATCH_INTERVAL).await;
    }
}
