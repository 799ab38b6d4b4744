//! Dead letters: records that could not be processed, kept with their bytes and where they came from.
//!
//! A dead letter has the key, value and headers of the record it stands for, and the headers named here. Redriving
//! it to its source topic is sending key, value and the first headers again, with [`ATTEMPT`] so that one that fails
//! again is known for it.
//!
//! Dead letters are never changed. One that is dealt with is followed, in its own partition, by a resolution: a
//! record without key and value whose headers name it.

use chrono::{SecondsFormat, Utc};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, Headers as _, Message, OwnedHeaders};

/// Topic of the record.
pub const SOURCE_TOPIC: &str = "dlq.source.topic";
/// Its partition.
pub const SOURCE_PARTITION: &str = "dlq.source.partition";
/// Its offset.
pub const SOURCE_OFFSET: &str = "dlq.source.offset";
/// Its timestamp, in milliseconds since the epoch; absent if it had none.
pub const SOURCE_TIMESTAMP: &str = "dlq.source.timestamp";
/// Kind of failure, from the closed set of the service.
pub const ERROR_KIND: &str = "dlq.error.kind";
/// What went wrong, for people.
pub const ERROR_MESSAGE: &str = "dlq.error.message";
/// The service that gave up.
pub const SERVICE: &str = "dlq.service";
/// When it gave up, RFC 3339 in UTC.
pub const TIME: &str = "dlq.time";
/// How many times the record has been given up, from 1.
pub const ATTEMPT: &str = "dlq.attempt";
/// Present if the dead letter has no value because the record's was too large for one.
pub const VALUE_LEFT_OUT: &str = "dlq.value.left_out";
/// `message.max.bytes` of a producer that writes dead letters or sends them again: far above what topics allow by
/// default, so that the topic's own limit decides.
pub const MAX_MESSAGE_BYTES: usize = 32 << 20;

/// Of a resolution: what was done with a dead letter.
pub const RESOLUTION: &str = "dlq.resolution";
/// Of a resolution: offset of that dead letter, in the same partition.
pub const RESOLVES: &str = "dlq.resolves";

/// Longest message that is kept, in bytes: it may quote the record.
const MESSAGE_LIMIT: usize = 1024;

/// The dead-letter topic of a topic.
#[must_use]
pub fn topic(source: &str) -> String {
    format!("{source}.dlq")
}

/// What of its record a dead letter has. The topic may refuse one as large as the record, which its producer has
/// compressed better or sent to a topic that takes more. A letter without its value, and if need be without key and
/// headers, names the record and lets the others go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Kept {
    /// Key, value and headers.
    #[default]
    Everything,
    /// Key and headers.
    NoValue,
    /// Where the record lies.
    Place,
}

impl Kept {
    /// What may be kept where this is too much; `None` if there is nothing less.
    #[must_use]
    pub const fn less(self) -> Option<Self> {
        match self {
            Self::Everything => Some(Self::NoValue),
            Self::NoValue => Some(Self::Place),
            Self::Place => None,
        }
    }

    /// The letter's key.
    #[must_use]
    pub fn key<M: Message>(self, record: &M) -> Option<&[u8]> {
        if self == Self::Place { None } else { record.key() }
    }

    /// The letter's value.
    #[must_use]
    pub fn value<M: Message>(self, record: &M) -> Option<&[u8]> {
        if self == Self::Everything { record.payload() } else { None }
    }
}

/// Whether a record is too large for its topic or its producer.
#[must_use]
pub fn is_too_large(error: &KafkaError) -> bool {
    error.rdkafka_error_code() == Some(RDKafkaErrorCode::MessageSizeTooLarge)
}

/// The headers of the dead letter for `record`.
#[must_use]
pub fn headers<M: Message>(record: &M, service: &str, kind: &str, message: &str) -> OwnedHeaders {
    headers_with(record, service, kind, message, Kept::Everything)
}

/// The same of one that may have less than the record.
#[must_use]
pub fn headers_with<M: Message>(
    record: &M,
    service: &str,
    kind: &str,
    message: &str,
    kept: Kept,
) -> OwnedHeaders {
    let mut headers = OwnedHeaders::new();
    let mut attempt = 1_u32;
    for header in record.headers().into_iter().flat_map(|headers| headers.iter()) {
        if header.key == ATTEMPT {
            attempt = number(header.value).map_or(attempt, |last| last.saturating_add(1));
        } else if kept != Kept::Place && !header.key.starts_with("dlq.") {
            headers = headers.insert(Header { key: header.key, value: header.value });
        }
    }
    let mut end = message.len().min(MESSAGE_LIMIT);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    headers = text(headers, SOURCE_TOPIC, record.topic());
    headers = text(headers, SOURCE_PARTITION, &record.partition().to_string());
    headers = text(headers, SOURCE_OFFSET, &record.offset().to_string());
    if let Some(timestamp) = record.timestamp().to_millis() {
        headers = text(headers, SOURCE_TIMESTAMP, &timestamp.to_string());
    }
    headers = text(headers, ERROR_KIND, kind);
    headers = text(headers, ERROR_MESSAGE, message.get(..end).unwrap_or_default());
    headers = text(headers, SERVICE, service);
    headers = text(headers, TIME, &Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true));
    if kept != Kept::Everything && record.payload().is_some() {
        headers = text(headers, VALUE_LEFT_OUT, "true");
    }
    text(headers, ATTEMPT, &attempt.to_string())
}

/// Headers of the resolution that says what was done with the dead letter at `offset`.
#[must_use]
pub fn resolution(what: &str, offset: i64) -> OwnedHeaders {
    text(text(OwnedHeaders::new(), RESOLUTION, what), RESOLVES, &offset.to_string())
}

/// Offset of the dead letter that `record` resolves; `None` if it is a dead letter itself.
#[must_use]
pub fn resolves<M: Message>(record: &M) -> Option<i64> {
    header(record, RESOLVES)?.parse().ok()
}

/// Partition and offset of the record that a dead letter stands for; `None` if it is no dead letter.
#[must_use]
pub fn source<M: Message>(letter: &M) -> Option<(i32, i64)> {
    let partition = header(letter, SOURCE_PARTITION)?.parse().ok()?;
    Some((partition, header(letter, SOURCE_OFFSET)?.parse().ok()?))
}

/// Text of the last header of this name.
#[must_use]
pub fn header<'r, M: Message>(record: &'r M, key: &str) -> Option<&'r str> {
    let headers = record.headers()?;
    let found = headers.iter().filter(|header| header.key == key).filter_map(|header| header.value).last()?;
    std::str::from_utf8(found).ok()
}

fn text(headers: OwnedHeaders, key: &str, value: &str) -> OwnedHeaders {
    headers.insert(Header { key, value: Some(value) })
}

fn number(value: Option<&[u8]>) -> Option<u32> {
    std::str::from_utf8(value?).ok()?.parse().ok()
}
