//! A dead letter, and which of them are meant.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use kafka::dead_letter;
use rdkafka::Message;
use rdkafka::message::Headers as _;

/// Where a record is in its topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Position {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
}

impl Position {
    pub(crate) fn of<M: Message>(record: &M) -> Self {
        Self { partition: record.partition(), offset: record.offset() }
    }
}

/// Name of a dead letter: `TOPIC/PARTITION/OFFSET`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    pub(super) topic: String,
    pub(super) position: Position,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.topic, self.position.partition, self.position.offset)
    }
}

impl FromStr for Name {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = || {
            let (rest, offset) = text.rsplit_once('/')?;
            let (topic, partition) = rest.rsplit_once('/')?;
            let position = Position { partition: partition.parse().ok()?, offset: offset.parse().ok()? };
            (!topic.is_empty()).then(|| Self { topic: topic.to_owned(), position })
        };
        parsed().ok_or_else(|| {
            "a dead letter is named TOPIC/PARTITION/OFFSET, as `pipeline dlq list` prints it".to_owned()
        })
    }
}

/// A dead letter with all it says of itself; its value apart, which may be large.
#[derive(Debug, Clone)]
pub(super) struct Letter {
    pub(super) name: Name,
    pub(super) key: Option<Vec<u8>>,
    pub(super) value_bytes: usize,
    /// It has no value though the record has one.
    pub(super) value_left_out: bool,
    pub(super) source_topic: Option<String>,
    pub(super) source_partition: Option<i32>,
    pub(super) source_offset: Option<i64>,
    /// Milliseconds since the epoch.
    pub(super) source_timestamp: Option<i64>,
    pub(super) kind: String,
    pub(super) message: String,
    pub(super) service: String,
    pub(super) time: Option<DateTime<Utc>>,
    pub(super) attempt: u32,
    /// Headers of the original record.
    pub(super) headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Letter {
    pub(super) fn read<M: Message>(record: &M) -> Self {
        let text = |key| dead_letter::header(record, key).unwrap_or_default().to_owned();
        let headers = record.headers().into_iter().flat_map(|headers| headers.iter());
        Self {
            name: Name { topic: record.topic().to_owned(), position: Position::of(record) },
            key: record.key().map(<[u8]>::to_vec),
            value_bytes: record.payload().map_or(0, <[u8]>::len),
            value_left_out: dead_letter::header(record, dead_letter::VALUE_LEFT_OUT).is_some(),
            source_topic: dead_letter::header(record, dead_letter::SOURCE_TOPIC).map(str::to_owned),
            source_partition: number(record, dead_letter::SOURCE_PARTITION),
            source_offset: number(record, dead_letter::SOURCE_OFFSET),
            source_timestamp: number(record, dead_letter::SOURCE_TIMESTAMP),
            kind: text(dead_letter::ERROR_KIND),
            message: text(dead_letter::ERROR_MESSAGE),
            service: text(dead_letter::SERVICE),
            time: text(dead_letter::TIME).parse().ok(),
            attempt: number(record, dead_letter::ATTEMPT).unwrap_or(1),
            headers: headers
                .filter(|header| !header.key.starts_with("dlq."))
                .map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec)))
                .collect(),
        }
    }

    /// The key as text, for people.
    pub(super) fn key_text(&self) -> String {
        self.key.as_ref().map_or_else(|| "-".to_owned(), |key| String::from_utf8_lossy(key).into_owned())
    }
}

fn number<M: Message, T: FromStr>(record: &M, key: &str) -> Option<T> {
    dead_letter::header(record, key)?.parse().ok()
}

/// Which dead letters are meant; all that there are if nothing is said.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Only these, if there are any.
    pub names: Vec<Name>,
    /// Only of this kind of error.
    pub kind: Option<String>,
    /// Only given up at this time or later.
    pub since: Option<DateTime<Utc>>,
    /// Only given up before this time.
    pub until: Option<DateTime<Utc>>,
}

impl Filter {
    /// Whether it takes every letter.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty() && self.kind.is_none() && self.since.is_none() && self.until.is_none()
    }

    pub(super) fn takes(&self, letter: &Letter) -> bool {
        (self.names.is_empty() || self.names.contains(&letter.name))
            && self.kind.as_ref().is_none_or(|kind| *kind == letter.kind)
            && self.since.is_none_or(|since| letter.time.is_some_and(|time| time >= since))
            && self.until.is_none_or(|until| letter.time.is_some_and(|time| time < until))
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::Timestamp;
    use rdkafka::message::{Header, OwnedHeaders, OwnedMessage};

    use super::*;

    fn record(headers: OwnedHeaders) -> OwnedMessage {
        let (key, value) = (Some(b"key".to_vec()), Some(b"value".to_vec()));
        OwnedMessage::new(value, key, "users.raw".to_owned(), Timestamp::CreateTime(5), 2, 7, Some(headers))
    }

    fn headers(kind: &str) -> OwnedHeaders {
        let original = record(OwnedHeaders::new().insert(Header { key: "trace", value: Some("t") }));
        dead_letter::headers(&original, "stream-processor", kind, "what went wrong")
    }

    fn letter(kind: &str) -> Letter {
        Letter::read(&record(headers(kind)))
    }

    #[test]
    fn a_letter_tells_where_it_came_from() {
        let letter = letter("decode");
        assert_eq!(letter.source_topic.as_deref(), Some("users.raw"));
        let source = (letter.source_partition, letter.source_offset, letter.source_timestamp);
        assert_eq!(source, (Some(2), Some(7), Some(5)));
        assert_eq!((letter.kind.as_str(), letter.attempt), ("decode", 1));
        assert_eq!(letter.headers, [("trace".to_owned(), Some(b"t".to_vec()))]);
        assert!(!letter.value_left_out);
        let left_out = Header { key: dead_letter::VALUE_LEFT_OUT, value: Some("true") };
        assert!(Letter::read(&record(headers("decode").insert(left_out))).value_left_out);
    }

    #[test]
    fn the_filter_combines_what_is_asked() {
        let letter = letter("decode");
        let later = letter.time.map(|time| time + chrono::Duration::seconds(1));
        let takes = |filter: Filter| filter.takes(&letter);
        assert!(takes(Filter::default()));
        assert!(takes(Filter { kind: Some("decode".to_owned()), until: later, ..Filter::default() }));
        assert!(!takes(Filter { kind: Some("schema".to_owned()), ..Filter::default() }));
        assert!(!takes(Filter { since: later, ..Filter::default() }));
        let other = Name { topic: letter.name.topic.clone(), position: Position { partition: 2, offset: 8 } };
        assert!(!takes(Filter { names: vec![other], ..Filter::default() }));
    }

    #[test]
    fn a_name_is_read_as_it_is_written() {
        let name: Name = "users.raw.dlq/2/7".parse().unwrap();
        assert_eq!(name.to_string(), "users.raw.dlq/2/7");
        for wrong in ["users.raw.dlq", "users.raw.dlq/2", "/2/7", "users.raw.dlq/2/x"] {
            assert!(wrong.parse::<Name>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_resolution_names_its_letter() {
        assert_eq!(dead_letter::resolves(&record(dead_letter::resolution("redriven", 41))), Some(41));
        assert_eq!(dead_letter::resolves(&record(OwnedHeaders::new())), None);
    }
}
