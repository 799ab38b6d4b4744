//! Messages of the replication stream.

#![no_main]
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use libfuzzer_sys::fuzz_target;
use relay::pgoutput::{Cell, ChangeKind, Message, Row, Rows, parse};

fuzz_target!(|message: &[u8]| {
    let mut rows = Rows::default();
    let Ok(Message::Change { kind, .. }) = parse(message, &mut rows) else { return };
    let of_change = match kind {
        ChangeKind::Insert => vec![&rows.new],
        ChangeKind::Update { has_old: true } => vec![&rows.new, &rows.old],
        ChangeKind::Update { has_old: false } => vec![&rows.new],
        ChangeKind::Delete => vec![&rows.old],
    };
    for cells in of_change {
        let row = Row { data: message, cells };
        for (column, cell) in cells.iter().enumerate() {
            if let Cell::Value(format, start, end) = *cell {
                assert_eq!(row.value(column), Some((format, &message[start as usize..end as usize])));
            }
        }
    }
});
