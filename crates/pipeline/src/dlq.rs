//! `pipeline dlq`: prints dead letters, and what is done with them.

use command_line::{Output, table};
use operate::config::Settings;
use operate::dlq::{self, DeadLetterFilter, DeadLetterName, DeadLetterRecord, OpenDeadLetters, Resolution};
use serde_json::json;
use service::BoxError;

/// Bytes of a value that can't be decoded that are printed.
const RAW_LIMIT: usize = 256;

/// Prints the open dead letters, of each topic the first `limit`.
///
/// # Errors
/// As of [`dlq::list`].
pub async fn list(
    settings: &Settings,
    filter: DeadLetterFilter,
    limit: usize,
    output: &Output,
) -> Result<(), BoxError> {
    let found = dlq::list(settings, filter, limit).await?;
    output.document(&json!(found));
    let OpenDeadLetters { open, letters } = found;
    if !letters.is_empty() {
        let rows = letters.iter().map(|letter| {
            let time = letter.time.map_or_else(String::new, |time| time.to_rfc3339());
            vec![
                letter.name.to_string(),
                letter.kind.clone(),
                letter.attempt.to_string(),
                time,
                letter.key_text(),
                letter.message.clone(),
            ]
        });
        output.line(table(&["dead letter", "kind", "attempt", "given up", "key", "message"], rows));
    }
    let more =
        if open > letters.len() { format!(", {} of them shown", letters.len()) } else { String::new() };
    output.line(format_args!("{open} open{more}"));
    Ok(())
}

/// Prints one dead letter with its record, decoded if it can be.
///
/// # Errors
/// As of [`dlq::show`].
pub async fn show(settings: &Settings, name: DeadLetterName, output: &Output) -> Result<(), BoxError> {
    let shown = dlq::show(settings, name).await?;
    output.document(&json!(shown));
    let DeadLetterRecord { letter, record, not_decoded, headers, value } = shown;
    output.line(format_args!("{} ({}, attempt {})", letter.name, letter.kind, letter.attempt));
    output.line(format_args!("{}: {}", letter.service, letter.message));
    if let (Some(topic), Some(partition), Some(offset)) =
        (&letter.source.topic, letter.source.partition, letter.source.offset)
    {
        output.line(format_args!("from {topic}, partition {partition}, offset {offset}"));
    }
    for (key, value) in headers {
        output.line(format_args!("header {key}: {value}"));
    }
    output.line(format_args!("key {}", letter.key_text()));
    match (value, not_decoded) {
        (None, _) if letter.value_left_out => output.line("the value was too large for a dead letter"),
        (None, _) => output.line("no value: a tombstone"),
        (Some(_), None) => output.line(format_args!("{record:#}")),
        (Some(value), Some(problem)) => {
            output.line(format_args!("{} bytes that can't be decoded: {problem}", value.len()));
            output.line(value.get(..RAW_LIMIT).unwrap_or(&value).escape_ascii());
        }
    }
    Ok(())
}

/// Sends dead letters to the topics they came from, and prints how many.
///
/// # Errors
/// As of [`dlq::redrive`].
pub async fn redrive(
    settings: &Settings,
    filter: DeadLetterFilter,
    max_attempts: u32,
    dry_run: bool,
    output: &Output,
) -> Result<(), BoxError> {
    let resolution = dlq::redrive(settings, filter, max_attempts, dry_run).await?;
    print(&resolution, "redriven", dry_run, output);
    Ok(())
}

/// Puts dead letters away for good, and prints how many.
///
/// # Errors
/// As of [`dlq::purge`].
pub async fn purge(
    settings: &Settings,
    filter: DeadLetterFilter,
    dry_run: bool,
    output: &Output,
) -> Result<(), BoxError> {
    let resolution = dlq::purge(settings, filter, dry_run).await?;
    print(&resolution, "purged", dry_run, output);
    Ok(())
}

fn print(resolution: &Resolution, what: &str, dry_run: bool, output: &Output) {
    let Resolution { resolved, left } = resolution;
    output.document(&json!({ what: resolved, "left": left, "dry_run": dry_run }));
    let would = if dry_run { "would be " } else { "" };
    output.line(format_args!("{resolved} {would}{what}"));
    for (reason, count) in left {
        output.line(format_args!("{count} left: {reason}"));
    }
}
