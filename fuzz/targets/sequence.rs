//! Numbers in records' headers, and the metadata of committed offsets.

#![no_main]
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use kafka::sequence::{self, Ledger, Verdict};
use libfuzzer_sys::fuzz_target;
use rdkafka::message::{Header, OwnedHeaders};

fuzz_target!(|input: (&str, Vec<&[u8]>)| {
    let (metadata, records) = input;
    let mut ledger = Ledger::parse(metadata);
    for value in records {
        let headers = OwnedHeaders::new().insert(Header { key: sequence::HEADER, value: Some(value) });
        let Some(number) = sequence::read(Some(&headers)).sequence else { continue };
        let again = sequence::stamped(Some(&headers), number);
        assert_eq!(sequence::read(Some(&again)).sequence, Some(number));
        ledger.seen.take(number);
        assert!(matches!(ledger.seen.take(number), Verdict::Repeat { .. }), "taken twice: {number:?}");
    }
    let kept = ledger.to_metadata();
    let back = Ledger::parse(&kept);
    assert_eq!(back.to_metadata(), kept);
    if ledger.fits() {
        assert_eq!(back.seen.missing().is_empty(), ledger.seen.missing().is_empty());
    }
});
