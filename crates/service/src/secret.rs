//! Tokens that a caller must present.

use std::io::{self, Read};

/// A new random token: 256 bits from the operating system, as 64 hexadecimal digits.
///
/// # Errors
/// Fails if `/dev/urandom` can't be read.
pub fn generate() -> io::Result<String> {
    let mut bytes = [0_u8; 32];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
