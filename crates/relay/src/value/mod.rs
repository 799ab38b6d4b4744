//! Column values: from PostgreSQL's text or binary form to Avro, and to plain text for record keys.
//!
//! [`ColumnType`] names the types that have an Avro type of their own; every other type travels as its text.
//! Nothing here allocates: a value goes from the replication message straight into the record's buffer.

mod avro;
pub mod datetime;
mod numeric;
mod text;

/// Types with a form of their own in Avro; see [`ColumnType::encode`] for which.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ColumnType {
    /// `boolean`.
    Bool,
    /// `smallint`.
    Int2,
    /// `integer`.
    Int4,
    /// `bigint`.
    Int8,
    /// `real`.
    Float4,
    /// `double precision`.
    Float8,
    /// `text`, `varchar`, `name` and enums.
    Text,
    /// `char(n)`: as text, its padding included.
    Bpchar,
    /// `bytea`.
    Bytea,
    /// `uuid`.
    Uuid,
    /// `date`.
    Date,
    /// `timestamp`, taken as UTC.
    Timestamp,
    /// `timestamptz`.
    Timestamptz,
    /// `json`.
    Json,
    /// `jsonb`.
    Jsonb,
    /// `numeric`.
    Numeric,
    /// Anything else: as its text form, which only PostgreSQL can make.
    Other,
}

/// The form in which PostgreSQL sent a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// The type's output function, with ISO dates, UTC and hexadecimal `bytea`.
    Text,
    /// The type's send function.
    Binary,
}

/// A value that is not what its type says.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{len} bytes can't be read as {ty:?} in {format:?} form")]
pub struct ValueError {
    ty: ColumnType,
    format: Format,
    len: usize,
}

impl ColumnType {
    /// The type of a built-in object identifier (`pg_type.oid`), if it has a form of its own. Enums, domains
    /// and the rest need the catalog.
    #[must_use]
    pub const fn of_builtin(oid: u32) -> Option<Self> {
        Some(match oid {
            16 => Self::Bool,
            21 => Self::Int2,
            23 => Self::Int4,
            20 => Self::Int8,
            700 => Self::Float4,
            701 => Self::Float8,
            // text, varchar, name
            25 | 1043 | 19 => Self::Text,
            1042 => Self::Bpchar,
            17 => Self::Bytea,
            2950 => Self::Uuid,
            1082 => Self::Date,
            1114 => Self::Timestamp,
            1184 => Self::Timestamptz,
            114 => Self::Json,
            3802 => Self::Jsonb,
            1700 => Self::Numeric,
            _ => return None,
        })
    }

    /// Whether the binary form can be read here.
    #[must_use]
    pub const fn reads_binary(self) -> bool {
        !matches!(self, Self::Other)
    }

    /// Whether the binary form can be written as the text PostgreSQL would write, as a record key needs it.
    #[must_use]
    pub const fn key_from_binary(self) -> bool {
        // The shortest text of a float is PostgreSQL's own business.
        !matches!(self, Self::Other | Self::Float4 | Self::Float8)
    }

    /// Appends the value in Avro's binary encoding (without the index of a union).
    ///
    /// # Errors
    /// The bytes are not a value of the type.
    pub fn encode(self, format: Format, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), ValueError> {
        let encoded = match format {
            Format::Binary => avro::encode_binary(self, bytes, out),
            Format::Text => avro::encode_text(self, bytes, out),
        };
        encoded.ok_or(ValueError { ty: self, format, len: bytes.len() })
    }

    /// Appends the value as PostgreSQL writes it.
    ///
    /// # Errors
    /// The bytes are not a value of the type, or the type has no such conversion from binary
    /// ([`ColumnType::key_from_binary`]).
    pub fn write_text(self, format: Format, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), ValueError> {
        let written = match format {
            Format::Binary => text::from_binary(self, bytes, out),
            Format::Text => {
                out.extend_from_slice(bytes);
                Some(())
            }
        };
        written.ok_or(ValueError { ty: self, format, len: bytes.len() })
    }
}

#[cfg(test)]
mod tests;
