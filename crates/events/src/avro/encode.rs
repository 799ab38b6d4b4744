//! Writing values: <https://avro.apache.org/docs/1.12.0/specification/#binary-encoding>.

/// Appends an `int` or `long`: zigzag, then seven bits a byte, least significant first.
#[inline]
pub fn put_long(value: i64, out: &mut Vec<u8>) {
    let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
    while rest >= 0x80 {
        out.push(low_bits(rest) | 0x80);
        rest >>= 7;
    }
    out.push(low_bits(rest));
}

#[inline]
fn low_bits(value: u64) -> u8 {
    value.to_le_bytes()[0] & 0x7f
}

/// Appends `bytes`, or a `string` that is known to be UTF-8: the length, then the bytes.
#[inline]
pub fn put_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    // A message is smaller than 1 GiB.
    put_long(i64::try_from(bytes.len()).unwrap_or(i64::MAX), out);
    out.extend_from_slice(bytes);
}

/// Appends a `string`.
#[inline]
pub fn put_str(text: &str, out: &mut Vec<u8>) {
    put_bytes(text.as_bytes(), out);
}

/// Appends a `double`.
#[inline]
pub fn put_double(value: f64, out: &mut Vec<u8>) {
    out.extend_from_slice(&value.to_le_bytes());
}

/// Appends a value of a union of null and its type, in this order.
#[inline]
pub fn put_nullable<T>(value: Option<T>, out: &mut Vec<u8>, put: impl FnOnce(T, &mut Vec<u8>)) {
    match value {
        None => put_long(0, out),
        Some(value) => {
            put_long(1, out);
            put(value, out);
        }
    }
}
