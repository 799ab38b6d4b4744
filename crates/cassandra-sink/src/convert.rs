//! From an Avro value to the bytes of a CQL value.
//!
//! Which pairs of types convert is decided once per schema and table ([`Conversion::between`]); only what a type
//! cannot promise, such as that a text is a UUID, is checked per value.

use events::avro::{Cell, FieldType};
use scylla::cluster::metadata::{ColumnType, NativeType};
use scylla::serialize::writers::CellWriter;
use uuid::Uuid;

/// How the values of a field become those of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conversion {
    /// Between types that hold the same values.
    Same,
    /// Text to 16 bytes.
    Uuid,
    /// `int` to `bigint`.
    IntToBigint,
    /// `float` to `double`.
    FloatToDouble,
    /// Microseconds to milliseconds, rounded down.
    MicrosToTimestamp,
    /// Days from the epoch to days from -2^31.
    Date,
}

/// A value that its column can't hold. Does not quote the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ConversionError {
    /// A text for a column of type uuid.
    #[error("the text is not a UUID")]
    NotAUuid,
    /// Longer than CQL allows.
    #[error("the value has more than 2^31 - 1 bytes")]
    TooLong,
    /// The datum has another type than its schema says; a defect of the reader.
    #[error("the value has not the type of its field")]
    Type,
}

/// What is written for a null.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nulls {
    /// Nothing: no tombstone, and the column keeps what it has.
    Unset,
    /// A null, which removes what the column has.
    Written,
}

impl Conversion {
    /// `None` if the column can't hold the field's values.
    #[must_use]
    pub fn between(field: &FieldType, column: &ColumnType<'_>) -> Option<Self> {
        let ColumnType::Native(column) = column else { return None };
        Some(match (field, column) {
            (FieldType::String | FieldType::Uuid, NativeType::Text)
            | (FieldType::Boolean, NativeType::Boolean)
            | (FieldType::Int, NativeType::Int)
            | (FieldType::Long, NativeType::BigInt)
            | (FieldType::TimestampMillis, NativeType::Timestamp)
            | (FieldType::Float, NativeType::Float)
            | (FieldType::Double, NativeType::Double)
            | (FieldType::Bytes, NativeType::Blob) => Self::Same,
            (FieldType::String | FieldType::Uuid, NativeType::Uuid) => Self::Uuid,
            (FieldType::Int, NativeType::BigInt) => Self::IntToBigint,
            (FieldType::Float, NativeType::Double) => Self::FloatToDouble,
            (FieldType::TimestampMicros, NativeType::Timestamp) => Self::MicrosToTimestamp,
            (FieldType::Date, NativeType::Date) => Self::Date,
            _ => return None,
        })
    }

    /// Writes the value in CQL's native encoding: section 6 of the protocol's specification, version 4.
    ///
    /// # Errors
    /// The column can't hold the value. Nothing is written then.
    pub fn write(self, cell: Cell<'_>, nulls: Nulls, writer: CellWriter<'_>) -> Result<(), ConversionError> {
        let written = match (self, cell) {
            (_, Cell::Null) => {
                match nulls {
                    Nulls::Unset => writer.set_unset(),
                    Nulls::Written => writer.set_null(),
                };
                return Ok(());
            }
            (Self::Same, Cell::String(text)) => writer.set_value(text.as_bytes()),
            (Self::Same, Cell::Bytes(bytes)) => writer.set_value(bytes),
            (Self::Same, Cell::Boolean(value)) => writer.set_value(&[u8::from(value)]),
            (Self::Same, Cell::Int(value)) => writer.set_value(&value.to_be_bytes()),
            (Self::Same, Cell::Long(value)) => writer.set_value(&value.to_be_bytes()),
            (Self::Same, Cell::Float(value)) => writer.set_value(&value.to_be_bytes()),
            (Self::Same, Cell::Double(value)) => writer.set_value(&value.to_be_bytes()),
            (Self::Uuid, Cell::String(text)) => {
                let uuid = Uuid::try_parse(text).map_err(|_| ConversionError::NotAUuid)?;
                writer.set_value(uuid.as_bytes())
            }
            (Self::IntToBigint, Cell::Int(value)) => writer.set_value(&i64::from(value).to_be_bytes()),
            (Self::FloatToDouble, Cell::Float(value)) => writer.set_value(&f64::from(value).to_be_bytes()),
            (Self::MicrosToTimestamp, Cell::Long(micros)) => {
                writer.set_value(&micros.div_euclid(1000).to_be_bytes())
            }
            (Self::Date, Cell::Int(days)) => {
                writer.set_value(&days.cast_unsigned().wrapping_add(1 << 31).to_be_bytes())
            }
            _ => return Err(ConversionError::Type),
        };
        written.map(drop).map_err(|_| ConversionError::TooLong)
    }

    /// Whether a column holds the same for both values. It may hold less than the fields do: a time that has moved
    /// within its millisecond has not moved for the column.
    #[must_use]
    pub fn holds_same(self, value: Cell<'_>, other: Self, other_value: Cell<'_>) -> bool {
        match (value, other_value) {
            // Zero is equal to minus zero, which is another key.
            (Cell::Float(_) | Cell::Double(_), _) => {}
            _ if self == other && value == other_value => return true,
            // The common case of a move: neither is made anew.
            (Cell::String(_), Cell::String(_)) if self == Self::Same && other == Self::Same => return false,
            _ => {}
        }
        let held = |conversion: Self, value: Cell<'_>| {
            let mut bytes = Vec::new();
            conversion.write(value, Nulls::Written, CellWriter::new(&mut bytes)).is_ok().then_some(bytes)
        };
        // What can't be held is told by the write itself.
        matches!((held(self, value), held(other, other_value)), (Some(one), Some(two)) if one == two)
    }
}

/// The type's name in CQL.
#[must_use]
pub fn cql_name(column: &ColumnType<'_>) -> String {
    match column {
        ColumnType::Native(native) => format!("{native:?}").to_ascii_lowercase(),
        ColumnType::Collection { .. } => "a collection".to_owned(),
        ColumnType::Vector { .. } => "a vector".to_owned(),
        ColumnType::UserDefinedType { .. } => "a user-defined type".to_owned(),
        ColumnType::Tuple(_) => "a tuple".to_owned(),
        _ => "another type".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(conversion: Conversion, cell: Cell<'_>) -> Vec<u8> {
        let mut buffer = Vec::new();
        conversion.write(cell, Nulls::Unset, CellWriter::new(&mut buffer)).unwrap();
        buffer
    }

    fn sized(value: &[u8]) -> Vec<u8> {
        [&i32::try_from(value.len()).unwrap().to_be_bytes(), value].concat()
    }

    #[test]
    fn writes_each_type_as_cql_does() {
        let id = "3f2b8a1c-0d4e-4f5a-8b6c-7d8e9fa0b1c2";
        let cases = [
            (Conversion::Same, Cell::String("ü"), "ü".as_bytes().to_vec()),
            (Conversion::Same, Cell::Bytes(&[0, 255]), vec![0, 255]),
            (Conversion::Same, Cell::Boolean(true), vec![1]),
            (Conversion::Same, Cell::Int(-2), vec![0xff, 0xff, 0xff, 0xfe]),
            (Conversion::Same, Cell::Long(1), vec![0, 0, 0, 0, 0, 0, 0, 1]),
            (Conversion::Same, Cell::Double(1.5), 1.5_f64.to_be_bytes().to_vec()),
            (Conversion::Uuid, Cell::String(id), Uuid::parse_str(id).unwrap().as_bytes().to_vec()),
            (Conversion::IntToBigint, Cell::Int(-1), vec![0xff; 8]),
            (Conversion::FloatToDouble, Cell::Float(0.5), 0.5_f64.to_be_bytes().to_vec()),
            // Half a millisecond before the epoch lies in the millisecond before it.
            (Conversion::MicrosToTimestamp, Cell::Long(-500), (-1_i64).to_be_bytes().to_vec()),
            (Conversion::MicrosToTimestamp, Cell::Long(1999), 1_i64.to_be_bytes().to_vec()),
            (Conversion::Date, Cell::Int(0), vec![0x80, 0, 0, 0]),
            (Conversion::Date, Cell::Int(-1), vec![0x7f, 0xff, 0xff, 0xff]),
        ];
        for (conversion, cell, value) in cases {
            assert_eq!(bytes(conversion, cell), sized(&value), "{conversion:?} of {cell:?}");
        }
    }

    #[test]
    fn values_are_compared_as_the_column_holds_them() {
        let id = "3f2b8a1c-0d4e-4f5a-8b6c-7d8e9fa0b1c2";
        let upper = id.to_uppercase();
        let cases = [
            (Conversion::MicrosToTimestamp, Cell::Long(1_000), Cell::Long(1_999), true),
            (Conversion::MicrosToTimestamp, Cell::Long(1_999), Cell::Long(2_000), false),
            (Conversion::MicrosToTimestamp, Cell::Long(-1), Cell::Long(0), false),
            (Conversion::Uuid, Cell::String(id), Cell::String(&upper), true),
            (Conversion::Same, Cell::String("a"), Cell::String("A"), false),
            (Conversion::Same, Cell::Double(0.0), Cell::Double(-0.0), false),
            (Conversion::Same, Cell::Double(1.5), Cell::Double(1.5), true),
            (Conversion::Same, Cell::Null, Cell::Null, true),
            (Conversion::Same, Cell::Null, Cell::String(""), false),
            (Conversion::Uuid, Cell::String("no id"), Cell::String("none either"), false),
        ];
        for (conversion, one, other, same) in cases {
            assert_eq!(conversion.holds_same(one, conversion, other), same, "{one:?} and {other:?}");
        }
        let (int, long) = (Conversion::IntToBigint, Conversion::Same);
        assert!(int.holds_same(Cell::Int(7), long, Cell::Long(7)), "the old field may have another type");
    }

    #[test]
    fn a_null_is_unset_or_written() {
        let mut buffer = Vec::new();
        Conversion::Same.write(Cell::Null, Nulls::Unset, CellWriter::new(&mut buffer)).unwrap();
        Conversion::Same.write(Cell::Null, Nulls::Written, CellWriter::new(&mut buffer)).unwrap();
        assert_eq!(buffer, [(-2_i32).to_be_bytes(), (-1_i32).to_be_bytes()].concat());
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        let mut buffer = Vec::new();
        let refused =
            Conversion::Uuid.write(Cell::String("no id"), Nulls::Unset, CellWriter::new(&mut buffer));
        assert_eq!(refused, Err(ConversionError::NotAUuid));
        assert!(buffer.is_empty());
        let int = ColumnType::Native(NativeType::Int);
        assert_eq!(Conversion::between(&FieldType::String, &int), None);
        assert_eq!(Conversion::between(&FieldType::Long, &int), None);
        assert_eq!(cql_name(&int), "int");
    }
}
