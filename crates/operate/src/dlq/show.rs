use std::sync::Arc;

use events::cache::SchemaCache;
use events::{Registry, wire};
use kafka::reader::ReadError;
use rdkafka::Message as _;
use serde::Serialize;
use serde_json::Value;
use service::error_chain;

use super::dead_letter::{DeadLetter, DeadLetterFilter, DeadLetterName};
use super::error::DlqError;
use super::open::each_open;
use crate::config::Settings;

/// Shows a dead letter with its record, as far as that can be read.
#[derive(Debug, Serialize)]
pub struct DeadLetterRecord {
    /// Says what the dead letter says of itself.
    #[serde(flatten)]
    pub letter: DeadLetter,
    /// Has the record's value as JSON; null if it is a tombstone or can't be decoded.
    pub record: Value,
    /// Says why the value can't be decoded.
    pub not_decoded: Option<String>,
    /// Has the headers of the original record, their bytes escaped as ASCII.
    pub headers: Vec<(String, String)>,
    /// Has the value's bytes; `None` for a tombstone, and for a value that was left out.
    #[serde(skip)]
    pub value: Option<Vec<u8>>,
}

/// Reads one open dead letter, whatever its value is.
///
/// # Errors
/// Fails if none of that name is open, or its topic can't be read.
pub async fn show(settings: &Settings, name: DeadLetterName) -> Result<DeadLetterRecord, DlqError> {
    let (kafka, wanted) = (settings.kafka.clone(), name.clone());
    let read = move || {
        let filter = DeadLetterFilter { names: vec![wanted.clone()], ..DeadLetterFilter::default() };
        let mut found = None;
        each_open(&kafka, &wanted.topic, &filter, |letter, record| {
            found = Some((letter, record.payload().map(<[u8]>::to_vec)));
            Ok::<(), ReadError>(())
        })?;
        Ok::<_, ReadError>(found)
    };
    let found = tokio::task::spawn_blocking(read).await??;
    let Some((letter, value)) = found else { return Err(DlqError::NotOpen(name)) };
    let (record, not_decoded) = match &value {
        None => (Value::Null, None),
        Some(value) => match decode(settings, value).await {
            Ok(record) => (record, None),
            Err(problem) => (Value::Null, Some(problem)),
        },
    };
    let escaped = |value: Option<&[u8]>| value.unwrap_or_default().escape_ascii().to_string();
    let headers =
        letter.headers.iter().map(|(key, value)| (key.clone(), escaped(value.as_deref()))).collect();
    Ok(DeadLetterRecord { letter, record, not_decoded, headers, value })
}

/// Returns the value as JSON, or why it is not one.
async fn decode(settings: &Settings, value: &[u8]) -> Result<Value, String> {
    let (id, datum) = wire::split(value).map_err(|error| error_chain(&error))?;
    let registry = Registry::new(&settings.registry).map_err(|error| error_chain(&error))?;
    let mut schemas: SchemaCache<serde_avro_fast::Schema> = SchemaCache::new(registry);
    let fetched = schemas.fetch(id, |text| text.parse::<serde_avro_fast::Schema>()).await;
    let schema: Arc<_> = fetched.map_err(|error| error_chain(&error))?;
    serde_avro_fast::from_datum_slice(datum, &schema).map_err(|error| error_chain(&error))
}
