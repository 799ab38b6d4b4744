//! Cost of a record from the bytes of users.processed to the values of its statement: decode, convert, bind.
#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark")]

#[path = "../../domain/benches/common/mod.rs"]
mod common;

use std::collections::BTreeMap;
use std::hint::black_box;

use cassandra_sink::config::TableConfig;
use cassandra_sink::convert::Nulls;
use cassandra_sink::mapping::{Binding, Mapping};
use cassandra_sink::table::Table;
use divan::Bencher;
use domain::pii::PiiPolicy;
use domain::transform;
use events::avro::Layout;
use events::{schemas, wire};
use scylla::cluster::metadata::ColumnType;
use scylla::cluster::metadata::NativeType::{BigInt, Double, Int, Text, Timestamp, Uuid};
use scylla::serialize::writers::RowWriter;

/// `users_by_id`, as `migrations/cassandra` has it: its columns of other types than text, then those of text.
fn table() -> Table {
    let typed = [
        ("id", Uuid),
        ("fetched_at", Timestamp),
        ("date_of_birth", Timestamp),
        ("age", Int),
        ("registered_at", Timestamp),
        ("latitude", Double),
        ("longitude", Double),
        ("source_lsn", BigInt),
        ("committed_at", Timestamp),
    ];
    let texts = "run_id country country_name gender title first_name last_name full_name age_band email email_domain \
                 username phone cell street city state postcode address timezone_offset timezone_description \
                 document_name document_value picture_large picture_medium picture_thumbnail";
    let columns = typed.into_iter().chain(texts.split_whitespace().map(|name| (name, Text)));
    Table {
        name: "users_by_id".to_owned(),
        columns: columns.map(|(name, ty)| (name.to_owned(), ColumnType::Native(ty))).collect(),
        key: vec!["id".to_owned()],
        partition: 1,
    }
}

fn values() -> Vec<Vec<u8>> {
    let schema = schemas::USERS_PROCESSED.parse().unwrap();
    let mut config = serde_avro_fast::ser::SerializerConfig::new(&schema);
    let mut value = |profile: &domain::profile::Profile<'_>| {
        let id = profile.id.to_string();
        let row = common::row(profile, &id);
        let user = transform(&row, &PiiPolicy::keep_all()).unwrap();
        serde_avro_fast::to_datum(&user, wire::header(1).to_vec(), &mut config).unwrap()
    };
    common::profiles().iter().map(&mut value).collect()
}

#[global_allocator]
static ALLOCATIONS: divan::AllocProfiler = divan::AllocProfiler::system();

fn main() {
    divan::main();
}

#[divan::bench]
fn record_to_statement(bencher: Bencher<'_, '_>) {
    // A function of its own can be told apart by scripts/instructions.sh. It does for one table what `Plan::writes`
    // and `Bound` do, which need a prepared statement and so a cluster; the driver gets a buffer of its own.
    #[inline(never)]
    fn hot_path(layout: &Layout, columns: &[Binding], value: &[u8]) {
        let (_, datum) = wire::split(black_box(value)).unwrap();
        let row = layout.decode(datum).unwrap();
        let mut buffer = Vec::new();
        let mut writer = RowWriter::new(&mut buffer);
        for binding in columns {
            binding
                .conversion
                .write(row.cell(binding.cell), Nulls::Unset, writer.make_cell_writer())
                .unwrap();
        }
        black_box(buffer);
    }
    let layout = Layout::parse(schemas::USERS_PROCESSED).unwrap();
    let columns = [("source_lsn", "__lsn"), ("committed_at", "__commit_ts")];
    let columns = columns.map(|(column, field)| (column.to_owned(), field.to_owned()));
    let config = TableConfig { name: "users_by_id".to_owned(), columns: BTreeMap::from(columns) };
    let mapping = Mapping::new(&layout, &table(), &config).unwrap();
    assert!(mapping.unfilled.is_empty(), "{:?}", mapping.unfilled);
    let values = values();
    let mut next = common::endless(&values);
    bencher.bench_local(|| hot_path(&layout, &mapping.columns, next()));
}
