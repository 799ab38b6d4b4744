//! Records checked with apache-avro's own reader.

use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::types::Value;
use events::meta::Op;
use proptest::prelude::*;

use super::*;
use crate::pgoutput::{self, RelationColumn, RelationMessage, ReplicaIdentity, Rows};
use crate::schema::value_schema;

const TYPES: [(&str, ColumnType); 17] = [
    ("id", ColumnType::Uuid),
    ("a_bool", ColumnType::Bool),
    ("an_int2", ColumnType::Int2),
    ("an_int4", ColumnType::Int4),
    ("an_int8", ColumnType::Int8),
    ("a_float4", ColumnType::Float4),
    ("a_float8", ColumnType::Float8),
    ("a_text", ColumnType::Text),
    ("a_bpchar", ColumnType::Bpchar),
    ("a_bytea", ColumnType::Bytea),
    ("a_date", ColumnType::Date),
    ("a_timestamp", ColumnType::Timestamp),
    ("a_timestamptz", ColumnType::Timestamptz),
    ("a_json", ColumnType::Json),
    ("a_jsonb", ColumnType::Jsonb),
    ("a_numeric", ColumnType::Numeric),
    ("an_interval", ColumnType::Other),
];

const STAMP: Stamp = Stamp { lsn: 0x1_0000_0010, commit_micros: 1_700_000_000_000_001 };

fn relation(identity: ReplicaIdentity, columns: &[(&str, bool)]) -> RelationMessage {
    RelationMessage {
        id: 1,
        schema: "public".to_owned(),
        table: "things".to_owned(),
        replica_identity: identity,
        columns: columns
            .iter()
            .map(|(name, identity)| RelationColumn {
                name: (*name).to_owned(),
                type_id: 0,
                identity: *identity,
            })
            .collect(),
    }
}

fn all_types() -> Table {
    let columns: Vec<_> = TYPES.iter().map(|(name, _)| (*name, *name == "id")).collect();
    let types: Vec<_> = TYPES.iter().map(|(_, ty)| *ty).collect();
    Table::new(&relation(ReplicaIdentity::Default, &columns), &types, &["id".to_owned()], true).unwrap()
}

/// Two text columns in the identity, one of them the key, and one column beside them.
fn small(identity: ReplicaIdentity) -> Table {
    let full = identity == ReplicaIdentity::Full;
    let relation = relation(identity, &[("id", true), ("place", true), ("note", full)]);
    Table::new(&relation, &[ColumnType::Text; 3], &["id".to_owned()], true).unwrap()
}

fn insert(cells: &[Option<(u8, &[u8])>]) -> (Vec<u8>, Rows) {
    let data = [b"I\0\0\0\x01N", &pgoutput::tests::tuple(cells)[..]].concat();
    let mut rows = Rows::default();
    pgoutput::parse(&data, &mut rows).unwrap();
    (data, rows)
}

/// Decodes with apache-avro, as a consumer with the registered schema would.
fn decode(table: &Table, value: &[u8]) -> Vec<(String, Value)> {
    let schema = Schema::parse_str(&value_schema("test", table).unwrap()).unwrap();
    let (id, mut datum) = wire::split(value).unwrap();
    assert_eq!(id, 7);
    let decoded = GenericDatumReader::builder(&schema).build().unwrap().read_value(&mut datum).unwrap();
    assert!(datum.is_empty(), "the datum ends with its schema");
    let Value::Record(fields) = decoded else { panic!("not a record") };
    fields
}

fn field<'a>(fields: &'a [(String, Value)], name: &str) -> &'a Value {
    let (_, value) = fields.iter().find(|(field, _)| field == name).unwrap();
    match value {
        Value::Union(_, inner) => inner,
        other => other,
    }
}

fn write(table: &Table, op: Op, row: Row<'_>, before: Option<Row<'_>>) -> Vec<(String, Value)> {
    let mut out = b"left over".to_vec();
    Plan::new(table, 7).write_value(op, row, before, STAMP, &mut out).unwrap();
    decode(table, &out)
}

#[test]
fn every_type_in_both_forms() {
    let uuid: [u8; 16] = *b"\x12\x3e\x45\x67\xe8\x9b\x12\xd3\xa4\x56\x42\x66\x14\x17\x40\x00";
    let text: Vec<Option<(u8, &[u8])>> = [
        &b"123e4567-e89b-12d3-a456-426614174000"[..],
        b"t",
        b"-2",
        b"2147483647",
        b"-9223372036854775808",
        b"1.5",
        b"-1e-300",
        "Zoë".as_bytes(),
        b"ab  ",
        br"\x00ff",
        b"1969-12-31",
        b"1970-01-01 00:00:00.000001",
        b"2000-01-01 01:00:00+01",
        b"{\"a\": 1}",
        b"[]",
        b"12345.678",
        b"1 day 02:00:00",
    ]
    .map(|value| Some((b't', value)))
    .to_vec();
    let mut binary = text.clone();
    let (f4, f8) = (1.5_f32.to_be_bytes(), (-1e-300_f64).to_be_bytes());
    let (date, stamp, tz) =
        ((-10_958_i32).to_be_bytes(), (-946_684_799_999_999_i64).to_be_bytes(), 0_i64.to_be_bytes());
    let forms: [&[u8]; 16] = [
        &uuid,
        &[1],
        &[0xff, 0xfe],
        &[0x7f, 0xff, 0xff, 0xff],
        &[0x80, 0, 0, 0, 0, 0, 0, 0],
        &f4,
        &f8,
        "Zoë".as_bytes(),
        b"ab  ",
        &[0, 0xff],
        &date,
        &stamp,
        &tz,
        b"{\"a\": 1}",
        b"\x01[]",
        &[0, 3, 0, 1, 0, 0, 0, 3, 0, 1, 9, 0x29, 0x1a, 0x7c],
    ];
    for (cell, bytes) in binary.iter_mut().zip(forms) {
        *cell = Some((b'b', bytes));
    }

    let table = all_types();
    for cells in [text, binary] {
        let (data, rows) = insert(&cells);
        let row = Row { data: &data, cells: &rows.new };
        let fields = write(&table, Op::Create, row, None);
        let expected = [
            ("id", Value::Uuid("123e4567-e89b-12d3-a456-426614174000".parse().unwrap())),
            ("a_bool", Value::Boolean(true)),
            ("an_int2", Value::Int(-2)),
            ("an_int4", Value::Int(i32::MAX)),
            ("an_int8", Value::Long(i64::MIN)),
            ("a_float4", Value::Float(1.5)),
            ("a_float8", Value::Double(-1e-300)),
            ("a_text", Value::String("Zoë".to_owned())),
            ("a_bpchar", Value::String("ab  ".to_owned())),
            ("a_bytea", Value::Bytes(vec![0, 0xff])),
            ("a_date", Value::Date(-1)),
            ("a_timestamp", Value::TimestampMicros(1)),
            ("a_timestamptz", Value::TimestampMicros(946_684_800_000_000)),
            ("a_json", Value::String("{\"a\": 1}".to_owned())),
            ("a_jsonb", Value::String("[]".to_owned())),
            ("a_numeric", Value::String("12345.678".to_owned())),
            ("an_interval", Value::String("1 day 02:00:00".to_owned())),
            ("__before", Value::Null),
            ("__op", Value::String("c".to_owned())),
            ("__lsn", Value::Long(0x1_0000_0010)),
            ("__commit_ts", Value::TimestampMicros(1_700_000_000_000_001)),
        ];
        let names: Vec<_> = fields.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, expected.iter().map(|(name, _)| *name).collect::<Vec<_>>());
        for (name, value) in expected {
            assert_eq!(*field(&fields, name), value, "{name}");
        }
        let mut key = Vec::new();
        Plan::new(&table, 7).write_key(row, &mut key).unwrap();
        assert_eq!(key, b"123e4567-e89b-12d3-a456-426614174000");
    }
}

#[test]
fn a_delete_has_the_identity_and_nothing_else() {
    let table = small(ReplicaIdentity::Index);
    let (data, rows) = insert(&[Some((b't', b"1")), Some((b't', b"DE")), None]);
    let fields = write(&table, Op::Delete, Row { data: &data, cells: &rows.new }, None);
    assert_eq!(*field(&fields, "id"), Value::String("1".to_owned()));
    assert_eq!(*field(&fields, "place"), Value::String("DE".to_owned()));
    assert_eq!(*field(&fields, "note"), Value::Null);
    assert_eq!(*field(&fields, "__op"), Value::String("d".to_owned()));
}

#[test]
fn before_has_the_old_identity() {
    let (old_data, old) = insert(&[Some((b't', b"1")), Some((b't', b"DE")), None]);
    let (new_data, new) = insert(&[Some((b't', b"1")), Some((b't', b"FR")), Some((b't', b"x"))]);
    let (old, new) = (Row { data: &old_data, cells: &old.new }, Row { data: &new_data, cells: &new.new });
    for identity in [ReplicaIdentity::Index, ReplicaIdentity::Full] {
        let table = small(identity);
        let plan = Plan::new(&table, 7);
        assert!(plan.identity_changed(old, new));
        assert!(!plan.identity_changed(new, new));
        let fields = write(&table, Op::Update, new, Some(old));
        let Value::Record(before) = field(&fields, "__before") else { panic!("no record") };
        assert_eq!(*field(before, "place"), Value::String("DE".to_owned()));
        let wanted = if identity == ReplicaIdentity::Full { 3 } else { 2 };
        assert_eq!(before.len(), wanted);
    }
}

#[test]
fn a_missing_identity_is_an_error_that_names_the_column() {
    let (data, rows) = insert(&[Some((b't', b"1")), None, None]);
    let row = Row { data: &data, cells: &rows.new };
    let table = small(ReplicaIdentity::Index);
    let error = Plan::new(&table, 7).write_value(Op::Create, row, None, STAMP, &mut Vec::new()).unwrap_err();
    assert_eq!(error, PlanError::Missing { table: table.name, column: "place".to_owned() });
    // With a full identity only the key must be there.
    let full = small(ReplicaIdentity::Full);
    assert!(Plan::new(&full, 7).write_value(Op::Create, row, None, STAMP, &mut Vec::new()).is_ok());
}

#[test]
fn keys_of_several_columns() {
    let relation = relation(ReplicaIdentity::Default, &[("n", true), ("note", false), ("code", true)]);
    let types = [ColumnType::Int4, ColumnType::Text, ColumnType::Text];
    let table = Table::new(&relation, &types, &["code".to_owned(), "n".to_owned()], true).unwrap();
    let (data, rows) = insert(&[Some((b'b', &[0, 0, 0, 5])), None, Some((b'b', b"x"))]);
    let plan = Plan::new(&table, 7);
    let mut key = Vec::new();
    plan.write_key(Row { data: &data, cells: &rows.new }, &mut key).unwrap();
    assert_eq!(key, b"x|5");
    assert_eq!(
        plan.key_values(Row { data: &data, cells: &rows.new }).unwrap(),
        [b"x".to_vec(), b"5".to_vec()]
    );
}

#[test]
fn tables_that_can_not_be_keyed_say_what_to_do() {
    let relation = relation(ReplicaIdentity::Index, &[("id", false), ("place", true)]);
    let types = [ColumnType::Text; 2];
    for (key, has_old_rows, wanted) in [
        (&[][..], true, "ADD PRIMARY KEY"),
        (&["gone"][..], true, "gone of public.things is part of the key and not published"),
        (&["id"][..], true, "REPLICA IDENTITY DEFAULT"),
    ] {
        let key: Vec<_> = key.iter().map(|&column| column.to_owned()).collect();
        let error = Table::new(&relation, &types, &key, has_old_rows).unwrap_err().to_string();
        assert!(error.contains(wanted), "{error}");
    }
    // Inserts alone need no old rows.
    assert!(Table::new(&relation, &types, &["id".to_owned()], false).is_ok());
}

#[test]
fn names_outside_of_avros_alphabet() {
    let odd = relation(ReplicaIdentity::Default, &[("id", true), ("2nd Größe", false)]);
    let table = Table::new(&odd, &[ColumnType::Int4; 2], &["id".to_owned()], true).unwrap();
    let schema = Schema::parse_str(&value_schema("test", &table).unwrap()).unwrap();
    let Schema::Record(record) = &schema else { panic!("not a record") };
    assert_eq!(record.name.fullname(None), "test.public.things.Value");
    assert_eq!(record.fields[1].name, "_2nd_Gr__e");
    for other in ["id!", "__op"] {
        let clash = relation(ReplicaIdentity::Default, &[("id", true), ("id_", false), (other, false)]);
        let table = Table::new(&clash, &[ColumnType::Int4; 3], &["id".to_owned()], true).unwrap();
        let error = value_schema("test", &table).unwrap_err().to_string();
        assert!(error.contains(other) && error.contains("RENAME COLUMN"), "{error}");
    }
}

/// What BACKWARD compatibility promises: the new schema reads what the old one wrote.
#[test]
fn a_new_column_reads_as_null_in_old_records() {
    let old = small(ReplicaIdentity::Index);
    let mut wider = relation(ReplicaIdentity::Index, &[("id", true), ("place", true), ("note", false)]);
    wider.columns.push(RelationColumn { name: "extra".to_owned(), type_id: 0, identity: false });
    let new = Table::new(&wider, &[ColumnType::Text; 4], &["id".to_owned()], true).unwrap();
    let (data, rows) = insert(&[Some((b't', b"1")), Some((b't', b"DE")), None]);
    let mut value = Vec::new();
    let plan = Plan::new(&old, 7);
    plan.write_value(Op::Create, Row { data: &data, cells: &rows.new }, None, STAMP, &mut value).unwrap();
    let [old, new] = [old, new].map(|t| Schema::parse_str(&value_schema("test", &t).unwrap()).unwrap());
    let (_, mut datum) = wire::split(&value).unwrap();
    let reader = GenericDatumReader::builder(&old).reader_schema(&new).build().unwrap();
    let Value::Record(fields) = reader.read_value(&mut datum).unwrap() else { panic!("not a record") };
    assert_eq!(*field(&fields, "extra"), Value::Null);
    assert!(apache_avro::schema_compatibility::SchemaCompatibility::can_read(&old, &new).is_ok());
}

proptest! {
    #[test]
    fn any_row_of_text_comes_back(cells in proptest::collection::vec(proptest::option::of(".{0,20}"), 2), id in ".{1,9}") {
        let table = small(ReplicaIdentity::Full);
        let row: Vec<Option<(u8, &[u8])>> = std::iter::once(Some((b't', id.as_bytes())))
            .chain(cells.iter().map(|cell| cell.as_ref().map(|text| (b't', text.as_bytes()))))
            .collect();
        let (data, rows) = insert(&row);
        let fields = write(&table, Op::Read, Row { data: &data, cells: &rows.new }, None);
        prop_assert_eq!(field(&fields, "id"), &Value::String(id.clone()));
        for (name, cell) in ["place", "note"].iter().zip(&cells) {
            let expected = cell.clone().map_or(Value::Null, Value::String);
            prop_assert_eq!(field(&fields, name), &expected);
        }
    }
}
