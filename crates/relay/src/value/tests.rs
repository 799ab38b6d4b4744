use proptest::prelude::*;

use super::{ColumnType, Format, datetime};

/// Binary and text forms as PostgreSQL 17 gives them: `encode(numeric_send(v), 'hex'), v::text`, and so on.
const GOLDEN: &[(ColumnType, &str, &str)] = &[
    (ColumnType::Bool, "01", "t"),
    (ColumnType::Bool, "00", "f"),
    (ColumnType::Int2, "8000", "-32768"),
    (ColumnType::Int4, "00000001", "1"),
    (ColumnType::Int8, "ffffffffffffffff", "-1"),
    (ColumnType::Text, "c3bc20", "ü "),
    (ColumnType::Bpchar, "612020", "a  "),
    (ColumnType::Bytea, "00ff5c", r"\x00ff5c"),
    (ColumnType::Bytea, "", r"\x"),
    (ColumnType::Uuid, "123e4567e89b12d3a456426614174000", "123e4567-e89b-12d3-a456-426614174000"),
    (ColumnType::Json, "7b7d", "{}"),
    (ColumnType::Jsonb, "017b2261223a2022c3bc222c202262223a20317d", r#"{"a": "ü", "b": 1}"#),
    (ColumnType::Numeric, "0000000000000000", "0"),
    (ColumnType::Numeric, "00010000000000000001", "1"),
    (ColumnType::Numeric, "00010000400000000001", "-1"),
    (ColumnType::Numeric, "00010001000000000001", "10000"),
    (ColumnType::Numeric, "0003000100000003000109291a7c", "12345.678"),
    (ColumnType::Numeric, "0001ffff000000040001", "0.0001"),
    (ColumnType::Numeric, "0002ffff00000005000107d0", "0.00012"),
    (ColumnType::Numeric, "0001ffff400000011388", "-0.5"),
    (ColumnType::Numeric, "00010005000000000001", "100000000000000000000"),
    (ColumnType::Numeric, "00000000c0000000", "NaN"),
    (ColumnType::Numeric, "00000000d0000020", "Infinity"),
    (ColumnType::Numeric, "00000000f0000020", "-Infinity"),
    (
        ColumnType::Numeric,
        "000b000700000009000c0d801ed204d2162e23340d801ed204d2162e2328",
        "123456789012345678901234567890.123456789",
    ),
    (ColumnType::Numeric, "0002000000000002000103e8", "1.10"),
    (ColumnType::Numeric, "00010000000000030064", "100.000"),
    (ColumnType::Numeric, "0002000000000004270f270f", "9999.9999"),
    (ColumnType::Numeric, "0001fffe000000080001", "0.00000001"),
    (ColumnType::Numeric, "0001fffd0000000a0064", "0.0000000001"),
    (ColumnType::Date, "00000000", "2000-01-01"),
    (ColumnType::Date, "ffffd533", "1970-01-01"),
    (ColumnType::Date, "ffffd532", "1969-12-31"),
    (ColumnType::Date, "00002279", "2024-02-29"),
    (ColumnType::Date, "fff49d7b", "0044-03-15 BC"),
    (ColumnType::Date, "fff4dbf9", "0001-01-01"),
    (ColumnType::Date, "fff4dbf8", "0001-12-31 BC"),
    (ColumnType::Date, "ffda97cd", "4713-01-01 BC"),
    (ColumnType::Date, "7fda970c", "5874897-12-31"),
    (ColumnType::Date, "7fffffff", "infinity"),
    (ColumnType::Date, "80000000", "-infinity"),
    (ColumnType::Timestamptz, "0000000000000000", "2000-01-01 00:00:00+00"),
    (ColumnType::Timestamptz, "fffca2fec4c82000", "1970-01-01 00:00:00+00"),
    (ColumnType::Timestamptz, "ffffffffffffffff", "1999-12-31 23:59:59.999999+00"),
    (ColumnType::Timestamptz, "0002b583416a4c90", "2024-02-29 12:34:56.25+00"),
    (ColumnType::Timestamptz, "ff1af9e8fb4856a0", "0044-03-15 12:00:00.1+00 BC"),
    (ColumnType::Timestamptz, "fd0f7cc1411fa000", "4714-11-24 00:00:00+00 BC"),
    (ColumnType::Timestamptz, "7fffff5bb3b29fff", "294276-12-31 23:59:59.999999+00"),
    (ColumnType::Timestamptz, "7fffffffffffffff", "infinity"),
    (ColumnType::Timestamptz, "8000000000000000", "-infinity"),
    (ColumnType::Timestamptz, "ffff0cb7f93778c1", "1991-07-11 01:02:03.000001+00"),
    (ColumnType::Timestamp, "ffff0cb7f93778c1", "1991-07-11 01:02:03.000001"),
];

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn encoded(ty: ColumnType, format: Format, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![0xEE];
    ty.encode(format, bytes, &mut out).unwrap();
    assert_eq!(out.remove(0), 0xEE, "what was in the buffer stays");
    out
}

#[test]
fn both_forms_of_a_value_give_the_same_avro() {
    for (ty, binary, text) in GOLDEN {
        let from_binary = encoded(*ty, Format::Binary, &unhex(binary));
        let from_text = encoded(*ty, Format::Text, text.as_bytes());
        assert_eq!(from_binary, from_text, "{ty:?} {text}");
    }
}

#[test]
fn keys_read_as_postgres_writes_them() {
    for (ty, binary, text) in GOLDEN {
        for (format, bytes) in [(Format::Binary, unhex(binary)), (Format::Text, text.as_bytes().to_owned())] {
            let mut out = Vec::new();
            ty.write_text(format, &bytes, &mut out).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), *text, "{ty:?} {format:?}");
        }
    }
}

#[test]
fn avro_bytes_are_those_of_the_specification() {
    assert_eq!(encoded(ColumnType::Int4, Format::Text, b"-64"), [0x7f]);
    assert_eq!(encoded(ColumnType::Int4, Format::Text, b"64"), [0x80, 0x01]);
    assert_eq!(encoded(ColumnType::Text, Format::Text, b"foo"), [0x06, 0x66, 0x6f, 0x6f]);
    assert_eq!(encoded(ColumnType::Bool, Format::Text, b"t"), [1]);
    assert_eq!(encoded(ColumnType::Float4, Format::Text, b"1"), [0, 0, 0x80, 0x3f]);
    assert_eq!(encoded(ColumnType::Date, Format::Text, b"1970-01-02"), [2]);
    assert_eq!(encoded(ColumnType::Timestamptz, Format::Text, b"1970-01-01 00:00:00.00001+00"), [20]);
    // A zone other than UTC is taken into account, with minutes and seconds.
    assert_eq!(
        encoded(ColumnType::Timestamptz, Format::Text, b"1970-01-01 05:30:00-03:30"),
        encoded(ColumnType::Timestamptz, Format::Text, b"1970-01-01 09:00:00+00")
    );
    assert_eq!(
        encoded(ColumnType::Timestamptz, Format::Text, b"1900-01-01 00:19:32+00:19:32"),
        encoded(ColumnType::Timestamptz, Format::Text, b"1900-01-01 00:00:00+00")
    );
}

#[test]
fn floats_of_every_text() {
    for text in ["0", "-0", "1.5", "1e+20", "1.7976931348623157e+308", "5e-324", "Infinity", "-Infinity"] {
        let value: f64 = text.parse().unwrap();
        let binary = value.to_be_bytes();
        assert_eq!(
            encoded(ColumnType::Float8, Format::Text, text.as_bytes()),
            encoded(ColumnType::Float8, Format::Binary, &binary)
        );
    }
    assert!(
        f64::from_le_bytes(encoded(ColumnType::Float8, Format::Text, b"NaN").try_into().unwrap()).is_nan()
    );
}

#[test]
fn what_is_no_value_is_an_error() {
    for (ty, format, bytes) in [
        (ColumnType::Bool, Format::Text, &b"true"[..]),
        (ColumnType::Int4, Format::Binary, b"123"),
        (ColumnType::Int2, Format::Text, b"32768"),
        (ColumnType::Uuid, Format::Binary, b"short"),
        (ColumnType::Bytea, Format::Text, br"\x0"),
        (ColumnType::Bytea, Format::Text, br"\x0g"),
        (ColumnType::Bytea, Format::Text, b"abc"),
        (ColumnType::Jsonb, Format::Binary, b"\x02{}"),
        (ColumnType::Numeric, Format::Binary, &[0, 1, 0, 0, 0, 0, 0, 0]),
        (ColumnType::Date, Format::Text, b"2024-13-01"),
        (ColumnType::Date, Format::Text, b"01/02/2024"),
        (ColumnType::Timestamp, Format::Text, b"2024-01-01"),
        (ColumnType::Timestamp, Format::Text, b"2024-01-01 00:00:00.1234567"),
        (ColumnType::Other, Format::Binary, b"anything"),
    ] {
        assert!(ty.encode(format, bytes, &mut Vec::new()).is_err(), "{ty:?} {format:?} {bytes:?}");
    }
}

proptest! {
    #[test]
    fn dates_and_timestamps_survive_their_text(days in -2_451_507_i32..2_145_031_949, micros in any::<i64>()) {
        let mut text = Vec::new();
        datetime::write_date(days, &mut text);
        prop_assert_eq!(datetime::parse_date(&text), Some(days.saturating_add(10_957)));
        // PostgreSQL stores 4713 BC to 294276 AD.
        let micros = micros.clamp(-211_813_488_000_000_000, 9_223_371_331_199_999_999);
        text.clear();
        datetime::write_timestamp(micros, "+00", &mut text);
        prop_assert_eq!(datetime::parse_timestamp(&text), Some(datetime::timestamp_from_binary(micros)));
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
        for ty in [
            ColumnType::Bool, ColumnType::Int2, ColumnType::Int4, ColumnType::Int8, ColumnType::Float4,
            ColumnType::Float8, ColumnType::Text, ColumnType::Bpchar, ColumnType::Bytea, ColumnType::Uuid,
            ColumnType::Date, ColumnType::Timestamp, ColumnType::Timestamptz, ColumnType::Json,
            ColumnType::Jsonb, ColumnType::Numeric, ColumnType::Other,
        ] {
            for format in [Format::Binary, Format::Text] {
                let _ = ty.encode(format, &bytes, &mut Vec::new());
                let _ = ty.write_text(format, &bytes, &mut Vec::new());
            }
        }
    }
}
