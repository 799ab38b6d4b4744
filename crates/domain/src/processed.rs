//! What the transform makes: a record of `users.processed`.

use std::borrow::Cow;
use std::fmt;

use chrono::{DateTime, Datelike, Utc};
use serde::{Serialize, Serializer};

/// A user after the transform; fields in the order of the schema `users.processed`, which documents them. Times are
/// microseconds since 1970 in UTC. In a delete only the identity and the metadata are set.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[expect(missing_docs, reason = "the schema documents the fields")]
pub struct ProcessedUser<'a> {
    pub id: &'a str,
    pub run_id: &'a str,
    pub country: &'a str,
    pub registered_at: i64,
    pub registered_month: Month,
    pub bucket: i32,
    pub fetched_at: Option<i64>,
    pub country_name: Option<Cow<'a, str>>,
    pub gender: Option<Cow<'a, str>>,
    pub title: Option<Cow<'a, str>>,
    pub first_name: Option<Cow<'a, str>>,
    pub last_name: Option<Cow<'a, str>>,
    pub full_name: Option<String>,
    pub date_of_birth: Option<i64>,
    pub age: Option<i32>,
    pub age_band: Option<&'static str>,
    pub email: Option<Cow<'a, str>>,
    pub email_domain: Option<String>,
    pub username: Option<Cow<'a, str>>,
    pub phone: Option<Cow<'a, str>>,
    pub cell: Option<Cow<'a, str>>,
    pub street: Option<Cow<'a, str>>,
    pub city: Option<Cow<'a, str>>,
    pub state: Option<Cow<'a, str>>,
    pub postcode: Option<Cow<'a, str>>,
    pub address: Option<String>,
    pub latitude: Option<f64>,
    pub longitude: Option<f64>,
    pub timezone_offset: Option<Cow<'a, str>>,
    pub timezone_description: Option<Cow<'a, str>>,
    pub document_name: Option<Cow<'a, str>>,
    pub document_value: Option<Cow<'a, str>>,
    pub picture_large: Option<Cow<'a, str>>,
    pub picture_medium: Option<Cow<'a, str>>,
    pub picture_thumbnail: Option<Cow<'a, str>>,
    #[serde(rename = "__before")]
    pub before: Option<Before<'a>>,
    #[serde(rename = "__op")]
    pub op: &'a str,
    #[serde(rename = "__lsn")]
    pub lsn: i64,
    #[serde(rename = "__commit_ts")]
    pub commit_ts: i64,
}

/// Where the user stood in the Cassandra tables before an update that moved it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "as in ProcessedUser")]
pub struct Before<'a> {
    pub run_id: &'a str,
    pub country: &'a str,
    pub registered_at: i64,
    pub registered_month: Month,
    pub bucket: i32,
}

/// A month in UTC; written as `YYYY-MM`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Month([u8; 7]);

impl Month {
    /// `None` for years that do not have four digits.
    #[must_use]
    pub fn of(time: DateTime<Utc>) -> Option<Self> {
        let year = u32::try_from(time.year()).ok().filter(|year| *year <= 9999)?;
        let month = time.month();
        let digit = |number: u32| char::from_digit(number % 10, 10).map(|digit| digit as u8);
        Some(Self([
            digit(year / 1000)?,
            digit(year / 100)?,
            digit(year / 10)?,
            digit(year)?,
            b'-',
            digit(month / 10)?,
            digit(month)?,
        ]))
    }

    /// `YYYY-MM`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // Digits and a hyphen.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Debug for Month {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl Serialize for Month {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}
