//! How far each hop is behind.

use serde::Serialize;

use super::postgres::Database;
use crate::offsets::{self, Positions};

/// From one stage to the next.
#[derive(Debug, Serialize)]
pub(super) struct Hop {
    /// The service that does it.
    service: String,
    from: String,
    to: String,
    /// Whether a reader is connected to the slot; for the relay only.
    active: Option<bool>,
    /// WAL that is not confirmed yet; for the relay only.
    lag_bytes: Option<i64>,
    /// Offsets that are not committed yet, markers of transactions included.
    lag_records: Option<i64>,
    /// As the service measures it: since the commit in PostgreSQL of what it works on.
    lag_seconds: Option<f64>,
}

/// Of a table of [`Hop::row`]s.
pub(super) const HEADER: [&str; 5] = ["hop", "from", "to", "lag", "lag (s)"];

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
        positions: &Positions,
        lag_seconds: Option<f64>,
    ) -> Self {
        Self {
            service: service.to_owned(),
            from: topic.to_owned(),
            to: target.to_owned(),
            active: None,
            lag_bytes: None,
            lag_records: Some(offsets::lag(positions)),
            lag_seconds,
        }
    }

    pub(super) fn row(&self) -> Vec<String> {
        let lag = match (self.active, self.lag_bytes, self.lag_records) {
            (Some(false), None, _) => "no slot".to_owned(),
            (Some(false), Some(bytes), _) => format!("{bytes} bytes, nobody reads"),
            (_, Some(bytes), _) => format!("{bytes} bytes"),
            (_, None, Some(records)) => format!("{records} offsets"),
            (_, None, None) => "unknown".to_owned(),
        };
        let seconds = self.lag_seconds.map_or_else(|| "-".to_owned(), |seconds| format!("{seconds:.1}"));
        vec![self.service.clone(), self.from.clone(), self.to.clone(), lag, seconds]
    }
}
