//! One run from the page it stands at to its end.
//!
//! One task fetches and parses the next page while this one stores the last: at the most two pages are in memory.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::client::{Deadline, Fetcher, PageError};
use crate::engine::Engine;
use crate::held::{GiveUp, Held, Interruption, Look};
use crate::metrics;
use crate::page::{Page, PageRequest};
use crate::runs::{Run, Status};
use crate::session::Session;
use crate::store::Stored;

/// Between two lines of the log about a run's progress.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(10);

/// How work on a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// All pages are stored.
    Succeeded,
    /// Given up; the reason is in its row.
    Failed,
    /// The process has to end; the run is still `running` and will be taken up again.
    Stopped,
    /// Another fetcher works on it, or somebody changed its row.
    Lost,
}

/// Works on a run that `session` has taken up. Gives the session back unless its connection is unusable.
pub async fn execute(engine: &Engine, session: Session, run: &Run) -> (Option<Session>, End) {
    tracing::info!(
        run_id = run.run_id,
        users = run.requested,
        pages = run.pages(),
        next_page = run.next_page,
        attempt = run.attempts,
        "run taken up"
    );
    let started = Instant::now();
    let deadline = Deadline::new(engine.run_deadline);
    let mut held = Held::new(engine, run, session, deadline.clone());
    let end = match pages(engine, &mut held, deadline).await {
        Ok(end) => end,
        Err(Interruption::Stopped) => End::Stopped,
        Err(Interruption::Lost) => End::Lost,
        Err(Interruption::Refused(error)) => {
            give_up(&mut held, &format!("PostgreSQL refused: {error}")).await.unwrap_or(End::Lost)
        }
    };
    match end {
        End::Succeeded => metrics::finished(Status::Succeeded),
        End::Failed => metrics::finished(Status::Failed),
        End::Stopped | End::Lost => {}
    }
    tracing::info!(run_id = run.run_id, ?end, seconds = started.elapsed().as_secs_f32(), "run left");
    (held.release().await, end)
}

async fn pages(engine: &Engine, held: &mut Held<'_>, deadline: Deadline) -> Result<End, Interruption> {
    let run = held.run;
    let (sender, mut receiver) = mpsc::channel(1);
    // Aborted when it is dropped with this future.
    let mut fetching = JoinSet::new();
    fetching.spawn(fetch(Arc::clone(&engine.fetcher), run.clone(), deadline, sender));
    let mut reported = Instant::now();
    loop {
        let next = tokio::select! {
            biased;
            () = engine.shutdown.cancelled() => return Err(Interruption::Stopped),
            next = receiver.recv() => next,
        };
        let page = match next {
            Some(Ok(page)) => page,
            Some(Err(error)) => return give_up(held, &service::error_chain(&error)).await,
            None => return give_up(held, "the task that fetches its pages ended unexpectedly").await,
        };
        store(held, &page).await?;
        if page.number == run.pages() {
            return Ok(End::Succeeded);
        }
        if reported.elapsed() >= PROGRESS_INTERVAL {
            reported = Instant::now();
            tracing::info!(run_id = run.run_id, page = page.number, pages = run.pages(), "run goes on");
        }
    }
}

async fn store(held: &mut Held<'_>, page: &Page) -> Result<(), Interruption> {
    match held.persist(page).await? {
        Stored::Page { .. } => {
            for reject in &page.rejects {
                metrics::rejected(reject.reason);
            }
            Ok(())
        }
        Stored::Elsewhere => {
            let now = held.persist(&Look).await?;
            // Committed by the try before this one, whose answer was lost with its connection.
            let committed =
                now.is_some_and(|now| now.attempts == held.run.attempts && now.next_page == page.number + 1);
            if committed { Ok(()) } else { Err(Interruption::Lost) }
        }
    }
}

async fn give_up(held: &mut Held<'_>, reason: &str) -> Result<End, Interruption> {
    tracing::error!(run_id = held.run.run_id, reason, "run failed");
    held.persist(&GiveUp(reason)).await?;
    Ok(End::Failed)
}

/// Fetches one page after the other; begins one only when the last has been taken from the channel.
async fn fetch(
    fetcher: Arc<Fetcher>,
    run: Run,
    deadline: Deadline,
    pages: mpsc::Sender<Result<Page, PageError>>,
) {
    let mut simulated = run.simulated;
    for number in run.next_page..=run.pages() {
        let Ok(permit) = pages.reserve().await else { return };
        let page = fetcher.page(&Arc::new(PageRequest::of(&run, number)), &deadline).await;
        if let Ok(page) = &page
            && page.simulated
            && !std::mem::replace(&mut simulated, true)
        {
            tracing::info!(
                run_id = run.run_id,
                "the users of this run come from a simulator, not from the real API"
            );
        }
        let failed = page.is_err();
        permit.send(page);
        if failed {
            return;
        }
    }
}
