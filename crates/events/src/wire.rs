//! Confluent's wire format: a zero byte, the schema id as four big-endian bytes, the Avro datum.
//!
//! Source: <https://docs.confluent.io/platform/current/schema-registry/fundamentals/serdes-develop/index.html#wire-format>

/// Bytes before the datum.
pub const HEADER_LEN: usize = 5;

const MAGIC: u8 = 0;

/// The bytes that go before a datum written with this schema.
#[must_use]
pub const fn header(schema_id: u32) -> [u8; HEADER_LEN] {
    let [a, b, c, d] = schema_id.to_be_bytes();
    [MAGIC, a, b, c, d]
}

/// A value that is not in the wire format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// Fewer bytes than the header has.
    #[error("{0} bytes are too few for a schema id; {HEADER_LEN} or more are needed")]
    Short(usize),
    /// Another format.
    #[error("the first byte is {0:#04x}, not 0x00: the value was not written with the Schema Registry")]
    Magic(u8),
}

/// The schema id and the datum.
///
/// # Errors
/// The bytes are too few or begin with another magic byte.
pub fn split(value: &[u8]) -> Result<(u32, &[u8]), WireError> {
    match value {
        [MAGIC, a, b, c, d, datum @ ..] => Ok((u32::from_be_bytes([*a, *b, *c, *d]), datum)),
        [first, ..] if *first != MAGIC => Err(WireError::Magic(*first)),
        short => Err(WireError::Short(short.len())),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn splits_what_was_joined(id: u32, datum: Vec<u8>) {
            let value = [&header(id)[..], &datum].concat();
            prop_assert_eq!(split(&value), Ok((id, &datum[..])));
        }
    }

    #[test]
    fn refuses_other_formats() {
        assert_eq!(split(b""), Err(WireError::Short(0)));
        assert_eq!(split(&[0, 0, 0, 1]), Err(WireError::Short(4)));
        assert_eq!(split(b"{\"a\":1}"), Err(WireError::Magic(b'{')));
    }
}
