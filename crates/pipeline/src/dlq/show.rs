//! `pipeline dlq show`: one dead letter, with its record as far as it can be read.

use std::sync::Arc;

use events::cache::SchemaCache;
use events::{Registry, wire};
use kafka::reader::ReadError;
use rdkafka::Message as _;
use serde_json::{Value, json};
use service::{BoxError, error_chain};

use super::letter::Letter;
use super::{Filter, Name, each_open};
use crate::config::Settings;
use output::Output;

/// Bytes of a value that can't be decoded that are printed.
const RAW_LIMIT: usize = 256;

/// There is no such letter.
#[derive(Debug, thiserror::Error)]
#[error("{0} is no open dead letter; `pipeline dlq list` has those that are")]
struct NotOpen(Name);

/// Prints it, whatever its value is.
///
/// # Errors
/// There is none of that name, or its topic can't be read.
pub async fn show(settings: &Settings, name: Name, output: &Output) -> Result<(), BoxError> {
    let (kafka, wanted) = (settings.kafka.clone(), name.clone());
    let found = tokio::task::spawn_blocking(move || {
        let filter = Filter { names: vec![wanted.clone()], ..Filter::default() };
        let mut found = None;
        each_open(&kafka, &wanted.topic, &filter, |letter, record| {
            found = Some((letter, record.payload().map(<[u8]>::to_vec)));
            Ok::<(), ReadError>(())
        })?;
        Ok::<_, ReadError>(found)
    })
    .await??;
    let Some((letter, value)) = found else { return Err(NotOpen(name).into()) };
    let (decoded, problem) = match &value {
        None => (Value::Null, None),
        Some(value) => match decode(settings, value).await {
            Ok(decoded) => (decoded, None),
            Err(problem) => (Value::Null, Some(problem)),
        },
    };
    print(&letter, value.as_deref(), &decoded, problem.as_deref(), output);
    Ok(())
}

/// The record as JSON, or why it is not one.
async fn decode(settings: &Settings, value: &[u8]) -> Result<Value, String> {
    let (id, datum) = wire::split(value).map_err(|error| error_chain(&error))?;
    let registry = Registry::new(&settings.registry).map_err(|error| error_chain(&error))?;
    let mut schemas: SchemaCache<serde_avro_fast::Schema> = SchemaCache::new(registry);
    let fetched = schemas.fetch(id, |text| text.parse::<serde_avro_fast::Schema>()).await;
    let schema: Arc<_> = fetched.map_err(|error| error_chain(&error))?;
    serde_avro_fast::from_datum_slice(datum, &schema).map_err(|error| error_chain(&error))
}

fn print(letter: &Letter, value: Option<&[u8]>, decoded: &Value, problem: Option<&str>, output: &Output) {
    let raw = value.map(|value| value.get(..RAW_LIMIT).unwrap_or(value).escape_ascii().to_string());
    let headers: Vec<(&str, String)> = letter
        .headers
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_deref().unwrap_or_default().escape_ascii().to_string()))
        .collect();
    let mut document = super::document(letter);
    document["record"] = decoded.clone();
    document["not_decoded"] = json!(problem);
    document["headers"] = json!(headers);
    output.document(&document);

    output.line(format_args!("{} ({}, attempt {})", letter.name, letter.kind, letter.attempt));
    output.line(format_args!("{}: {}", letter.service, letter.message));
    if let (Some(topic), Some(partition), Some(offset)) =
        (&letter.source_topic, letter.source_partition, letter.source_offset)
    {
        output.line(format_args!("from {topic}, partition {partition}, offset {offset}"));
    }
    for (key, value) in headers {
        output.line(format_args!("header {key}: {value}"));
    }
    output.line(format_args!("key {}", letter.key_text()));
    match (value, problem) {
        (None, _) if letter.value_left_out => output.line("the value was too large for a dead letter"),
        (None, _) => output.line("no value: a tombstone"),
        (Some(_), None) => output.line(format_args!("{decoded:#}")),
        (Some(value), Some(problem)) => {
            output.line(format_args!("{} bytes that can't be decoded: {problem}", value.len()));
            output.line(raw.unwrap_or_default());
        }
    }
}
