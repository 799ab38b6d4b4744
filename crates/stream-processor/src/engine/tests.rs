//! The engine against apache-avro as an independent reader and writer.

use std::borrow::Cow;
use std::collections::HashMap;

use apache_avro::Schema as ReferenceSchema;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::types::Value;
use apache_avro::writer::datum::GenericDatumWriter;
use chrono::DateTime;
use domain::{Before, Month, ProcessedUser, RejectKind};
use proptest::prelude::*;

use super::*;

/// As the relay derives it from the table, shortened by columns that only pass through.
const RAW: &str = r#"{
  "type": "record", "name": "Value", "namespace": "datastreaming.public.users",
  "fields": [
    {"name": "id", "type": {"type": "string", "logicalType": "uuid"}},
    {"name": "run_id", "type": "string"},
    {"name": "fetched_at", "type": ["null", {"type": "long", "logicalType": "timestamp-micros"}], "default": null},
    {"name": "nat", "type": "string"},
    {"name": "first_name", "type": ["null", "string"], "default": null},
    {"name": "last_name", "type": ["null", "string"], "default": null},
    {"name": "street_number", "type": ["null", "int"], "default": null},
    {"name": "latitude", "type": ["null", "double"], "default": null},
    {"name": "email", "type": ["null", "string"], "default": null},
    {"name": "date_of_birth", "type": ["null", {"type": "long", "logicalType": "timestamp-micros"}], "default": null},
    {"name": "registered_at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
    {"name": "loyalty_points", "type": ["null", "long"], "default": null},
    {"name": "__before", "type": ["null", {"type": "record", "name": "Before", "fields": [
      {"name": "id", "type": {"type": "string", "logicalType": "uuid"}},
      {"name": "run_id", "type": "string"},
      {"name": "nat", "type": "string"},
      {"name": "registered_at", "type": {"type": "long", "logicalType": "timestamp-micros"}}
    ]}], "default": null},
    {"name": "__op", "type": "string"},
    {"name": "__lsn", "type": "long"},
    {"name": "__commit_ts", "type": {"type": "long", "logicalType": "timestamp-micros"}}
  ]
}"#;

const RAW_ID: u32 = 7;
const TARGET_ID: u32 = 9;
const ID: &str = "213fc6a6-7f17-4bba-b2f7-22cfd225c0ca";
const SECOND: i64 = 1_000_000;

fn engine() -> Engine {
    let mut engine = Engine::new(TARGET_ID, PiiPolicy::keep_all(), 10_000);
    engine.learn(RAW_ID, RAW);
    engine
}

fn optional(value: Value) -> Value {
    Value::Union(1, Box::new(value))
}

fn text(value: &str) -> Value {
    Value::String(value.to_owned())
}

fn user(changes: &[(&str, Value)]) -> Vec<u8> {
    let id: Value = Value::Uuid(ID.parse().unwrap());
    let before = Value::Record(vec![
        ("id".to_owned(), id.clone()),
        ("run_id".to_owned(), text("old")),
        ("nat".to_owned(), text("NO")),
        ("registered_at".to_owned(), Value::TimestampMicros(0)),
    ]);
    let mut fields = vec![
        ("id", id),
        ("run_id", text("run")),
        ("fetched_at", optional(Value::TimestampMicros(1_700_000_000 * SECOND))),
        ("nat", text("DK")),
        ("first_name", optional(text("Åse"))),
        ("last_name", optional(text("Dahl"))),
        ("street_number", optional(Value::Int(12))),
        ("latitude", optional(Value::Double(-1.5))),
        ("email", optional(text("aase@example.com"))),
        ("date_of_birth", optional(Value::TimestampMicros(-SECOND))),
        ("registered_at", Value::TimestampMicros(1_600_000_000 * SECOND)),
        ("loyalty_points", optional(Value::Long(5))),
        ("__before", optional(before)),
        ("__op", text("u")),
        ("__lsn", Value::Long(77)),
        ("__commit_ts", Value::TimestampMicros(1_700_000_001 * SECOND)),
    ];
    for (name, value) in changes {
        fields.iter_mut().find(|(field, _)| field == name).unwrap().1 = value.clone();
    }
    let record = Value::Record(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect());
    let schema = ReferenceSchema::parse_str(RAW).unwrap();
    let datum = GenericDatumWriter::builder(&schema).build().unwrap().write_value_to_vec(record).unwrap();
    [&wire::header(RAW_ID)[..], &datum].concat()
}

fn process(engine: &mut Engine, value: &[u8]) -> Result<HashMap<String, Value>, &'static str> {
    let record = match engine.process(Some(ID.as_bytes()), Some(value)).unwrap() {
        Outcome::Record(record) => record,
        Outcome::Tombstone => return Err("tombstone"),
        Outcome::DeadLetter(letter) => return Err(letter.kind.as_str()),
    };
    let (id, mut datum) = wire::split(record).unwrap();
    assert_eq!(id, TARGET_ID);
    let schema = ReferenceSchema::parse_str(events::schemas::USERS_PROCESSED).unwrap();
    let Value::Record(fields) =
        GenericDatumReader::builder(&schema).build().unwrap().read_value(&mut datum).unwrap()
    else {
        panic!("a record was written")
    };
    assert!(datum.is_empty());
    Ok(fields.into_iter().collect())
}

#[test]
fn what_it_writes_reads_as_the_schema_says() {
    let fields = process(&mut engine(), &user(&[])).unwrap();
    for (name, value) in [
        ("id", Value::Uuid(ID.parse().unwrap())),
        ("run_id", text("run")),
        ("country", text("DK")),
        ("registered_at", Value::TimestampMicros(1_600_000_000 * SECOND)),
        ("registered_month", text("2020-09")),
        ("bucket", Value::Int(10)),
        ("full_name", optional(text("Åse Dahl"))),
        ("age", optional(Value::Int(53))),
        ("age_band", optional(text("45-54"))),
        ("email_domain", optional(text("example.com"))),
        ("street", optional(text("12"))),
        ("latitude", optional(Value::Double(-1.5))),
        ("city", Value::Union(0, Box::new(Value::Null))),
        ("__op", text("u")),
        ("__lsn", Value::Long(77)),
        ("__commit_ts", Value::TimestampMicros(1_700_000_001 * SECOND)),
    ] {
        assert_eq!(fields[name], value, "{name}");
    }
    let Value::Union(1, before) = &fields["__before"] else { panic!("{:?}", fields["__before"]) };
    let Value::Record(before) = &**before else { panic!("{before:?}") };
    assert_eq!(before[1], ("country".to_owned(), text("NO")));
    assert_eq!(before[3], ("registered_month".to_owned(), text("1970-01")));
}

#[test]
fn every_field_is_written_where_the_schema_has_it() {
    let text = |name: &'static str| Some(Cow::Borrowed(name));
    let month = Month::of(DateTime::UNIX_EPOCH).unwrap();
    let whole = ProcessedUser {
        id: ID,
        run_id: "run",
        country: "DK",
        registered_at: 1,
        registered_month: month,
        bucket: 10,
        fetched_at: Some(2),
        country_name: text("Denmark"),
        gender: text("gender"),
        title: text("title"),
        first_name: text("first"),
        last_name: text("last"),
        full_name: Some("full".to_owned()),
        date_of_birth: Some(-3),
        age: Some(53),
        age_band: Some("45-54"),
        email: text("email"),
        email_domain: Some("domain".to_owned()),
        username: text("username"),
        phone: text("phone"),
        cell: text("cell"),
        street: text("street"),
        city: text("city"),
        state: text("state"),
        postcode: text("postcode"),
        address: Some("address".to_owned()),
        latitude: Some(-1.5),
        longitude: Some(2.25),
        timezone_offset: text("offset"),
        timezone_description: text("description"),
        document_name: text("document"),
        document_value: text("value"),
        picture_large: text("large"),
        picture_medium: text("medium"),
        picture_thumbnail: text("thumbnail"),
        before: Some(Before {
            run_id: "old",
            country: "NO",
            registered_at: -4,
            registered_month: month,
            bucket: 5,
        }),
        op: "u",
        lsn: i64::MAX,
        commit_ts: i64::MIN,
    };
    let bare = ProcessedUser {
        fetched_at: None,
        date_of_birth: None,
        age: None,
        age_band: None,
        latitude: None,
        longitude: None,
        before: None,
        full_name: None,
        picture_thumbnail: None,
        ..whole.clone()
    };
    let schema = ReferenceSchema::parse_str(events::schemas::USERS_PROCESSED).unwrap();
    for user in [whole, bare] {
        let mut datum = Vec::new();
        processed::put(&user, &mut datum);
        let mut rest = &datum[..];
        let read = GenericDatumReader::builder(&schema).build().unwrap().read_value(&mut rest).unwrap();
        assert!(rest.is_empty());
        let read = serde_json::Value::try_from(read).unwrap();
        assert_eq!(read, serde_json::to_value(&user).unwrap());
    }
}

#[test]
fn schemas_of_no_user_are_told_by_the_field() {
    let mut engine = engine();
    let mut why = |schema: &str| {
        engine.learn(8, schema);
        let value = [&wire::header(8)[..], &user(&[])[wire::HEADER_LEN..]].concat();
        let Ok(Outcome::DeadLetter(letter)) = engine.process(Some(ID.as_bytes()), Some(&value)) else {
            panic!()
        };
        assert_eq!(letter.kind, Kind::Undecodable);
        letter.message
    };
    let other = |from: &str, to: &str| {
        assert!(RAW.contains(from), "{from}");
        RAW.replacen(from, to, 1)
    };
    for (schema, told) in [
        (
            other(r#""name": "nat", "type": "string""#, r#""name": "land", "type": "string""#),
            "nat is missing",
        ),
        (
            other(r#""name": "run_id", "type": "string"}"#, r#""name": "run_id", "type": "bytes"}"#),
            "run_id is no string",
        ),
        (
            other(
                r#""name": "loyalty_points", "type": ["null", "long"]"#,
                r#""name": "city", "type": ["null", "long"]"#,
            ),
            "city is no string",
        ),
        (
            other(
                r#""name": "loyalty_points", "type": ["null", "long"], "default": null"#,
                r#""name": "city", "type": {"type": "array", "items": "string"}"#,
            ),
            "city is of the type array",
        ),
        (
            other(
                r#"["null", {"type": "record", "name": "Before""#,
                r#"["null", "string", {"type": "record", "name": "Before""#,
            ),
            "__before is a union of several types",
        ),
    ] {
        let message = why(&schema);
        assert!(message.contains(told), "{message}, not {told}");
    }
}

#[test]
fn a_delete_has_only_the_identity() {
    let null = || Value::Union(0, Box::new(Value::Null));
    let changes: Vec<_> = ["fetched_at", "first_name", "last_name", "email", "date_of_birth", "__before"]
        .into_iter()
        .map(|name| (name, null()))
        .chain([("__op", text("d"))])
        .collect();
    let fields = process(&mut engine(), &user(&changes)).unwrap();
    assert_eq!(fields["country"], text("DK"));
    assert_eq!(fields["email"], null());
    assert_eq!(fields["__op"], text("d"));
}

#[test]
fn the_same_record_gives_the_same_bytes() {
    let (mut one, mut other) = (engine(), engine());
    let value = user(&[]);
    let Ok(Outcome::Record(first)) = one.process(Some(ID.as_bytes()), Some(&value)) else { panic!() };
    let first = first.to_vec();
    let _ = one.process(Some(ID.as_bytes()), Some(&user(&[("nat", text("SE"))])));
    assert_eq!(one.process(Some(ID.as_bytes()), Some(&value)), Ok(Outcome::Record(&first)));
    assert_eq!(other.process(Some(ID.as_bytes()), Some(&value)), Ok(Outcome::Record(&first)));
}

#[test]
fn tombstones_pass() {
    assert_eq!(engine().process(Some(b"any"), None), Ok(Outcome::Tombstone));
}

#[test]
fn poison_of_every_kind_is_a_dead_letter() {
    let mut engine = engine();
    engine.learn_missing(404);
    engine.learn(405, "{\"type\": \"no such\"}");
    engine.learn(406, "\"string\"");
    let sound = user(&[]);
    let with_id = |id: u32| [&wire::header(id)[..], &sound[wire::HEADER_LEN..]].concat();
    let longer = [&sound[..], b"x"].concat();
    let far = "é".repeat(6_000);
    for (value, kind) in [
        (b"{}".to_vec(), "not_avro"),
        (Vec::new(), "not_avro"),
        (with_id(404), "unknown_schema"),
        // Above what a registry can give: nobody is asked.
        (with_id(1 << 31), "unknown_schema"),
        (with_id(u32::MAX), "unknown_schema"),
        (with_id(405), "unusable_schema"),
        (with_id(406), "undecodable"),
        (sound[..40].to_vec(), "undecodable"),
        (longer, "undecodable"),
        (user(&[("last_name", optional(text(&far)))]), "too_large"),
        (
            user(&[("id", Value::Uuid("213fc6a6-7f17-4bba-b2f7-22cfd225c0c0".parse().unwrap()))]),
            "key_mismatch",
        ),
        (user(&[("nat", text("LEGO"))]), RejectKind::InvalidCountry.as_str()),
        (user(&[("email", optional(text("nobody")))]), RejectKind::InvalidEmail.as_str()),
    ] {
        assert_eq!(process(&mut engine, &value), Err(kind));
    }
    let Ok(Outcome::DeadLetter(letter)) = engine.process(None, Some(&sound)) else { panic!() };
    assert_eq!(letter.kind, Kind::MissingKey);
}

#[test]
fn schemas_are_asked_for_once_and_missing_ones_again_after_a_while() {
    let mut engine = engine();
    let value = [&wire::header(8)[..], b"x"].concat();
    assert_eq!(engine.needs(Some(&value)), Some(UnknownSchema(8)));
    assert_eq!(engine.process(Some(b"k"), Some(&value)), Err(UnknownSchema(8)));
    engine.learn_missing(8);
    assert_eq!(engine.needs(Some(&value)), None);
    engine.forget_missing();
    assert_eq!(engine.needs(Some(&value)), Some(UnknownSchema(8)));
    assert_eq!(engine.needs(Some(&user(&[]))), None);
    assert_eq!((engine.needs(None), engine.needs(Some(b"{}"))), (None, None));
    assert_eq!(engine.needs(Some(&wire::header(1 << 31))), None);
}

proptest! {
    #[test]
    fn damaged_values_never_panic(at in 5_usize..200, byte: u8, cut in 5_usize..250, noise: Vec<u8>) {
        let mut engine = engine();
        let mut value = user(&[]);
        let at = at.min(value.len() - 1);
        value[at] = byte;
        value.truncate(cut);
        let _ = engine.process(Some(ID.as_bytes()), Some(&value));
        let _ = engine.process(Some(ID.as_bytes()), Some(&[&wire::header(RAW_ID)[..], &noise].concat()));
    }
}
