//! Cost of a change from the bytes of `pgoutput` to key and value of its record: decode, encode.
#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark")]

#[path = "../../domain/benches/common/mod.rs"]
mod common;

use std::hint::black_box;

use divan::Bencher;
use domain::profile::Profile;
use events::meta::Op;
use relay::pgoutput::{self, RelationColumn, RelationMessage, ReplicaIdentity, Row, Rows};
use relay::plan::{Plan, Stamp};
use relay::table::Table;
use relay::value::ColumnType::{self, Float8, Int4, Text, Timestamptz, Uuid};

/// As `migrations/postgres` has them.
const COLUMNS: [(&str, ColumnType); 29] = [
    ("id", Uuid),
    ("run_id", Text),
    ("fetched_at", Timestamptz),
    ("nat", Text),
    ("gender", Text),
    ("title", Text),
    ("first_name", Text),
    ("last_name", Text),
    ("street_number", Int4),
    ("street_name", Text),
    ("city", Text),
    ("state", Text),
    ("country", Text),
    ("postcode", Text),
    ("latitude", Float8),
    ("longitude", Float8),
    ("timezone_offset", Text),
    ("timezone_description", Text),
    ("email", Text),
    ("username", Text),
    ("date_of_birth", Timestamptz),
    ("registered_at", Timestamptz),
    ("phone", Text),
    ("cell", Text),
    ("document_name", Text),
    ("document_value", Text),
    ("picture_large", Text),
    ("picture_medium", Text),
    ("picture_thumbnail", Text),
];

/// Those of the replica identity.
const IDENTITY: [&str; 4] = ["id", "nat", "registered_at", "run_id"];

/// PostgreSQL counts from 2000.
const EPOCH_2000: i64 = 946_684_800_000_000;

fn table() -> Table {
    let columns = COLUMNS.iter().map(|(name, _)| RelationColumn {
        name: (*name).to_owned(),
        type_id: 0,
        identity: IDENTITY.contains(name),
    });
    let relation = RelationMessage {
        id: 1,
        schema: "public".to_owned(),
        table: "users".to_owned(),
        replica_identity: ReplicaIdentity::Index,
        columns: columns.collect(),
    };
    Table::new(&relation, &COLUMNS.map(|(_, ty)| ty), &["id".to_owned()], true).unwrap()
}

/// An insert as PostgreSQL sends it to a reader that asks for binary values.
fn insert(profile: &Profile<'_>) -> Vec<u8> {
    let text = |value: &str| Some(value.as_bytes().to_vec());
    let time = |micros: i64| Some((micros - EPOCH_2000).to_be_bytes().to_vec());
    let values: [Option<Vec<u8>>; 29] = [
        Some(profile.id.as_bytes().to_vec()),
        text("bench"),
        time(common::FETCHED_AT),
        text(&profile.nat),
        text(&profile.gender),
        text(&profile.title),
        text(&profile.first_name),
        text(&profile.last_name),
        Some(profile.street_number.to_be_bytes().to_vec()),
        text(&profile.street_name),
        text(&profile.city),
        text(&profile.state),
        text(&profile.country),
        text(&profile.postcode),
        Some(profile.latitude.to_be_bytes().to_vec()),
        Some(profile.longitude.to_be_bytes().to_vec()),
        text(&profile.timezone_offset),
        text(&profile.timezone_description),
        text(&profile.email),
        text(&profile.username),
        time(profile.date_of_birth.timestamp_micros()),
        time(profile.registered_at.timestamp_micros()),
        text(&profile.phone),
        text(&profile.cell),
        profile.document_name.as_deref().and_then(text),
        profile.document_value.as_deref().and_then(text),
        text(&profile.picture_large),
        text(&profile.picture_medium),
        text(&profile.picture_thumbnail),
    ];
    let mut message = b"I\0\0\0\x01N\0\x1d".to_vec();
    for value in values {
        let Some(value) = value else {
            message.push(b'n');
            continue;
        };
        message.push(b'b');
        message.extend(u32::try_from(value.len()).unwrap().to_be_bytes());
        message.extend(value);
    }
    message
}

#[global_allocator]
static ALLOCATIONS: divan::AllocProfiler = divan::AllocProfiler::system();

fn main() {
    divan::main();
}

/// What is kept from change to change.
struct Relay {
    plan: Plan,
    rows: Rows,
    key: Vec<u8>,
    value: Vec<u8>,
}

#[divan::bench]
fn change_to_record(bencher: Bencher<'_, '_>) {
    // A function of its own can be told apart by scripts/instructions.sh.
    #[inline(never)]
    fn hot_path(relay: &mut Relay, data: &[u8]) {
        black_box(pgoutput::parse(black_box(data), &mut relay.rows).unwrap());
        let row = Row { data, cells: &relay.rows.new };
        let stamp = Stamp { lsn: 1, commit_micros: common::FETCHED_AT };
        relay.plan.write_key(row, &mut relay.key).unwrap();
        relay.plan.write_value(Op::Create, row, None, stamp, &mut relay.value).unwrap();
        black_box((&relay.key, &relay.value));
    }
    let messages: Vec<_> = common::profiles().iter().map(insert).collect();
    let mut relay =
        Relay { plan: Plan::new(&table(), 1), rows: Rows::default(), key: Vec::new(), value: Vec::new() };
    let mut next = common::endless(&messages);
    bencher.bench_local(|| hot_path(&mut relay, next()));
}
