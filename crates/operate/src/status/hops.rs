use serde::Serialize;

use super::postgres::Database;
use crate::offsets::{self, TopicOffsets};

/// Says how far a service is behind on its way from one stage to the next.
#[derive(Debug, Serialize)]
pub struct Hop {
    /// Names the service.
    pub service: String,
    /// Names the stage that it reads.
    pub from: String,
    /// Names the stage that it writes.
    pub to: String,
    /// Says whether a reader is connected to the slot; for the relay only.
    pub active: Option<bool>,
    /// Counts the bytes of WAL that are not confirmed yet; for the relay only.
    pub lag_bytes: Option<i64>,
    /// Counts the offsets that are not committed yet, markers of transactions included.
    pub lag_records: Option<i64>,
    /// Counts the seconds since the commit in PostgreSQL of what the service works on, as it measures them itself.
    pub lag_seconds: Option<f64>,
}

impl Hop {
    pub(super) fn relay(topic: &str, database: &Database, lag_seconds: Option<f64>) -> Self {
        Self {
            service: "relay".to_owned(),
            from: "postgres".to_owned(),
            to: topic.to_owned(),
            active: Some(database.slot.as_ref().is_some_and(|slot| slot.active)),
            lag_bytes: database.slot.as_ref().and_then(|slot| slot.lag_bytes),
            lag_records: None,
            lag_seconds,
        }
    }

    pub(super) fn group(
        service: &str,
        topic: &str,
        target: &str,
        offsets: &TopicOffsets,
        lag_seconds: Option<f64>,
    ) -> Self {
        Self {
            service: service.to_owned(),
            from: topic.to_owned(),
            to: target.to_owned(),
            active: None,
            lag_bytes: None,
            lag_records: Some(offsets::lag(offsets)),
            lag_seconds,
        }
    }
}
