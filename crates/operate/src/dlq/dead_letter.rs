use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use kafka::dead_letter;
use rdkafka::Message;
use rdkafka::message::Headers as _;
use serde::{Serialize, Serializer};

/// Says where a record is in its topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecordPosition {
    /// The record's partition.
    pub partition: i32,
    /// Its offset in the partition.
    pub offset: i64,
}

impl RecordPosition {
    /// Returns the position of a record that was read.
    pub fn of<M: Message>(record: &M) -> Self {
        Self { partition: record.partition(), offset: record.offset() }
    }
}

/// Names a dead letter as `TOPIC/PARTITION/OFFSET`.
///
/// ```
/// use operate::dlq::DeadLetterName;
///
/// let name: DeadLetterName = "users.raw.dlq/2/41".parse()?;
/// assert_eq!((name.position.partition, name.position.offset), (2, 41));
/// assert_eq!(name.to_string(), "users.raw.dlq/2/41");
/// # Ok::<(), String>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetterName {
    /// Names the dead-letter topic.
    pub topic: String,
    /// Says where the dead letter is in the topic.
    pub position: RecordPosition,
}

impl fmt::Display for DeadLetterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.topic, self.position.partition, self.position.offset)
    }
}

impl FromStr for DeadLetterName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = || {
            let (rest, offset) = text.rsplit_once('/')?;
            let (topic, partition) = rest.rsplit_once('/')?;
            let position =
                RecordPosition { partition: partition.parse().ok()?, offset: offset.parse().ok()? };
            (!topic.is_empty()).then(|| Self { topic: topic.to_owned(), position })
        };
        parsed().ok_or_else(|| {
            "a dead letter is named TOPIC/PARTITION/OFFSET, as `pipeline dlq list` prints it".to_owned()
        })
    }
}

impl Serialize for DeadLetterName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Says where the record is that a dead letter is about, as far as the dead letter says so.
#[derive(Debug, Clone, Serialize)]
pub struct DeadLetterSource {
    /// Names the record's topic.
    pub topic: Option<String>,
    /// Its partition.
    pub partition: Option<i32>,
    /// Its offset in the partition.
    pub offset: Option<i64>,
    /// Its timestamp in milliseconds since the epoch.
    #[serde(skip)]
    pub timestamp: Option<i64>,
}

/// Has all that a dead letter says of itself, without its value, which may be large.
#[derive(Debug, Clone, Serialize)]
pub struct DeadLetter {
    /// Names the dead letter.
    pub name: DeadLetterName,
    /// Has the record's key.
    #[serde(serialize_with = "lossy")]
    pub key: Option<Vec<u8>>,
    /// Counts the bytes of its value.
    pub value_bytes: usize,
    /// Set if it has no value though the record has one: it was too large.
    pub value_left_out: bool,
    /// Names the kind of error that the service gave the record up for.
    pub kind: String,
    /// Says what was wrong with the record.
    pub message: String,
    /// Names the service that gave it up.
    pub service: String,
    /// When the service gave it up.
    pub time: Option<DateTime<Utc>>,
    /// Counts how often the record was given up, this time included.
    pub attempt: u32,
    /// Says where the record is.
    pub source: DeadLetterSource,
    /// Has the headers of the original record.
    #[serde(skip)]
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

impl DeadLetter {
    /// Reads what a record of a dead-letter topic says.
    pub(super) fn read<M: Message>(record: &M) -> Self {
        let text = |key| dead_letter::header(record, key).unwrap_or_default().to_owned();
        let headers = record.headers().into_iter().flat_map(|headers| headers.iter());
        Self {
            name: DeadLetterName { topic: record.topic().to_owned(), position: RecordPosition::of(record) },
            key: record.key().map(<[u8]>::to_vec),
            value_bytes: record.payload().map_or(0, <[u8]>::len),
            value_left_out: dead_letter::header(record, dead_letter::VALUE_LEFT_OUT).is_some(),
            kind: text(dead_letter::ERROR_KIND),
            message: text(dead_letter::ERROR_MESSAGE),
            service: text(dead_letter::SERVICE),
            time: text(dead_letter::TIME).parse().ok(),
            attempt: number(record, dead_letter::ATTEMPT).unwrap_or(1),
            source: DeadLetterSource {
                topic: dead_letter::header(record, dead_letter::SOURCE_TOPIC).map(str::to_owned),
                partition: number(record, dead_letter::SOURCE_PARTITION),
                offset: number(record, dead_letter::SOURCE_OFFSET),
                timestamp: number(record, dead_letter::SOURCE_TIMESTAMP),
            },
            headers: headers
                .filter(|header| !header.key.starts_with("dlq."))
                .map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec)))
                .collect(),
        }
    }

    /// Returns the key as text for people: `-` if there is none, and � for bytes that are not UTF-8.
    #[must_use]
    pub fn key_text(&self) -> String {
        self.key.as_ref().map_or_else(|| "-".to_owned(), |key| String::from_utf8_lossy(key).into_owned())
    }
}

/// Writes bytes as text, with � for those that are not UTF-8.
fn lossy<S: Serializer>(bytes: &Option<Vec<u8>>, serializer: S) -> Result<S::Ok, S::Error> {
    bytes.as_deref().map(String::from_utf8_lossy).serialize(serializer)
}

fn number<M: Message, T: FromStr>(record: &M, key: &str) -> Option<T> {
    dead_letter::header(record, key)?.parse().ok()
}

/// Says which dead letters are meant: those that every part of it takes.
#[derive(Debug, Clone, Default)]
pub struct DeadLetterFilter {
    /// Takes only these; all if it is empty.
    pub names: Vec<DeadLetterName>,
    /// Takes only this kind of error.
    pub kind: Option<String>,
    /// Takes only those given up at this time or later.
    pub since: Option<DateTime<Utc>>,
    /// Takes only those given up before this time.
    pub until: Option<DateTime<Utc>>,
}

impl DeadLetterFilter {
    /// Returns whether it takes every dead letter.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty() && self.kind.is_none() && self.since.is_none() && self.until.is_none()
    }

    pub(super) fn takes(&self, letter: &DeadLetter) -> bool {
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
    use serde_json::json;

    use super::*;

    fn record(headers: OwnedHeaders) -> OwnedMessage {
        let (key, value) = (Some(b"key".to_vec()), Some(b"value".to_vec()));
        OwnedMessage::new(value, key, "users.raw".to_owned(), Timestamp::CreateTime(5), 2, 7, Some(headers))
    }

    fn headers(kind: &str) -> OwnedHeaders {
        let original = record(OwnedHeaders::new().insert(Header { key: "trace", value: Some("t") }));
        dead_letter::headers(&original, "stream-processor", kind, "what went wrong")
    }

    fn letter(kind: &str) -> DeadLetter {
        DeadLetter::read(&record(headers(kind)))
    }

    #[test]
    fn a_letter_tells_where_it_came_from() {
        let letter = letter("decode");
        assert_eq!(letter.source.topic.as_deref(), Some("users.raw"));
        let source = (letter.source.partition, letter.source.offset, letter.source.timestamp);
        assert_eq!(source, (Some(2), Some(7), Some(5)));
        assert_eq!((letter.kind.as_str(), letter.attempt), ("decode", 1));
        assert_eq!(letter.headers, [("trace".to_owned(), Some(b"t".to_vec()))]);
        assert!(!letter.value_left_out);
        let left_out = Header { key: dead_letter::VALUE_LEFT_OUT, value: Some("true") };
        assert!(DeadLetter::read(&record(headers("decode").insert(left_out))).value_left_out);
    }

    #[test]
    fn the_filter_combines_what_is_asked() {
        let letter = letter("decode");
        let later = letter.time.map(|time| time + chrono::Duration::seconds(1));
        let takes = |filter: DeadLetterFilter| filter.takes(&letter);
        assert!(takes(DeadLetterFilter::default()));
        assert!(takes(DeadLetterFilter {
            kind: Some("decode".to_owned()),
            until: later,
            ..DeadLetterFilter::default()
        }));
        assert!(!takes(DeadLetterFilter { kind: Some("schema".to_owned()), ..DeadLetterFilter::default() }));
        assert!(!takes(DeadLetterFilter { since: later, ..DeadLetterFilter::default() }));
        let other = DeadLetterName {
            topic: letter.name.topic.clone(),
            position: RecordPosition { partition: 2, offset: 8 },
        };
        assert!(!takes(DeadLetterFilter { names: vec![other], ..DeadLetterFilter::default() }));
    }

    #[test]
    fn a_name_is_read_as_it_is_written() {
        let name: DeadLetterName = "users.raw.dlq/2/7".parse().unwrap();
        assert_eq!(name.to_string(), "users.raw.dlq/2/7");
        for wrong in ["users.raw.dlq", "users.raw.dlq/2", "/2/7", "users.raw.dlq/2/x"] {
            assert!(wrong.parse::<DeadLetterName>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn machines_get_what_it_says_and_neither_value_nor_headers() {
        let mut letter = letter("decode");
        letter.time = "2026-01-31T12:00:00Z".parse().ok();
        let expected = json!({
            "name": "users.raw/2/7", "key": "key", "value_bytes": 5, "value_left_out": false, "kind": "decode",
            "message": "what went wrong", "service": "stream-processor", "time": "2026-01-31T12:00:00Z", "attempt": 1,
            "source": {"topic": "users.raw", "partition": 2, "offset": 7},
        });
        assert_eq!(json!(letter), expected);
    }

    #[test]
    fn a_resolution_names_its_letter() {
        assert_eq!(dead_letter::resolves(&record(dead_letter::resolution("redriven", 41))), Some(41));
        assert_eq!(dead_letter::resolves(&record(OwnedHeaders::new())), None);
    }
}
