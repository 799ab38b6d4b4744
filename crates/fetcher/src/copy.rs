//! Profiles as PostgreSQL's binary COPY format (documentation of COPY, "Binary Format").
//!
//! A page is encoded while it is parsed, straight from the profiles' borrowed texts; nothing of it is kept but
//! the bytes that are sent.

use chrono::{DateTime, Utc};
use domain::profile::Profile;

/// What [`Rows`] encodes, in its order: the columns of `users` but `run_id` and `fetched_at`, which all rows of a
/// page share.
pub const COLUMNS: [(&str, &str); 27] = [
    ("id", "uuid"),
    ("nat", "text"),
    ("gender", "text"),
    ("title", "text"),
    ("first_name", "text"),
    ("last_name", "text"),
    ("street_number", "integer"),
    ("street_name", "text"),
    ("city", "text"),
    ("state", "text"),
    ("country", "text"),
    ("postcode", "text"),
    ("latitude", "double precision"),
    ("longitude", "double precision"),
    ("timezone_offset", "text"),
    ("timezone_description", "text"),
    ("email", "text"),
    ("username", "text"),
    ("date_of_birth", "timestamptz"),
    ("registered_at", "timestamptz"),
    ("phone", "text"),
    ("cell", "text"),
    ("document_name", "text"),
    ("document_value", "text"),
    ("picture_large", "text"),
    ("picture_medium", "text"),
    ("picture_thumbnail", "text"),
];

/// The format's signature, then no flags and no header extension.
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
const TRAILER: [u8; 2] = (-1_i16).to_be_bytes();
const NULL: [u8; 4] = (-1_i32).to_be_bytes();
/// 2000-01-01T00:00:00Z, from where PostgreSQL counts, in microseconds since 1970.
const POSTGRES_EPOCH_MICROS: i64 = 946_684_800_000_000;

/// Encoded rows.
#[derive(Debug)]
pub struct Rows {
    bytes: Vec<u8>,
    count: usize,
}

impl Rows {
    /// No rows yet, with room for so many of the usual size.
    #[must_use]
    pub fn with_capacity(rows: usize) -> Self {
        let mut bytes = Vec::with_capacity(rows * 640 + HEADER.len() + TRAILER.len());
        bytes.extend_from_slice(HEADER);
        Self { bytes, count: 0 }
    }

    /// Adds one row.
    pub fn push(&mut self, profile: &Profile<'_>) {
        #[expect(clippy::cast_possible_truncation, reason = "27 fits")]
        self.bytes.extend_from_slice(&(COLUMNS.len() as i16).to_be_bytes());
        self.field(profile.id.as_bytes());
        self.field(profile.nat.as_bytes());
        self.field(profile.gender.as_bytes());
        self.field(profile.title.as_bytes());
        self.field(profile.first_name.as_bytes());
        self.field(profile.last_name.as_bytes());
        self.field(&profile.street_number.to_be_bytes());
        self.field(profile.street_name.as_bytes());
        self.field(profile.city.as_bytes());
        self.field(profile.state.as_bytes());
        self.field(profile.country.as_bytes());
        self.field(profile.postcode.as_bytes());
        self.field(&profile.latitude.to_be_bytes());
        self.field(&profile.longitude.to_be_bytes());
        self.field(profile.timezone_offset.as_bytes());
        self.field(profile.timezone_description.as_bytes());
        self.field(profile.email.as_bytes());
        self.field(profile.username.as_bytes());
        self.field(&timestamp(profile.date_of_birth));
        self.field(&timestamp(profile.registered_at));
        self.field(profile.phone.as_bytes());
        self.field(profile.cell.as_bytes());
        self.optional(profile.document_name.as_deref());
        self.optional(profile.document_value.as_deref());
        self.field(profile.picture_large.as_bytes());
        self.field(profile.picture_medium.as_bytes());
        self.field(profile.picture_thumbnail.as_bytes());
        self.count += 1;
    }

    /// Rows so far.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.count
    }

    /// Everything to send: header, rows, trailer.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        self.bytes.extend_from_slice(&TRAILER);
        self.bytes
    }

    fn field(&mut self, value: &[u8]) {
        let length = i32::try_from(value.len()).unwrap_or(i32::MAX);
        self.bytes.extend_from_slice(&length.to_be_bytes());
        self.bytes.extend_from_slice(value);
    }

    fn optional(&mut self, value: Option<&str>) {
        match value {
            Some(text) => self.field(text.as_bytes()),
            None => self.bytes.extend_from_slice(&NULL),
        }
    }
}

fn timestamp(at: DateTime<Utc>) -> [u8; 8] {
    (at.timestamp_micros() - POSTGRES_EPOCH_MICROS).to_be_bytes()
}
