//! Cost of a record from the bytes of users.raw to those of users.processed: decode, transform, encode.
#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark")]

#[path = "../../domain/benches/common/mod.rs"]
mod common;

use std::hint::black_box;

use divan::Bencher;
use domain::pii::PiiPolicy;
use domain::profile::Profile;
use events::wire;
use serde_json::json;
use stream_processor::engine::Engine;

use common::FETCHED_AT;

const RAW: &str = include_str!("users.raw.avsc");
const RAW_ID: u32 = 1;

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
fn process_record(bencher: Bencher<'_, '_>) {
    // A function of its own can be told apart by scripts/instructions.sh.
    #[inline(never)]
    fn hot_path(engine: &mut Engine, (key, value): &(String, Vec<u8>)) {
        black_box(engine.process(Some(key.as_bytes()), Some(black_box(value))).unwrap());
    }
    let schema = RAW.parse().unwrap();
    let records: Vec<_> = common::profiles().iter().map(|profile| record(profile, &schema)).collect();
    let mut engine = Engine::new(2, PiiPolicy::keep_all(), 1_000_000);
    engine.learn(RAW_ID, RAW);
    let mut next = common::endless(&records);
    bencher.bench_local(|| hot_path(&mut engine, next()));
}
