//! The layout of a table, as a relation message says it or as the catalog does.

use super::reader::{Malformed, Reader};

/// What PostgreSQL logs of a row's old version (`pg_class.relreplident`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplicaIdentity {
    /// The primary key.
    Default,
    /// Nothing, which leaves updates and deletes without a key.
    Nothing,
    /// The whole row.
    Full,
    /// The columns of a unique index.
    Index,
}

impl ReplicaIdentity {
    /// From the letter that PostgreSQL uses.
    #[must_use]
    pub const fn from_letter(letter: u8) -> Option<Self> {
        match letter {
            b'd' => Some(Self::Default),
            b'n' => Some(Self::Nothing),
            b'f' => Some(Self::Full),
            b'i' => Some(Self::Index),
            _ => None,
        }
    }
}

/// The layout of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelationMessage {
    /// Object identifier of the table.
    pub id: u32,
    /// Schema of the table.
    pub schema: String,
    /// Name of the table.
    pub table: String,
    /// What is known of old rows.
    pub replica_identity: ReplicaIdentity,
    /// The published columns, in the table's order.
    pub columns: Vec<RelationColumn>,
}

/// A published column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelationColumn {
    /// Name of the column.
    pub name: String,
    /// Object identifier of its type.
    pub type_id: u32,
    /// Whether it belongs to the replica identity.
    pub identity: bool,
}

pub(super) fn read(reader: &mut Reader<'_>) -> Result<RelationMessage, Malformed> {
    let id = reader.u32()?;
    let schema = match reader.name()? {
        "" => "pg_catalog",
        schema => schema,
    };
    let table = reader.name()?.to_owned();
    let letter = reader.u8()?;
    let replica_identity = ReplicaIdentity::from_letter(letter).ok_or_else(|| reader.unexpected(letter))?;
    let count = reader.u16()?;
    let mut columns = Vec::with_capacity(usize::from(count));
    for _ in 0..count {
        let identity = reader.u8()? & 1 == 1;
        let name = reader.name()?.to_owned();
        let type_id = reader.u32()?;
        // The type's modifier, such as the length of a varchar, does not change the Avro type.
        reader.u32()?;
        columns.push(RelationColumn { name, type_id, identity });
    }
    Ok(RelationMessage { id, schema: schema.to_owned(), table, replica_identity, columns })
}
