//! Places where a process can be made to die, for the tests of what a crash leaves behind.
//!
//! With `PIPELINE_CRASH_AT=POINT` in its environment, a process ends when it gets [`here`], at once: nothing is
//! unwound, dropped or flushed. `POINT:N` ends it there the Nth time. Without the variable a point costs the look at
//! one cell that stays empty, so that what is tested is what is shipped.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::config::ConfigError;

/// The variable.
const VARIABLE: &str = "PIPELINE_CRASH_AT";

static ARMED: OnceLock<Armed> = OnceLock::new();

/// Where a crash matters: just before and after each step that others can see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CrashPoint {
    /// The fetcher has written a page and its progress, and not committed them.
    FetcherBeforePageCommit,
    /// PostgreSQL has committed the page.
    FetcherAfterPageCommit,
    /// The relay is about to hand a change to Kafka.
    RelayBeforeProduce,
    /// The brokers have the change, in a transaction that is open.
    RelayAfterProduce,
    /// The position is in the transaction, too.
    RelayBeforeCommit,
    /// Kafka has committed; PostgreSQL does not know yet.
    RelayAfterCommit,
    /// PostgreSQL knows, too: the slot's confirmed position has moved past changes.
    RelayAfterFeedback,
    /// The processor has read a batch.
    ProcessorBeforeProduce,
    /// Its results are in the transaction.
    ProcessorBeforeOffsets,
    /// The offsets are in it, too.
    ProcessorBeforeCommit,
    /// Kafka has committed.
    ProcessorAfterCommit,
    /// The sink is about to write a record's rows.
    SinkBeforeWrite,
    /// Cassandra has them.
    SinkAfterWrite,
    /// The sink is about to commit positions.
    SinkBeforeOffsetCommit,
    /// Kafka has them.
    SinkAfterOffsetCommit,
}

impl CrashPoint {
    /// Every point and its name.
    pub const ALL: [(Self, &'static str); 15] = [
        (Self::FetcherBeforePageCommit, "fetcher.before_page_commit"),
        (Self::FetcherAfterPageCommit, "fetcher.after_page_commit"),
        (Self::RelayBeforeProduce, "relay.before_produce"),
        (Self::RelayAfterProduce, "relay.after_produce"),
        (Self::RelayBeforeCommit, "relay.before_commit"),
        (Self::RelayAfterCommit, "relay.after_commit"),
        (Self::RelayAfterFeedback, "relay.after_feedback"),
        (Self::ProcessorBeforeProduce, "processor.before_produce"),
        (Self::ProcessorBeforeOffsets, "processor.before_offsets"),
        (Self::ProcessorBeforeCommit, "processor.before_commit"),
        (Self::ProcessorAfterCommit, "processor.after_commit"),
        (Self::SinkBeforeWrite, "sink.before_write"),
        (Self::SinkAfterWrite, "sink.after_write"),
        (Self::SinkBeforeOffsetCommit, "sink.before_offset_commit"),
        (Self::SinkAfterOffsetCommit, "sink.after_offset_commit"),
    ];
}

#[derive(Debug)]
struct Armed {
    point: CrashPoint,
    name: String,
    /// Visits left until the end.
    left: AtomicU32,
}

/// Ends the process if the environment asks for it at this point.
#[inline]
pub fn here(point: CrashPoint) {
    if let Some(armed) = ARMED.get()
        && armed.point == point
    {
        armed.visited();
    }
}

/// The same after `seen`, which makes others see what the point is about; not done on any other way.
#[inline]
pub fn here_after(point: CrashPoint, seen: impl FnOnce()) {
    if let Some(armed) = ARMED.get()
        && armed.point == point
    {
        if armed.left.load(Ordering::Relaxed) == 1 {
            seen();
        }
        armed.visited();
    }
}

/// Whether the process is to end at this point, sooner or later: for one that has to be waited for.
#[inline]
#[must_use]
pub fn is_armed(point: CrashPoint) -> bool {
    ARMED.get().is_some_and(|armed| armed.point == point)
}

/// Reads the variable.
pub(crate) fn arm() -> Result<(), ConfigError> {
    if let Ok(text) = std::env::var(VARIABLE)
        && !text.is_empty()
    {
        let armed = parse(&text)?;
        tracing::warn!(point = text, "{VARIABLE} is set: this process will end itself there");
        // Fails only if it is armed already.
        let _ = ARMED.set(armed);
    }
    Ok(())
}

fn parse(text: &str) -> Result<Armed, ConfigError> {
    let (name, count) = text.split_once(':').unwrap_or((text, "1"));
    let found = CrashPoint::ALL.into_iter().find(|(_, known)| *known == name);
    match (found, count.parse::<u32>()) {
        (Some((point, _)), Ok(count)) if count > 0 => {
            Ok(Armed { point, name: text.to_owned(), left: AtomicU32::new(count) })
        }
        _ => {
            let names = CrashPoint::ALL.map(|(_, name)| name).join(", ");
            let allowed =
                format!("write POINT or POINT:N, where N counts from 1 and POINT is one of {names}");
            Err(ConfigError::invalid(VARIABLE, text, allowed))
        }
    }
}

impl Armed {
    #[cold]
    fn visited(&self) {
        if self.left.fetch_sub(1, Ordering::Relaxed) == 1 {
            tracing::error!(point = self.name, "ending here, as {VARIABLE} asks");
            std::process::abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_is_named_with_how_often() {
        let armed = parse("relay.after_commit:3").unwrap();
        assert_eq!(armed.point, CrashPoint::RelayAfterCommit);
        assert_eq!(armed.left.load(Ordering::Relaxed), 3);
        assert_eq!(parse("sink.before_write").unwrap().left.load(Ordering::Relaxed), 1);
        for wrong in ["relay", "relay.after_commit:0", "relay.after_commit:x", ""] {
            let error = parse(wrong).unwrap_err().to_string();
            assert!(error.contains(VARIABLE) && error.contains("relay.after_commit"), "{error}");
        }
    }
}
