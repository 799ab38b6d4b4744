//! Big-endian numbers, strings and spans out of a message.

/// Bytes that are not a message of the protocol.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum Malformed {
    /// The message ends too early.
    #[error("pgoutput message of {len} bytes ends where {wanted} more were wanted at {at}")]
    Short {
        /// Length of the message.
        len: usize,
        /// Offset in the message.
        at: usize,
        /// Bytes that were to be read there.
        wanted: usize,
    },
    /// A tag that the protocol does not have there.
    #[error("pgoutput message has 0x{found:02x} at {at}, which protocol version 1 does not have there")]
    Tag {
        /// What is there.
        found: u8,
        /// Offset in the message.
        at: usize,
    },
    /// A name that is not UTF-8.
    #[error("pgoutput message has a name at {at} that is not UTF-8")]
    Name {
        /// Offset in the message.
        at: usize,
    },
}

pub(super) struct Reader<'a> {
    data: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) const fn new(data: &'a [u8]) -> Self {
        Self { data, at: 0 }
    }

    /// Where the next byte is read.
    pub(super) const fn position(&self) -> usize {
        self.at
    }

    #[inline]
    pub(super) fn take(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let rest = self.data.get(self.at..).unwrap_or_default();
        let taken =
            rest.get(..len).ok_or(Malformed::Short { len: self.data.len(), at: self.at, wanted: len })?;
        self.at += len;
        Ok(taken)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let at = self.at;
        self.take(N)?.try_into().map_err(|_| Malformed::Short { len: self.data.len(), at, wanted: N })
    }

    #[inline]
    pub(super) fn u8(&mut self) -> Result<u8, Malformed> {
        self.array().map(|[byte]| byte)
    }

    #[inline]
    pub(super) fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_be_bytes)
    }

    #[inline]
    pub(super) fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn expect(&mut self, tag: u8) -> Result<(), Malformed> {
        match self.u8()? {
            found if found == tag => Ok(()),
            found => Err(self.unexpected(found)),
        }
    }

    /// The error for a tag that was just read.
    pub(super) const fn unexpected(&self, found: u8) -> Malformed {
        Malformed::Tag { found, at: self.at.saturating_sub(1) }
    }

    /// A string up to its terminating zero.
    pub(super) fn name(&mut self) -> Result<&'a str, Malformed> {
        let at = self.at;
        let rest = self.data.get(at..).unwrap_or_default();
        let len = rest.iter().position(|byte| *byte == 0).ok_or(Malformed::Short {
            len: self.data.len(),
            at,
            wanted: rest.len() + 1,
        })?;
        let name = std::str::from_utf8(self.take(len)?).map_err(|_| Malformed::Name { at })?;
        self.take(1)?;
        Ok(name)
    }
}
