//! Values as PostgreSQL writes them, from their binary form.

use std::io::Write as _;

use super::{ColumnType, avro, datetime, numeric};

/// `None`: the bytes are not a value of the type, or the type's text is not made here.
pub(super) fn from_binary(ty: ColumnType, bytes: &[u8], out: &mut Vec<u8>) -> Option<()> {
    match ty {
        ColumnType::Bool => match bytes {
            [value] => out.push(if *value == 0 { b'f' } else { b't' }),
            _ => return None,
        },
        ColumnType::Int2 => write!(out, "{}", i16::from_be_bytes(bytes.try_into().ok()?)).ok()?,
        ColumnType::Int4 => write!(out, "{}", i32::from_be_bytes(bytes.try_into().ok()?)).ok()?,
        ColumnType::Int8 => write!(out, "{}", i64::from_be_bytes(bytes.try_into().ok()?)).ok()?,
        ColumnType::Text | ColumnType::Bpchar | ColumnType::Json => out.extend_from_slice(bytes),
        ColumnType::Bytea => {
            out.extend_from_slice(br"\x");
            hex(bytes, out);
        }
        ColumnType::Uuid => uuid(bytes.try_into().ok()?, out),
        ColumnType::Date => datetime::write_date(i32::from_be_bytes(bytes.try_into().ok()?), out),
        ColumnType::Timestamp => {
            datetime::write_timestamp(i64::from_be_bytes(bytes.try_into().ok()?), "", out);
        }
        ColumnType::Timestamptz => {
            datetime::write_timestamp(i64::from_be_bytes(bytes.try_into().ok()?), "+00", out);
        }
        ColumnType::Jsonb => out.extend_from_slice(avro::jsonb(bytes)?),
        ColumnType::Numeric => numeric::write_text(bytes, out)?,
        ColumnType::Float4 | ColumnType::Float8 | ColumnType::Other => return None,
    }
    Some(())
}

/// Appends the 36 characters of a UUID.
pub(super) fn uuid(bytes: &[u8; 16], out: &mut Vec<u8>) {
    for (index, group) in [0..4, 4..6, 6..8, 8..10, 10..16].into_iter().enumerate() {
        if index > 0 {
            out.push(b'-');
        }
        hex(bytes.get(group).unwrap_or_default(), out);
    }
}

fn hex(bytes: &[u8], out: &mut Vec<u8>) {
    const DIGITS: [u8; 16] = *b"0123456789abcdef";
    out.extend(
        bytes.iter().flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]),
    );
}
