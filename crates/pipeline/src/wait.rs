//! Waiting within a deadline: for servers that do not answer yet, and for a state that they are to reach.

use std::error::Error;
use std::time::Duration;

use service::error_chain;
use service::retry::Backoff;
use tokio::time::Instant;

use output::Output;

/// Between two looks at a state that is waited for.
const PAUSE: Duration = Duration::from_millis(500);

/// A server did not answer in time.
#[derive(Debug, thiserror::Error)]
#[error("{what} did not answer within {} s (is it running, and does the configuration name its address?)", within.as_secs())]
pub(crate) struct Overdue<E: Error + 'static> {
    what: String,
    within: Duration,
    source: E,
}

/// Why waiting ended without a result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WaitError<E: Error + 'static> {
    /// The deadline came first.
    #[error(transparent)]
    Overdue(Overdue<E>),
    /// Another try would not help.
    #[error(transparent)]
    Permanent(E),
}

/// Tries until `operation` succeeds, fails for good, or `within` is over. Says once for what it waits.
pub(crate) async fn until<T, E: Error + 'static>(
    what: &str,
    within: Duration,
    output: &Output,
    is_transient: impl Fn(&E) -> bool,
    mut operation: impl AsyncFnMut() -> Result<T, E>,
) -> Result<T, WaitError<E>> {
    let deadline = Instant::now() + within;
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
    loop {
        let error = match operation().await {
            Ok(value) => return Ok(value),
            Err(error) if !is_transient(&error) => return Err(WaitError::Permanent(error)),
            Err(error) => error,
        };
        if backoff.attempts() == 0 {
            output.note(format_args!("waiting for {what}: {}", error_chain(&error)));
        }
        let delay = backoff.next_delay();
        if Instant::now() + delay > deadline {
            return Err(WaitError::Overdue(Overdue { what: what.to_owned(), within, source: error }));
        }
        tokio::time::sleep(delay).await;
    }
}

/// Whether PostgreSQL is out of reach, starting, stopping, or has no connection left.
pub(crate) fn is_postgres_away(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) => true,
        // Operator intervention ("the database system is starting up") and too many connections.
        sqlx::Error::Database(error) => {
            error.code().is_some_and(|code| code.starts_with("57P") || code == "53300")
        }
        _ => false,
    }
}

/// Looks until `is_reached` holds of what was seen, or `within` is over: then the last look counts, whatever it saw.
/// A look that fails for now is one more reason to look again; `output` says so once.
pub(crate) async fn until_reached<T, E: Error + 'static>(
    within: Duration,
    output: &Output,
    is_transient: impl Fn(&E) -> bool,
    is_reached: impl Fn(&T) -> bool,
    mut look: impl AsyncFnMut() -> Result<T, E>,
) -> Result<T, E> {
    let deadline = Instant::now() + within;
    let mut failures = 0;
    loop {
        let seen = look().await;
        let is_last = Instant::now() + PAUSE > deadline;
        match seen {
            Ok(state) if is_last || is_reached(&state) => return Ok(state),
            Ok(_) => {}
            Err(error) if is_last || !is_transient(&error) => return Err(error),
            Err(error) => {
                if failures == 0 {
                    output.note(format_args!("looking again: {}", error_chain(&error)));
                }
                failures += 1;
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    /// Looks at what is scripted, then always at 9; how often it looked, and the result.
    async fn look_at(
        within: Duration,
        script: &[Result<u32, io::ErrorKind>],
    ) -> (usize, Result<u32, String>) {
        let mut looks = 0;
        let transient = |error: &io::Error| error.kind() == io::ErrorKind::TimedOut;
        let output = Output::silent();
        let seen = until_reached(
            within,
            &output,
            transient,
            |state| *state == 9,
            async || {
                looks += 1;
                script.get(looks - 1).copied().unwrap_or(Ok(9)).map_err(io::Error::from)
            },
        );
        let seen = seen.await.map_err(|error| error.kind().to_string());
        (looks, seen)
    }

    #[tokio::test]
    async fn a_failure_that_passes_is_waited_out() {
        let late = Err(io::ErrorKind::TimedOut);
        let minute = Duration::from_secs(60);
        assert_eq!(look_at(minute, &[late, Ok(1)]).await, (3, Ok(9)));
    }

    #[tokio::test]
    async fn one_that_does_not_pass_ends_the_wait_at_once() {
        let refused = Err(io::ErrorKind::PermissionDenied);
        let (looks, seen) = look_at(Duration::from_secs(60), &[Ok(1), refused]).await;
        assert_eq!((looks, seen.is_err()), (2, true));
    }

    #[tokio::test]
    async fn the_last_look_counts() {
        let (looks, seen) = look_at(Duration::ZERO, &[Err(io::ErrorKind::TimedOut)]).await;
        assert_eq!((looks, seen.is_err()), (1, true));
        assert_eq!(look_at(Duration::ZERO, &[Ok(1)]).await, (1, Ok(1)));
    }
}
