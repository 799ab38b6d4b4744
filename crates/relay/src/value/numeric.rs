//! `numeric` from its binary form to text, as `numeric_out` of PostgreSQL writes it
//! (`src/backend/utils/adt/numeric.c`: base 10,000 digits, their weight, a sign and a display scale).

use std::io::Write as _;

const NEGATIVE: u16 = 0x4000;
const NAN: u16 = 0xC000;
const INFINITY: u16 = 0xD000;
const MINUS_INFINITY: u16 = 0xF000;

/// `None`: the bytes are not a numeric.
pub(super) fn write_text(bytes: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let field = |index: usize| -> Option<u16> {
        let at = bytes.get(index * 2..index * 2 + 2)?;
        Some(u16::from_be_bytes(at.try_into().ok()?))
    };
    let (count, weight, sign, scale) = (field(0)?, field(1)?.cast_signed(), field(2)?, field(3)?);
    if bytes.len() != 8 + usize::from(count) * 2 {
        return None;
    }
    match sign {
        0 => {}
        NEGATIVE => out.push(b'-'),
        NAN => return write_all(out, "NaN"),
        INFINITY => return write_all(out, "Infinity"),
        MINUS_INFINITY => return write_all(out, "-Infinity"),
        _ => return None,
    }
    // A digit before the first or after the last one sent is zero.
    let digit = |index: i32| -> u16 {
        usize::try_from(index)
            .ok()
            .filter(|index| *index < usize::from(count))
            .and_then(|index| field(4 + index))
            .unwrap_or(0)
    };
    let weight = i32::from(weight);
    if weight < 0 {
        out.push(b'0');
    } else {
        write!(out, "{}", digit(0)).ok()?;
        for index in 1..=weight {
            write!(out, "{:04}", digit(index)).ok()?;
        }
    }
    if scale > 0 {
        out.push(b'.');
        let end = out.len() + usize::from(scale);
        let mut index = weight + 1;
        while out.len() < end {
            write!(out, "{:04}", digit(index)).ok()?;
            index += 1;
        }
        out.truncate(end);
    }
    Some(())
}

fn write_all(out: &mut Vec<u8>, text: &str) -> Option<()> {
    out.extend_from_slice(text.as_bytes());
    Some(())
}
