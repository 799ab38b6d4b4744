//! librdkafka's log lines, kept from flooding ours.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{DeliveryResult, NoCustomPartitioner, ProducerContext};

use crate::dead_letter;

/// Passes at most one line a second on: a broker that is away makes librdkafka write hundreds.
#[derive(Debug, Default)]
pub struct LoggedContext {
    throttle: Throttle,
    refused: Mutex<Vec<Refused>>,
    undelivered: Mutex<Option<RDKafkaErrorCode>>,
}

/// A dead letter that its topic finds too large.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    /// Partition and offset of the record that it stands for.
    pub source: (i32, i64),
    /// Bytes of its value.
    pub bytes: usize,
}

/// Refused letters that are kept until somebody asks for them; the others are refused again.
const MAX_REFUSED: usize = 10_000;

/// Lets one event through every second and counts the rest.
#[derive(Debug, Default)]
pub struct Throttle {
    state: Mutex<(Option<Instant>, u64)>,
}

impl Throttle {
    /// `Some(n)` if this event may pass, n events having been held back since the last that did.
    pub fn pass(&self) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (last, held) = &mut *state;
        if last.is_some_and(|last| last.elapsed() < Duration::from_secs(1)) {
            *held += 1;
            return None;
        }
        *last = Some(Instant::now());
        Some(std::mem::take(held))
    }
}

impl LoggedContext {
    /// What was refused since the last look.
    pub(crate) fn take_refused(&self) -> Vec<Refused> {
        std::mem::take(&mut *self.refused())
    }

    /// Why the first record that was not delivered was not, if there is one.
    pub(crate) fn undelivered(&self) -> Option<RDKafkaErrorCode> {
        *self.undelivered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refused(&self) -> MutexGuard<'_, Vec<Refused>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn forward(&self, level: RDKafkaLogLevel, text: &str) {
        let Some(held_back) = self.throttle.pass() else { return };
        match level {
            RDKafkaLogLevel::Emerg
            | RDKafkaLogLevel::Alert
            | RDKafkaLogLevel::Critical
            | RDKafkaLogLevel::Error
            | RDKafkaLogLevel::Warning => tracing::warn!(held_back, "librdkafka: {text}"),
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => {
                tracing::info!(held_back, "librdkafka: {text}")
            }
            RDKafkaLogLevel::Debug => tracing::debug!(held_back, "librdkafka: {text}"),
        }
    }
}

impl ClientContext for LoggedContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.forward(level, &format!("{facility} {message}"));
    }

    fn error(&self, error: KafkaError, reason: &str) {
        // Not an error: a consumer that asked to be told has read everything.
        if matches!(error, KafkaError::PartitionEOF(_))
            || error.rdkafka_error_code() == Some(RDKafkaErrorCode::PartitionEOF)
        {
            return;
        }
        self.forward(RDKafkaLogLevel::Warning, &format!("{error}: {reason}"));
    }
}

impl ConsumerContext for LoggedContext {}

impl ProducerContext<NoCustomPartitioner> for LoggedContext {
    type DeliveryOpaque = ();

    // A record that can't be delivered fails its transaction, and the commit reports it; but not which one it was.
    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let Err((error, message)) = result else { return };
        if let Some(code) = error.rdkafka_error_code() {
            self.undelivered.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(code);
        }
        if dead_letter::is_too_large(error)
            && let Some(source) = dead_letter::source(message)
        {
            let mut refused = self.refused();
            if refused.len() < MAX_REFUSED {
                refused.push(Refused { source, bytes: message.payload_len() });
            }
        }
    }
}
