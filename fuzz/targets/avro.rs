//! Schemas as a registry may have them, and data that was not written with its schema.

#![no_main]
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use events::avro::Layout;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, &str, &[u8])| {
    let (which, text, datum) = input;
    let known = [events::schemas::USERS_PROCESSED, NESTED];
    let schema = known.get(usize::from(which)).copied().unwrap_or(text);
    let Ok(layout) = Layout::parse(schema) else { return };
    if let Ok(row) = layout.decode(datum) {
        assert!(row.cells.len() <= datum.len() + schema.len(), "cells that nothing stands for");
    }
});

const NESTED: &str = r#"{"type": "record", "name": "nested", "fields": [
    {"name": "list", "type": {"type": "array", "items": ["null", "string"]}},
    {"name": "map", "type": {"type": "map", "values": {"type": "array", "items": "null"}}},
    {"name": "next", "type": ["null", "nested"]},
    {"name": "fixed", "type": {"type": "fixed", "name": "four", "size": 4}},
    {"name": "double", "type": "double"}]}"#;
