//! Waits within a deadline for servers that do not answer yet.

use std::error::Error;
use std::time::Duration;

use command_line::Output;
use service::error_chain;
use service::retry::Backoff;
use tokio::time::Instant;

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
