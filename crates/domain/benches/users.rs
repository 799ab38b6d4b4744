//! Cost of a profile: parsing the API's JSON, and transforming its row with and without a PII policy.
#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark")]

use divan::Bencher;
use divan::counter::ItemsCount;
use domain::pii::{PiiPolicy, Rules, TextRule};
use domain::profile::{Profile, parse};
use domain::{RawUser, transform};
use serde_json::value::RawValue;
use std::hint::black_box;

#[derive(serde::Deserialize)]
struct Page<'a> {
    #[serde(borrow)]
    results: Vec<&'a RawValue>,
}

fn row<'a>(profile: &'a Profile<'a>, id: &'a str) -> RawUser<'a> {
    RawUser {
        id,
        run_id: "bench",
        nat: &profile.nat,
        registered_at: profile.registered_at.timestamp_micros(),
        fetched_at: Some(1_767_225_600_000_000),
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
        commit_ts: 1_767_225_600_000_000,
    }
}

#[global_allocator]
static ALLOCATIONS: divan::AllocProfiler = divan::AllocProfiler::system();

fn main() {
    divan::main();
}

fn texts(page: &str) -> Vec<&str> {
    let page: Page<'_> = serde_json::from_str(page).unwrap();
    page.results.into_iter().map(RawValue::get).collect()
}

const PROFILES: &str = include_str!("../tests/data/profiles.json");

#[divan::bench]
fn parse_profiles(bencher: Bencher<'_, '_>) {
    let texts = texts(PROFILES);
    bencher.counter(ItemsCount::new(texts.len())).bench_local(|| {
        texts.iter().for_each(|text| drop(black_box(parse(black_box(text)).unwrap())));
    });
}

fn bench_transform(bencher: Bencher<'_, '_>, policy: &PiiPolicy) {
    let texts = texts(PROFILES);
    let profiles: Vec<_> = texts.iter().map(|text| parse(text).unwrap()).collect();
    let ids: Vec<_> = profiles.iter().map(|profile| profile.id.to_string()).collect();
    let rows: Vec<_> = profiles.iter().zip(&ids).map(|(profile, id)| row(profile, id)).collect();
    bencher.counter(ItemsCount::new(rows.len())).bench_local(|| {
        rows.iter().for_each(|row| drop(black_box(transform(row, policy).unwrap())));
    });
}

#[divan::bench]
fn transform_rows(bencher: Bencher<'_, '_>) {
    bench_transform(bencher, &PiiPolicy::keep_all());
}

#[divan::bench]
fn transform_rows_with_one_hmac(bencher: Bencher<'_, '_>) {
    let rules = Rules { first_name: TextRule::Mask, email: TextRule::Hmac, ..Rules::default() };
    bench_transform(bencher, &PiiPolicy::new(rules, Some(b"0123456789abcdef")).unwrap());
}
