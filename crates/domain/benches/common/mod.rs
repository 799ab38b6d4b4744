//! The profiles that the hot paths are measured with, in all crates.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "a benchmark; each uses a part of it")]

use domain::RawUser;
use domain::profile::{Profile, parse};
use serde_json::value::RawValue;

/// When all of them were fetched.
pub const FETCHED_AT: i64 = 1_767_225_600_000_000;

const PROFILES: &str = include_str!("../../tests/data/profiles.json");

#[derive(serde::Deserialize)]
struct Page<'a> {
    #[serde(borrow)]
    results: Vec<&'a RawValue>,
}

/// Each profile as the API sends it.
pub fn texts() -> Vec<&'static str> {
    let page: Page<'static> = serde_json::from_str(PROFILES).unwrap();
    page.results.into_iter().map(RawValue::get).collect()
}

/// Each profile.
pub fn profiles() -> Vec<Profile<'static>> {
    texts().into_iter().map(|text| parse(text).unwrap()).collect()
}

/// One after the other, over and over: an iteration of a benchmark is one record, so that what it allocates is stated
/// per record.
pub fn endless<'i, T>(items: &'i [T]) -> impl FnMut() -> &'i T {
    let mut items = items.iter().cycle();
    move || items.next().unwrap()
}

/// A row of `users` as the stream has it.
pub fn row<'a>(profile: &'a Profile<'a>, id: &'a str) -> RawUser<'a> {
    RawUser {
        id,
        run_id: "bench",
        nat: &profile.nat,
        registered_at: profile.registered_at.timestamp_micros(),
        fetched_at: Some(FETCHED_AT),
        gender: Some(&profile.gender),
        title: Some(&profile.title),
        first_name: Some(&profile.first_name),
        last_name: Some(&profile.last_name),
        street_number: Some(profile.street_number.into()),
        street_name: Some(&profile.street_name),
        city: Some(&profile.city),
        state: Some(&profile.state),
        country: Some(&profile.country),
        postcode: Some(&profile.postcode),
        latitude: Some(profile.latitude),
        longitude: Some(profile.longitude),
        timezone_offset: Some(&profile.timezone_offset),
        timezone_description: Some(&profile.timezone_description),
        email: Some(&profile.email),
        username: Some(&profile.username),
        date_of_birth: Some(profile.date_of_birth.timestamp_micros()),
        phone: Some(&profile.phone),
        cell: Some(&profile.cell),
        document_name: profile.document_name.as_deref(),
        document_value: profile.document_value.as_deref(),
        picture_large: Some(&profile.picture_large),
        picture_medium: Some(&profile.picture_medium),
        picture_thumbnail: Some(&profile.picture_thumbnail),
        before: None,
        op: "c",
        lsn: 1,
        commit_ts: FETCHED_AT,
    }
}
