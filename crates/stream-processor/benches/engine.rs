//! Cost of a record from the bytes of users.raw to those of users.processed: decode, transform, encode.
#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark")]

use std::hint::black_box;

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use domain::pii::PiiPolicy;
use domain::profile::{Profile, parse};
use events::{schemas, wire};
use serde_json::json;
use serde_json::value::RawValue;
use stream_processor::engine::Engine;

const RAW: &str = include_str!("users.raw.avsc");
const RAW_ID: u32 = 1;
const FETCHED_AT: i64 = 1_767_225_600_000_000;

#[derive(serde::Deserialize)]
struct Page<'a> {
    #[serde(borrow)]
    results: Vec<&'a RawValue>,
}

/// Key and value as the relay writes them.
fn record(profile: &Profile<'_>, schema: &serde_avro_fast::Schema) -> (String, Vec<u8>) {
    let row = json!({
        "id": profile.id, "run_id": "bench", "fetched_at": FETCHED_AT, "nat": profile.nat, "gender": profile.gender,
        "title": profile.title, "first_name": profile.first_name, "last_name": profile.last_name,
        "street_number": profile.street_number, "street_name": profile.street_name, "city": profile.city,
        "state": profile.state, "country": profile.country, "postcode": profile.postcode,
        "latitude": profile.latitude, "longitude": profile.longitude, "timezone_offset": profile.timezone_offset,
        "timezone_description": profile.timezone_description, "email": profile.email, "username": profile.username,
        "date_of_birth": profile.date_of_birth.timestamp_micros(),
        "registered_at": profile.registered_at.timestamp_micros(), "phone": profile.phone, "cell": profile.cell,
        "document_name": profile.document_name, "document_value": profile.document_value,
        "picture_large": profile.picture_large, "picture_medium": profile.picture_medium,
        "picture_thumbnail": profile.picture_thumbnail, "__before": null, "__op": "c", "__lsn": 1,
        "__commit_ts": FETCHED_AT,
    });
    let mut config = serde_avro_fast::ser::SerializerConfig::new(schema);
    let value = serde_avro_fast::to_datum(&row, wire::header(RAW_ID).to_vec(), &mut config).unwrap();
    (profile.id.to_string(), value)
}

#[global_allocator]
static ALLOCATIONS: divan::AllocProfiler = divan::AllocProfiler::system();

fn main() {
    divan::main();
}

#[divan::bench]
fn process(bencher: Bencher<'_, '_>) {
    let page: Page<'_> = serde_json::from_str(include_str!("../../domain/tests/data/profiles.json")).unwrap();
    let schema = RAW.parse().unwrap();
    let records: Vec<_> =
        page.results.iter().map(|profile| record(&parse(profile.get()).unwrap(), &schema)).collect();
    let mut engine = Engine::new(schemas::USERS_PROCESSED, 2, PiiPolicy::keep_all(), 1_000_000).unwrap();
    engine.learn(RAW_ID, RAW);

    bencher
        .counter(ItemsCount::new(records.len()))
        .counter(BytesCount::new(records.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>()))
        .bench_local(|| {
            for (key, value) in &records {
                black_box(engine.process(Some(key.as_bytes()), Some(black_box(value))).unwrap());
            }
        });
}
