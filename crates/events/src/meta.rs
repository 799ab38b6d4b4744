//! Change metadata in every value, named as Debezium's unwrapped records name it.

use std::fmt;
use std::str::FromStr;

/// Field with the kind of change, an [`Op`].
pub const OP: &str = "__op";
/// Field with the change's own position in PostgreSQL's WAL, a long. It rises with every change of one row, since
/// row locks order them.
pub const LSN: &str = "__lsn";
/// Field with the time of the source transaction's commit, timestamp-micros.
pub const COMMIT_TS: &str = "__commit_ts";
/// Field with the old values of the replica-identity columns, null unless an update changed one of them.
pub const BEFORE: &str = "__before";

/// Kind of change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Op {
    /// An inserted row.
    Create,
    /// An updated row.
    Update,
    /// A deleted row: only its identity is set.
    Delete,
    /// A row that was there before the stream began, read by the snapshot.
    Read,
}

impl Op {
    /// One letter, as in the field.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "c",
            Self::Update => "u",
            Self::Delete => "d",
            Self::Read => "r",
        }
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A `__op` that is none of c, u, d and r.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no change operation; there are c, u, d and r")]
pub struct UnknownOp(String);

impl FromStr for Op {
    type Err = UnknownOp;

    fn from_str(text: &str) -> Result<Self, UnknownOp> {
        match text {
            "c" => Ok(Self::Create),
            "u" => Ok(Self::Update),
            "d" => Ok(Self::Delete),
            "r" => Ok(Self::Read),
            other => Err(UnknownOp(other.to_owned())),
        }
    }
}
