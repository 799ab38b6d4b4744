//! Rows of `COPY` in both forms, and values of every type.

#![no_main]
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use libfuzzer_sys::fuzz_target;
use relay::pgoutput::{Cell, Row};
use relay::snapshot::copy::{read_binary, read_text};
use relay::value::{ColumnType, Format};

const TYPES: [ColumnType; 17] = [
    ColumnType::Bool,
    ColumnType::Int2,
    ColumnType::Int4,
    ColumnType::Int8,
    ColumnType::Float4,
    ColumnType::Float8,
    ColumnType::Text,
    ColumnType::Bpchar,
    ColumnType::Bytea,
    ColumnType::Uuid,
    ColumnType::Date,
    ColumnType::Timestamp,
    ColumnType::Timestamptz,
    ColumnType::Json,
    ColumnType::Jsonb,
    ColumnType::Numeric,
    ColumnType::Other,
];

fuzz_target!(|row: &[u8]| {
    let (mut text, mut cells) = (Vec::new(), Vec::new());
    if read_binary(row, &mut cells).is_some() {
        encode(row, &cells);
    }
    cells.clear();
    if read_text(row, &mut text, &mut cells).is_some() {
        encode(&text, &cells);
    }
});

fn encode(data: &[u8], cells: &[Cell]) {
    let (row, mut out) = (Row { data, cells }, Vec::new());
    for column in 0..cells.len().min(8) {
        let Some((format, bytes)) = row.value(column) else { continue };
        for ty in TYPES {
            out.clear();
            if format == Format::Text || ty.reads_binary() {
                let _ = ty.encode(format, bytes, &mut out);
            }
            out.clear();
            if format == Format::Text || ty.key_from_binary() {
                let _ = ty.write_text(format, bytes, &mut out);
            }
        }
    }
}
