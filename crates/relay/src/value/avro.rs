//! Values into Avro's binary encoding (<https://avro.apache.org/docs/1.12.0/specification/#binary-encoding>).

use events::avro::{put_bytes, put_long};

use super::{ColumnType, datetime, numeric, text};

/// `None`: the bytes are not a value of the type.
pub(super) fn encode_binary(ty: ColumnType, bytes: &[u8], out: &mut Vec<u8>) -> Option<()> {
    match ty {
        ColumnType::Bool => match bytes {
            [value] => out.push(u8::from(*value != 0)),
            _ => return None,
        },
        ColumnType::Int2 => put_long(i16::from_be_bytes(bytes.try_into().ok()?).into(), out),
        ColumnType::Int4 => put_long(i32::from_be_bytes(bytes.try_into().ok()?).into(), out),
        ColumnType::Int8 => put_long(i64::from_be_bytes(bytes.try_into().ok()?), out),
        // Avro's floats are IEEE 754 as PostgreSQL's, little-endian.
        ColumnType::Float4 => {
            out.extend_from_slice(&u32::from_be_bytes(bytes.try_into().ok()?).to_le_bytes());
        }
        ColumnType::Float8 => {
            out.extend_from_slice(&u64::from_be_bytes(bytes.try_into().ok()?).to_le_bytes());
        }
        ColumnType::Text | ColumnType::Bpchar | ColumnType::Json | ColumnType::Bytea => put_bytes(bytes, out),
        ColumnType::Uuid => {
            put_long(36, out);
            text::uuid(bytes.try_into().ok()?, out);
        }
        ColumnType::Date => {
            put_long(datetime::date_from_binary(i32::from_be_bytes(bytes.try_into().ok()?)).into(), out);
        }
        ColumnType::Timestamp | ColumnType::Timestamptz => {
            put_long(datetime::timestamp_from_binary(i64::from_be_bytes(bytes.try_into().ok()?)), out);
        }
        ColumnType::Jsonb => put_bytes(jsonb(bytes)?, out),
        ColumnType::Numeric => {
            let start = out.len();
            numeric::write_text(bytes, out)?;
            prefix_length(start, out)?;
        }
        ColumnType::Other => return None,
    }
    Some(())
}

/// `None`: the bytes are not a value of the type.
pub(super) fn encode_text(ty: ColumnType, bytes: &[u8], out: &mut Vec<u8>) -> Option<()> {
    match ty {
        ColumnType::Bool => match bytes {
            b"t" => out.push(1),
            b"f" => out.push(0),
            _ => return None,
        },
        ColumnType::Int2 => put_long(parse::<i16>(bytes)?.into(), out),
        ColumnType::Int4 => put_long(parse::<i32>(bytes)?.into(), out),
        ColumnType::Int8 => put_long(parse(bytes)?, out),
        ColumnType::Float4 => out.extend_from_slice(&parse::<f32>(bytes)?.to_le_bytes()),
        ColumnType::Float8 => out.extend_from_slice(&parse::<f64>(bytes)?.to_le_bytes()),
        ColumnType::Text
        | ColumnType::Bpchar
        | ColumnType::Uuid
        | ColumnType::Json
        | ColumnType::Jsonb
        | ColumnType::Numeric
        | ColumnType::Other => put_bytes(bytes, out),
        ColumnType::Bytea => {
            let digits = bytes.strip_prefix(br"\x")?;
            if !digits.len().is_multiple_of(2) {
                return None;
            }
            put_long(i64::try_from(digits.len() / 2).ok()?, out);
            for pair in digits.chunks_exact(2) {
                out.push(hex_digit(*pair.first()?)? << 4 | hex_digit(*pair.get(1)?)?);
            }
        }
        ColumnType::Date => put_long(datetime::parse_date(bytes)?.into(), out),
        ColumnType::Timestamp | ColumnType::Timestamptz => put_long(datetime::parse_timestamp(bytes)?, out),
    }
    Some(())
}

/// The text of a binary `jsonb`, which starts with a version.
pub(super) fn jsonb(bytes: &[u8]) -> Option<&[u8]> {
    bytes.strip_prefix(&[1])
}

fn parse<T: std::str::FromStr>(bytes: &[u8]) -> Option<T> {
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

fn hex_digit(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// Turns what was written from `start` on into a `string`, by moving it behind its length.
fn prefix_length(start: usize, out: &mut Vec<u8>) -> Option<()> {
    let end = out.len();
    put_long(i64::try_from(end - start).ok()?, out);
    let prefix = out.len() - end;
    out.get_mut(start..)?.rotate_right(prefix);
    Some(())
}
