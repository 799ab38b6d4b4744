//! A change of the table `users` as the relay writes it to `users.raw`.

use serde::Deserialize;

/// One change, borrowing its texts from the record's bytes. Times are microseconds since 1970 in UTC.
///
/// The columns of the replica identity (`id`, `nat`, `registered_at`, `run_id`) are always there; the others are
/// null in a delete, and in a record whose table lacked the column.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[expect(missing_docs, reason = "named as the table's columns; migrations/postgres describes them")]
pub struct RawUser<'a> {
    pub id: &'a str,
    pub run_id: &'a str,
    pub nat: &'a str,
    pub registered_at: i64,
    #[serde(default)]
    pub fetched_at: Option<i64>,
    #[serde(borrow, default)]
    pub gender: Option<&'a str>,
    #[serde(borrow, default)]
    pub title: Option<&'a str>,
    #[serde(borrow, default)]
    pub first_name: Option<&'a str>,
    #[serde(borrow, default)]
    pub last_name: Option<&'a str>,
    #[serde(default)]
    pub street_number: Option<i64>,
    #[serde(borrow, default)]
    pub street_name: Option<&'a str>,
    #[serde(borrow, default)]
    pub city: Option<&'a str>,
    #[serde(borrow, default)]
    pub state: Option<&'a str>,
    #[serde(borrow, default)]
    pub country: Option<&'a str>,
    #[serde(borrow, default)]
    pub postcode: Option<&'a str>,
    #[serde(default)]
    pub latitude: Option<f64>,
    #[serde(default)]
    pub longitude: Option<f64>,
    #[serde(borrow, default)]
    pub timezone_offset: Option<&'a str>,
    #[serde(borrow, default)]
    pub timezone_description: Option<&'a str>,
    #[serde(borrow, default)]
    pub email: Option<&'a str>,
    #[serde(borrow, default)]
    pub username: Option<&'a str>,
    #[serde(default)]
    pub date_of_birth: Option<i64>,
    #[serde(borrow, default)]
    pub phone: Option<&'a str>,
    #[serde(borrow, default)]
    pub cell: Option<&'a str>,
    #[serde(borrow, default)]
    pub document_name: Option<&'a str>,
    #[serde(borrow, default)]
    pub document_value: Option<&'a str>,
    #[serde(borrow, default)]
    pub picture_large: Option<&'a str>,
    #[serde(borrow, default)]
    pub picture_medium: Option<&'a str>,
    #[serde(borrow, default)]
    pub picture_thumbnail: Option<&'a str>,
    /// The identity as it was before an update that changed it.
    #[serde(rename = "__before", borrow, default)]
    pub before: Option<RawBefore<'a>>,
    /// `c`, `u`, `d` or `r`.
    #[serde(rename = "__op")]
    pub op: &'a str,
    /// Position of the change in the WAL.
    #[serde(rename = "__lsn")]
    pub lsn: i64,
    /// When the source transaction committed.
    #[serde(rename = "__commit_ts")]
    pub commit_ts: i64,
}

/// The replica-identity columns before an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[expect(missing_docs, reason = "named as the table's columns")]
pub struct RawBefore<'a> {
    pub id: &'a str,
    pub run_id: &'a str,
    pub nat: &'a str,
    pub registered_at: i64,
}
