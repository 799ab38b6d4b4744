//! Waits within a deadline for a state that the pipeline is to reach.

use std::error::Error;
use std::time::Duration;

use service::error_chain;
use tokio::time::Instant;

/// Pauses between two looks at a state that is waited for.
const PAUSE: Duration = Duration::from_millis(500);

/// Takes a line about what is going on, for people.
pub type Note<'a> = &'a (dyn Fn(&str) + Sync);

/// Returns whether PostgreSQL is out of reach, starting, stopping, or has no connection left.
#[must_use]
pub fn is_postgres_away(error: &sqlx::Error) -> bool {
    match error {
        // The end of a connection within its first bytes is an unexpected answer to sqlx.
        sqlx::Error::Io(_) | sqlx::Error::Protocol(_) => true,
        // Operator intervention ("the database system is starting up") and too many connections.
        sqlx::Error::Database(error) => {
            error.code().is_some_and(|code| code.starts_with("57P") || code == "53300")
        }
        _ => false,
    }
}

/// Looks twice a second until `is_reached` holds of what was seen, and returns that. If `within` passes first it
/// returns what the last look has seen, whatever that is. Looks once at least.
///
/// A look that fails with a transient error is one more reason to look again; `note` is told the first one.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use std::time::Duration;
/// use operate::wait::until_reached;
///
/// let mut counts = [1, 2, 3].into_iter();
/// let look = async || Ok::<_, std::io::Error>(counts.next().unwrap_or(3));
/// let minute = Duration::from_secs(60);
/// let seen = until_reached(minute, &|_| {}, |_| false, |count| *count == 3, look).await;
/// assert_eq!(seen.unwrap(), 3);
/// # });
/// ```
///
/// # Errors
/// Fails with the error of a look if it is not transient, or if no time is left.
pub async fn until_reached<T, E: Error + 'static>(
    within: Duration,
    note: Note<'_>,
    is_transient: impl Fn(&E) -> bool,
    is_reached: impl Fn(&T) -> bool,
    mut look: impl AsyncFnMut() -> Result<T, E>,
) -> Result<T, E> {
    let deadline = Instant::now() + within;
    let mut is_noted = false;
    loop {
        let seen = look().await;
        let is_last = Instant::now() + PAUSE > deadline;
        match seen {
            Ok(state) if is_last || is_reached(&state) => return Ok(state),
            Ok(_) => {}
            Err(error) if is_last || !is_transient(&error) => return Err(error),
            Err(error) => {
                if !is_noted {
                    note(&format!("looking again: {}", error_chain(&error)));
                }
                is_noted = true;
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
        let seen = until_reached(
            within,
            &|_| {},
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
