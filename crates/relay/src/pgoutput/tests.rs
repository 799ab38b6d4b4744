use proptest::prelude::*;

use super::*;
use crate::value::Format;

/// A row as pgoutput sends it: `None` null, otherwise the tag (`t`, `b`, `u`) and the bytes.
pub(crate) fn tuple(columns: &[Option<(u8, &[u8])>]) -> Vec<u8> {
    let mut out = u16::try_from(columns.len()).unwrap().to_be_bytes().to_vec();
    for column in columns {
        match column {
            None => out.push(b'n'),
            Some((b'u', _)) => out.push(b'u'),
            Some((tag, bytes)) => {
                out.push(*tag);
                out.extend_from_slice(&u32::try_from(bytes.len()).unwrap().to_be_bytes());
                out.extend_from_slice(bytes);
            }
        }
    }
    out
}

fn message(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

#[test]
fn an_insert() {
    // INSERT INTO t VALUES (7, NULL, 'x') with the first column in binary.
    let data = b"I\x00\x00\x40\x01N\x00\x03b\x00\x00\x00\x04\x00\x00\x00\x07nt\x00\x00\x00\x01x";
    let mut rows = Rows::default();
    let parsed = parse(data, &mut rows).unwrap();
    assert_eq!(parsed, Message::Change { relation: 0x4001, kind: ChangeKind::Insert });
    let row = Row { data, cells: &rows.new };
    assert_eq!(row.value(0), Some((Format::Binary, &[0, 0, 0, 7][..])));
    assert_eq!(row.cell(1), Cell::Null);
    assert_eq!(row.value(2), Some((Format::Text, &b"x"[..])));
    assert_eq!(row.cell(3), Cell::Null);
}

#[test]
fn an_update_with_and_without_the_old_row() {
    let new = tuple(&[Some((b't', b"1")), Some((b'u', b""))]);
    let mut rows = Rows::default();
    let plain = message(&[b"U\x00\x00\x00\x09N", &new]);
    let parsed = parse(&plain, &mut rows).unwrap();
    assert_eq!(parsed, Message::Change { relation: 9, kind: ChangeKind::Update { has_old: false } });
    assert_eq!(rows.new[1], Cell::Unchanged);
    for tag in [b"K", b"O"] {
        let old = tuple(&[Some((b't', b"0")), None]);
        let data = message(&[b"U\x00\x00\x00\x09", tag, &old, b"N", &new]);
        let parsed = parse(&data, &mut rows).unwrap();
        assert_eq!(parsed, Message::Change { relation: 9, kind: ChangeKind::Update { has_old: true } });
        assert_eq!(Row { data: &data, cells: &rows.old }.value(0), Some((Format::Text, &b"0"[..])));
        assert_eq!(Row { data: &data, cells: &rows.new }.value(0), Some((Format::Text, &b"1"[..])));
    }
}

#[test]
fn a_delete_and_a_truncate() {
    let data = message(&[b"D\x00\x00\x00\x09K", &tuple(&[Some((b't', b"5")), None])]);
    let mut rows = Rows::default();
    let parsed = parse(&data, &mut rows).unwrap();
    assert_eq!(parsed, Message::Change { relation: 9, kind: ChangeKind::Delete });
    assert_eq!(Row { data: &data, cells: &rows.old }.value(0), Some((Format::Text, &b"5"[..])));
    let parsed = parse(b"T\x00\x00\x00\x02\x01\x00\x00\x00\x09\x00\x00\x00\x0a", &mut rows).unwrap();
    assert_eq!(parsed, Message::Truncate { relations: vec![9, 10] });
}

#[test]
fn a_relation() {
    let data = b"R\x00\x00\x40\x01public\0users\0i\x00\x02\x01id\0\x00\x00\x0b\x86\xff\xff\xff\xff\x00name\0\x00\x00\x00\x19\xff\xff\xff\xff";
    let Message::Relation(relation) = parse(data, &mut Rows::default()).unwrap() else {
        panic!("not a relation");
    };
    assert_eq!((relation.id, &*relation.schema, &*relation.table), (0x4001, "public", "users"));
    assert_eq!(relation.replica_identity, ReplicaIdentity::Index);
    assert_eq!(
        relation.columns,
        [
            RelationColumn { name: "id".to_owned(), type_id: 2950, identity: true },
            RelationColumn { name: "name".to_owned(), type_id: 25, identity: false },
        ]
    );
}

#[test]
fn what_the_protocol_does_not_have_is_an_error() {
    let mut rows = Rows::default();
    for (data, error) in [
        (&b""[..], Malformed::Short { len: 0, at: 0, wanted: 1 }),
        (b"S", Malformed::Tag { found: b'S', at: 0 }),
        (b"I\x00\x00\x00\x01X", Malformed::Tag { found: b'X', at: 5 }),
        (b"I\x00\x00\x00\x01N\x00\x01t\x00\x00\x00\x09x", Malformed::Short { len: 14, at: 13, wanted: 9 }),
        (b"R\x00\x00\x00\x01\xff\0", Malformed::Name { at: 5 }),
    ] {
        assert_eq!(parse(data, &mut rows).unwrap_err(), error);
    }
    assert_eq!(parse(b"O\0\0\0\0\0\0\0\0x\0", &mut rows), Ok(Message::Ignored));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(data in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut rows = Rows::default();
        if parse(&data, &mut rows).is_ok() {
            for column in 0..rows.new.len() {
                let _ = Row { data: &data, cells: &rows.new }.value(column);
            }
        }
    }

    #[test]
    fn every_row_comes_back(columns in proptest::collection::vec(
        proptest::option::of((prop_oneof![Just(b't'), Just(b'b')], proptest::collection::vec(any::<u8>(), 0..9))), 0..9))
    {
        let borrowed: Vec<_> = columns.iter().map(|c| c.as_ref().map(|(tag, bytes)| (*tag, bytes.as_slice()))).collect();
        let data = message(&[b"I\x00\x00\x00\x01N", &tuple(&borrowed)]);
        let mut rows = Rows::default();
        parse(&data, &mut rows).unwrap();
        let row = Row { data: &data, cells: &rows.new };
        prop_assert_eq!(rows.new.len(), columns.len());
        for (index, column) in columns.iter().enumerate() {
            let expected = column.as_ref().map(|(tag, bytes)| {
                (if *tag == b't' { Format::Text } else { Format::Binary }, bytes.as_slice())
            });
            prop_assert_eq!(row.value(index), expected);
        }
    }
}
