use kafka::reader::ReadError;
use serde::Serialize;

use super::dead_letter::{DeadLetter, DeadLetterFilter};
use super::error::DlqError;
use super::open::{each_open, topics};
use crate::config::Settings;

/// Lists the dead letters that nobody has dealt with.
#[derive(Debug, Serialize)]
pub struct OpenDeadLetters {
    /// Counts all that the filter takes.
    pub open: usize,
    /// Has the first of each topic, up to the limit.
    pub letters: Vec<DeadLetter>,
}

/// Reads the open dead letters of both topics, and returns the first `limit` of each that the filter takes.
///
/// # Errors
/// Fails if a dead-letter topic can't be read.
pub async fn list(
    settings: &Settings,
    filter: DeadLetterFilter,
    limit: usize,
) -> Result<OpenDeadLetters, DlqError> {
    let (kafka, topics) = (settings.kafka.clone(), topics(settings));
    let read = move || {
        let mut found = OpenDeadLetters { open: 0, letters: Vec::new() };
        for topic in topics {
            let mut of_topic = 0;
            each_open(&kafka, &topic, &filter, |letter, _| {
                found.open += 1;
                of_topic += 1;
                if of_topic <= limit {
                    found.letters.push(letter);
                }
                Ok::<(), ReadError>(())
            })?;
        }
        Ok::<_, ReadError>(found)
    };
    Ok(tokio::task::spawn_blocking(read).await??)
}
