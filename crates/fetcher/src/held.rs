//! A run that this process works on, and the connection that holds it.
//!
//! Whatever is to be done in the database for the run is done here: when PostgreSQL goes away it is waited for, the
//! run's lock is taken again, and the step is repeated, unless another fetcher has taken the run up since.

use std::future::Future;
use std::time::{Duration, Instant};

use service::retry::Backoff;

use crate::client::Deadline;
use crate::database::{DatabaseError, Policy};
use crate::engine::Engine;
use crate::metrics;
use crate::page::Page;
use crate::runs::{self, Run};
use crate::session::Session;
use crate::store::{self, Stored};

/// How long a step may go on after the shutdown began.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(5);

/// Why nothing more can be done for a run now.
#[derive(Debug)]
pub(crate) enum Interruption {
    /// The process has to end.
    Stopped,
    /// The run is another fetcher's, or its row has changed.
    Lost,
    /// PostgreSQL refuses what would be repeated in vain.
    Refused(DatabaseError),
}

/// Something to do in the database that may be repeated.
pub(crate) trait Step: Sync {
    /// What comes of it.
    type Output;

    /// Does it once.
    fn apply(
        &self,
        session: &mut Session,
        run: &Run,
    ) -> impl Future<Output = Result<Self::Output, DatabaseError>> + Send;
}

/// Stores a page.
impl Step for Page {
    type Output = Stored;

    async fn apply(&self, session: &mut Session, run: &Run) -> Result<Stored, DatabaseError> {
        let started = Instant::now();
        let outcome = store::page(&mut session.connection, run, self).await?;
        metrics::stored(outcome, started.elapsed());
        Ok(outcome)
    }
}

/// Reads the run's row.
pub(crate) struct Look;

impl Step for Look {
    type Output = Option<Run>;

    async fn apply(&self, session: &mut Session, run: &Run) -> Result<Option<Run>, DatabaseError> {
        runs::get(&mut session.connection, &run.run_id).await
    }
}

/// Marks the run as failed, with the reason.
pub(crate) struct GiveUp<'a>(pub(crate) &'a str);

impl Step for GiveUp<'_> {
    type Output = ();

    async fn apply(&self, session: &mut Session, run: &Run) -> Result<(), DatabaseError> {
        runs::fail(&mut session.connection, run, self.0).await
    }
}

/// A run and its session, as long as there is one.
pub(crate) struct Held<'a> {
    engine: &'a Engine,
    /// As it was when it was taken up.
    pub(crate) run: &'a Run,
    session: Option<Session>,
    deadline: Deadline,
}

impl<'a> Held<'a> {
    /// `session` has taken up `run`; outages of PostgreSQL move `deadline`.
    pub(crate) const fn new(engine: &'a Engine, run: &'a Run, session: Session, deadline: Deadline) -> Self {
        Self { engine, run, session: Some(session), deadline }
    }

    /// Does a step, connecting again as often as it takes.
    pub(crate) async fn persist<S: Step>(&mut self, step: &S) -> Result<S::Output, Interruption> {
        let engine = self.engine;
        let mut backoff = Backoff::default();
        let mut away: Option<Instant> = None;
        loop {
            let mut session = match self.session.take() {
                Some(session) => session,
                None => self.reopen().await?,
            };
            let limited = tokio::time::timeout(engine.store_timeout, step.apply(&mut session, self.run));
            let outcome = tokio::select! {
                outcome = limited => outcome.unwrap_or(Err(DatabaseError::Timeout(engine.store_timeout))),
                () = grace(engine) => return Err(Interruption::Stopped),
            };
            let error = match outcome {
                Ok(output) => {
                    self.session = Some(session);
                    if let Some(since) = away {
                        engine.readiness.reached();
                        self.deadline.extend(since.elapsed());
                    }
                    return Ok(output);
                }
                Err(error) => error,
            };
            // In whatever state it is; PostgreSQL rolls back.
            drop(session);
            match error.kind().policy() {
                Policy::Fail => return Err(Interruption::Refused(error)),
                Policy::Reconnect => engine.readiness.failed(&error),
            }
            away.get_or_insert_with(Instant::now);
            engine.pause(backoff.next_delay()).await.ok_or(Interruption::Stopped)?;
        }
    }

    /// A new connection that has the run's lock again.
    async fn reopen(&self) -> Result<Session, Interruption> {
        let engine = self.engine;
        let mut backoff = Backoff::default();
        loop {
            let mut session = engine.open().await.ok_or(Interruption::Stopped)?;
            match self.reclaim(&mut session).await {
                Ok(Some(true)) => return Ok(session),
                Ok(Some(false)) => return Err(Interruption::Lost),
                // The server has not noticed yet that the old connection is gone.
                Ok(None) => {}
                Err(error) => match error.kind().policy() {
                    Policy::Fail => return Err(Interruption::Refused(error)),
                    Policy::Reconnect => engine.readiness.failed(&error),
                },
            }
            engine.pause(backoff.next_delay()).await.ok_or(Interruption::Stopped)?;
        }
    }

    /// Whether the run is still this fetcher's; `None` if its lock is taken.
    async fn reclaim(&self, session: &mut Session) -> Result<Option<bool>, DatabaseError> {
        let locked = session.try_lock(&self.run.run_id).await?;
        let now = runs::get(&mut session.connection, &self.run.run_id).await?;
        let ours = now.is_some_and(|now| now.attempts == self.run.attempts);
        Ok(if locked || !ours { Some(ours) } else { None })
    }

    /// Lets go of the run; gives the session back if it can be used.
    pub(crate) async fn release(self) -> Option<Session> {
        let mut session = self.session?;
        if let Err(error) = session.unlock(&self.run.run_id).await {
            tracing::debug!(%error, "the run's lock ends with its connection");
            return None;
        }
        Some(session)
    }
}

/// Ends some time after the shutdown began.
async fn grace(engine: &Engine) {
    engine.shutdown.cancelled().await;
    tokio::time::sleep(SHUTDOWN_GRACE).await;
}
