//! A field of a record, whatever schema it was written under.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::value::{ColumnType, Format, datetime};

/// Its value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Scalar {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    Bytes(Vec<u8>),
    /// A record, such as `__before`.
    Other,
}

impl Scalar {
    /// As PostgreSQL writes a value of this type; `None` for null.
    pub(super) fn text(&self, ty: ColumnType) -> Option<String> {
        let written = |binary: &[u8]| {
            let mut text = Vec::new();
            ty.write_text(Format::Binary, binary, &mut text).ok()?;
            String::from_utf8(text).ok()
        };
        match (self, ty) {
            (Self::Int(micros), ColumnType::Timestamp | ColumnType::Timestamptz) => {
                written(&datetime::timestamp_to_binary(*micros).to_be_bytes())
            }
            (Self::Int(days), ColumnType::Date) => {
                written(&datetime::date_to_binary(i32::try_from(*days).ok()?).to_be_bytes())
            }
            (Self::Int(number), _) => Some(number.to_string()),
            (Self::Float(number), _) => Some(number.to_string()),
            (Self::Bool(value), _) => Some(if *value { "t" } else { "f" }.to_owned()),
            (Self::Text(text), _) => Some(text.clone()),
            (Self::Bytes(bytes), _) => Some(hex(bytes)),
            (Self::Null | Self::Other, _) => None,
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold("\\x".to_owned(), |mut text, byte| {
        // Writing into a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Scalar;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field of a record")
    }

    fn visit_unit<E: Error>(self) -> Result<Scalar, E> {
        Ok(Scalar::Null)
    }

    fn visit_none<E: Error>(self) -> Result<Scalar, E> {
        Ok(Scalar::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Scalar, D::Error> {
        Scalar::deserialize(deserializer)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Scalar, E> {
        Ok(Scalar::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Scalar, E> {
        Ok(Scalar::Int(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Scalar, E> {
        i64::try_from(value).map(Scalar::Int).map_err(E::custom)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Scalar, E> {
        Ok(Scalar::Float(value))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Scalar, E> {
        Ok(Scalar::Text(value.to_owned()))
    }

    fn visit_bytes<E: Error>(self, value: &[u8]) -> Result<Scalar, E> {
        Ok(Scalar::Bytes(value.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Scalar, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Scalar::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Scalar, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Scalar::Other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_as_postgresql_does() {
        let text = |value: Scalar, ty| value.text(ty);
        let wanted = |text: &str| Some(text.to_owned());
        assert_eq!(text(Scalar::Int(1_500_000), ColumnType::Timestamptz), wanted("1970-01-01 00:00:01.5+00"));
        assert_eq!(text(Scalar::Int(i64::MAX), ColumnType::Timestamptz), wanted("infinity"));
        assert_eq!(text(Scalar::Int(0), ColumnType::Timestamp), wanted("1970-01-01 00:00:00"));
        assert_eq!(text(Scalar::Int(-1), ColumnType::Date), wanted("1969-12-31"));
        assert_eq!(text(Scalar::Int(i64::from(i32::MIN)), ColumnType::Date), wanted("-infinity"));
        assert_eq!(text(Scalar::Int(7), ColumnType::Int4), wanted("7"));
        assert_eq!(text(Scalar::Bool(true), ColumnType::Bool), wanted("t"));
        assert_eq!(text(Scalar::Bytes(vec![0, 255]), ColumnType::Bytea), wanted("\\x00ff"));
        assert_eq!(text(Scalar::Null, ColumnType::Text), None);
    }
}
