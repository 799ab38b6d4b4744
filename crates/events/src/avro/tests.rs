use apache_avro::Schema;
use apache_avro::types::Value;
use apache_avro::writer::datum::GenericDatumWriter;
use proptest::prelude::*;

use super::*;

/// Every type, with what has no column in between: the walk must pass over it to the byte.
const SCHEMA: &str = r#"{"type":"record","name":"T","namespace":"test","fields":[
  {"name":"id","type":{"type":"string","logicalType":"uuid"}},
  {"name":"flag","type":["null","boolean"]},
  {"name":"list","type":{"type":"array","items":{"type":"map","values":"long"}}},
  {"name":"small","type":"int"},
  {"name":"colour","type":{"type":"enum","name":"Colour","symbols":["RED","GREEN"]}},
  {"name":"at","type":["null",{"type":"long","logicalType":"timestamp-micros"}]},
  {"name":"inner","type":{"type":"record","name":"Inner","fields":[
     {"name":"deep","type":["null","Inner"]},{"name":"hash","type":{"type":"fixed","name":"Hash","size":3}}]}},
  {"name":"ratio","type":["double","null"]},
  {"name":"hash","type":"Hash"},
  {"name":"blob","type":"bytes"},
  {"name":"day","type":{"type":"int","logicalType":"date"}},
  {"name":"__before","type":["null",{"type":"record","name":"Before","fields":[
     {"name":"small","type":"int"},{"name":"at","type":{"type":"long","logicalType":"timestamp-micros"}}]}]},
  {"name":"__op","type":"string"}]}"#;

fn nullable(value: Option<Value>) -> Value {
    value.map_or_else(|| Value::Union(0, Box::new(Value::Null)), |value| Value::Union(1, Box::new(value)))
}

fn inner(depth: u32) -> Value {
    let deep = (depth > 0).then(|| inner(depth - 1));
    Value::Record(vec![
        ("deep".to_owned(), nullable(deep)),
        ("hash".to_owned(), Value::Fixed(3, vec![1, 2, 3])),
    ])
}

fn encode(schema: &str, value: Value) -> Vec<u8> {
    let schema = Schema::parse_str(schema).unwrap();
    let mut datum = Vec::new();
    GenericDatumWriter::builder(&schema).build().unwrap().write_value(&mut datum, value).unwrap();
    datum
}

#[derive(Debug, Clone)]
struct Sample {
    id: String,
    flag: Option<bool>,
    lists: Vec<Vec<(String, i64)>>,
    small: i32,
    at: Option<i64>,
    depth: u32,
    ratio: Option<f64>,
    blob: Vec<u8>,
    day: i32,
    before: Option<(i32, i64)>,
}

fn sample() -> impl Strategy<Value = Sample> {
    (
        (
            ".*",
            any::<Option<bool>>(),
            prop::collection::vec(prop::collection::vec((".*", any::<i64>()), 0..3), 0..3),
        ),
        (any::<i32>(), any::<Option<i64>>(), 0_u32..4, prop::option::of(-1e9..1e9_f64)),
        (any::<Vec<u8>>(), any::<i32>(), any::<Option<(i32, i64)>>()),
    )
        .prop_map(|((id, flag, lists), (small, at, depth, ratio), (blob, day, before))| Sample {
            id,
            flag,
            lists,
            small,
            at,
            depth,
            ratio,
            blob,
            day,
            before,
        })
}

fn datum(sample: &Sample) -> Vec<u8> {
    let lists = sample
        .lists
        .iter()
        .map(|map| Value::Map(map.iter().map(|(key, value)| (key.clone(), Value::Long(*value))).collect()));
    let ratio = match sample.ratio {
        Some(ratio) => Value::Union(0, Box::new(Value::Double(ratio))),
        None => Value::Union(1, Box::new(Value::Null)),
    };
    let before = sample.before.map(|(small, at)| {
        Value::Record(vec![
            ("small".to_owned(), Value::Int(small)),
            ("at".to_owned(), Value::TimestampMicros(at)),
        ])
    });
    // The textual schema without the logical type, as a UUID is written as any text.
    let schema = SCHEMA.replace(r#"{"type":"string","logicalType":"uuid"}"#, r#""string""#);
    encode(
        &schema,
        Value::Record(vec![
            ("id".to_owned(), Value::String(sample.id.clone())),
            ("flag".to_owned(), nullable(sample.flag.map(Value::Boolean))),
            ("list".to_owned(), Value::Array(lists.collect())),
            ("small".to_owned(), Value::Int(sample.small)),
            ("colour".to_owned(), Value::Enum(1, "GREEN".to_owned())),
            ("at".to_owned(), nullable(sample.at.map(Value::TimestampMicros))),
            ("inner".to_owned(), inner(sample.depth)),
            ("ratio".to_owned(), ratio),
            ("hash".to_owned(), Value::Fixed(3, vec![9, 8, 7])),
            ("blob".to_owned(), Value::Bytes(sample.blob.clone())),
            ("day".to_owned(), Value::Date(sample.day)),
            ("__before".to_owned(), nullable(before)),
            ("__op".to_owned(), Value::String("u".to_owned())),
        ]),
    )
}

fn at<'d>(layout: &Layout, row: &Row<'d>, field: &str) -> Cell<'d> {
    row.cell(layout.cell(field).unwrap().0)
}

proptest! {
    /// What apache-avro writes is read back, field by field.
    #[test]
    fn reads_what_another_library_writes(sample in sample()) {
        let layout = Layout::parse(SCHEMA).unwrap();
        let datum = datum(&sample);
        let row = layout.decode(&datum).unwrap();
        prop_assert_eq!(at(&layout, &row, "id"), Cell::String(&sample.id));
        prop_assert_eq!(at(&layout, &row, "flag"), sample.flag.map_or(Cell::Null, Cell::Boolean));
        prop_assert_eq!(at(&layout, &row, "small"), Cell::Int(sample.small));
        prop_assert_eq!(at(&layout, &row, "at"), sample.at.map_or(Cell::Null, Cell::Long));
        prop_assert_eq!(at(&layout, &row, "ratio"), sample.ratio.map_or(Cell::Null, Cell::Double));
        prop_assert_eq!(at(&layout, &row, "hash"), Cell::Bytes(&[9, 8, 7]));
        prop_assert_eq!(at(&layout, &row, "blob"), Cell::Bytes(&sample.blob));
        prop_assert_eq!(at(&layout, &row, "day"), Cell::Int(sample.day));
        prop_assert_eq!(at(&layout, &row, "__op"), Cell::String("u"));
        prop_assert_eq!(row.has_before, sample.before.is_some());
        let old = |field: &str| row.cell(layout.before_cell(field).unwrap().0);
        prop_assert_eq!(old("small"), sample.before.map_or(Cell::Null, |(small, _)| Cell::Int(small)));
        prop_assert_eq!(old("at"), sample.before.map_or(Cell::Null, |(_, at)| Cell::Long(at)));
    }

    /// A datum that is cut off anywhere, or has bytes too many, is no record.
    #[test]
    fn refuses_any_other_length(sample in sample(), cut in any::<prop::sample::Index>()) {
        let layout = Layout::parse(SCHEMA).unwrap();
        let datum = datum(&sample);
        let short = &datum[..cut.index(datum.len())];
        prop_assert!(layout.decode(short).is_err());
        prop_assert!(layout.decode(&[&datum[..], &[0]].concat()).is_err());
    }

    /// Garbage ends, and never in a panic.
    #[test]
    fn survives_garbage(datum in any::<Vec<u8>>()) {
        let _ = Layout::parse(SCHEMA).unwrap().decode(&datum);
        let _ = Layout::parse(crate::schemas::USERS_PROCESSED).unwrap().decode(&datum);
    }
}

#[test]
fn garbage_that_promises_much_ends_soon() {
    let nulls =
        r#"{"type":"record","name":"T","fields":[{"name":"a","type":{"type":"array","items":"null"}}]}"#;
    // A block of 2^60 nulls.
    let mut datum = vec![0x80; 8];
    datum.push(0x20);
    let error = Layout::parse(nulls).unwrap().decode(&datum).unwrap_err();
    assert!(error.to_string().contains("too many items"), "{error}");

    let nested = r#"{"type":"record","name":"T","fields":[{"name":"a","type":["null","T"]}]}"#;
    let error = Layout::parse(nested).unwrap().decode(&[2; 100_000]).unwrap_err();
    assert!(error.to_string().contains("too deep"), "{error}");
}

#[test]
fn types_are_told_apart() {
    let layout = Layout::parse(SCHEMA).unwrap();
    for (field, name) in [
        ("id", "string (uuid)"),
        ("flag", "boolean"),
        ("list", "array"),
        ("colour", "enum test.Colour"),
        ("at", "long (timestamp-micros)"),
        ("inner", "record test.Inner"),
        ("day", "int (date)"),
    ] {
        assert_eq!(layout.cell(field).unwrap().1.field_type.to_string(), name);
    }
    assert!(layout.cell("nothing").is_none());
}

#[test]
fn what_is_no_record_schema_is_an_error() {
    assert!(matches!(Layout::parse("{"), Err(LayoutError::Parse(_))));
    assert!(matches!(Layout::parse("\"string\""), Err(LayoutError::NotARecord)));
}
