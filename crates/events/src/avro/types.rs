//! The Avro types that fields can have, as the conversion to CQL distinguishes them.

use std::fmt;

use apache_avro::Schema;
use apache_avro::schema::UuidSchema;

/// A field's type without the null of its union.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FieldType {
    /// `boolean`.
    Boolean,
    /// `int`.
    Int,
    /// `int`, days since the epoch.
    Date,
    /// `long`.
    Long,
    /// `long`, milliseconds since the epoch.
    TimestampMillis,
    /// `long`, microseconds since the epoch.
    TimestampMicros,
    /// `float`.
    Float,
    /// `double`.
    Double,
    /// `bytes` or `fixed`.
    Bytes,
    /// `string`.
    String,
    /// `string` that holds a UUID.
    Uuid,
    /// What has no counterpart in a column: its name.
    Other(String),
}

impl FieldType {
    pub(super) fn of(schema: &Schema) -> Self {
        match schema {
            Schema::Boolean => Self::Boolean,
            Schema::Int => Self::Int,
            Schema::Date => Self::Date,
            Schema::Long => Self::Long,
            Schema::TimestampMillis => Self::TimestampMillis,
            Schema::TimestampMicros => Self::TimestampMicros,
            Schema::Float => Self::Float,
            Schema::Double => Self::Double,
            Schema::Bytes | Schema::Fixed(_) => Self::Bytes,
            Schema::String => Self::String,
            Schema::Uuid(UuidSchema::String) => Self::Uuid,
            Schema::Union(union) => match union.variants() {
                [Schema::Null, other] | [other, Schema::Null] | [other] => Self::of(other),
                _ => Self::Other("union of several types".to_owned()),
            },
            other => Self::Other(name(other)),
        }
    }
}

impl fmt::Display for FieldType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Boolean => "boolean",
            Self::Int => "int",
            Self::Date => "int (date)",
            Self::Long => "long",
            Self::TimestampMillis => "long (timestamp-millis)",
            Self::TimestampMicros => "long (timestamp-micros)",
            Self::Float => "float",
            Self::Double => "double",
            Self::Bytes => "bytes",
            Self::String => "string",
            Self::Uuid => "string (uuid)",
            Self::Other(name) => name,
        })
    }
}

fn name(schema: &Schema) -> String {
    match schema {
        Schema::Record(record) => format!("record {}", record.name),
        Schema::Enum(inner) => format!("enum {}", inner.name),
        Schema::Ref { name } => format!("reference to {name}"),
        other => format!("{:?}", apache_avro::schema::SchemaKind::from(other)).to_ascii_lowercase(),
    }
}
