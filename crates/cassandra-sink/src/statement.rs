//! Prepared statements of one table, and binding a row to them without values in between.

use events::avro::Cell;
use scylla::errors::PrepareError;
use scylla::serialize::SerializationError;
use scylla::serialize::row::{RowSerializationContext, SerializeRow};
use scylla::serialize::writers::RowWriter;
use scylla::statement::prepared::PreparedStatement;

use crate::cluster::Cluster;
use crate::convert::{Conversion, ConversionError, Nulls};
use crate::mapping::{Binding, Mapping};

/// Where a value's length would be, if it is not set; a null has another number below 0.
const UNSET: i32 = -2;

/// A value that can't be bound. Names the column and does not quote the value.
#[derive(Debug, thiserror::Error)]
#[error("column {column}: {problem}")]
pub struct BindError {
    column: String,
    problem: ConversionError,
}

/// A statement and the cells of its markers, in their order.
#[derive(Debug)]
pub struct Statement {
    /// Prepared on the cluster.
    pub prepared: PreparedStatement,
    bindings: Vec<Binding>,
}

/// A row bound to a statement.
#[derive(Debug, Clone, Copy)]
pub struct Bound<'a> {
    bindings: &'a [Binding],
    cells: &'a [Cell<'a>],
    nulls: Nulls,
}

/// The statements of a mapping. Each has the write timestamp as a marker of its own.
#[derive(Debug)]
pub struct Statements {
    /// Writes the row, whether it is there or not.
    pub upsert: Statement,
    /// Removes the row.
    pub delete: Statement,
    /// Removes the row under the key from before an update.
    pub delete_old: Option<Statement>,
}

impl Statements {
    /// Prepares the statements; `timestamp` is the cell of the write timestamp.
    ///
    /// # Errors
    /// No node can be asked, or the table has changed since it was read.
    pub async fn prepare(
        cluster: &Cluster,
        table: &str,
        mapping: Mapping,
        timestamp: usize,
    ) -> Result<Self, PrepareError> {
        let prepare = async |text: String| -> Result<PreparedStatement, PrepareError> {
            let mut prepared = Box::pin(cluster.session.prepare(text)).await?;
            // The write timestamp is the change's own, so that a repeat changes nothing.
            prepared.set_is_idempotent(true);
            prepared.set_execution_profile_handle(Some(cluster.profile.clone()));
            Ok(prepared)
        };
        let timestamp = Binding {
            column: "its write timestamp".to_owned(),
            cell: timestamp,
            conversion: Conversion::Same,
        };
        let upsert = prepare(upsert_text(&cluster.keyspace, table, &mapping.columns)).await?;
        let delete = prepare(delete_text(&cluster.keyspace, table, &mapping.key)).await?;
        let timed = |key: Vec<Binding>| std::iter::once(timestamp.clone()).chain(key).collect();
        Ok(Self {
            upsert: Statement {
                prepared: upsert,
                bindings: mapping.columns.into_iter().chain([timestamp.clone()]).collect(),
            },
            delete_old: mapping
                .old_key
                .map(|key| Statement { prepared: delete.clone(), bindings: timed(key) }),
            delete: Statement { prepared: delete, bindings: timed(mapping.key) },
        })
    }
}

impl Statement {
    /// Binds a row.
    #[must_use]
    pub fn bind<'a>(&'a self, cells: &'a [Cell<'a>], nulls: Nulls) -> Bound<'a> {
        Bound { bindings: &self.bindings, cells, nulls }
    }
}

/// The values of a row, apart from it: CQL's `[value]`s, one after the other.
#[derive(Debug)]
pub struct Values(Vec<u8>);

impl Bound<'_> {
    /// The values, apart from the row.
    ///
    /// # Errors
    /// A value can't be bound.
    pub fn detach(&self) -> Result<Values, SerializationError> {
        let mut values = Vec::new();
        self.write(&mut RowWriter::new(&mut values))?;
        Ok(Values(values))
    }

    // The columns' types were compared with the fields' when the mapping was made.
    fn write(&self, writer: &mut RowWriter<'_>) -> Result<(), SerializationError> {
        for binding in self.bindings {
            let cell = self.cells.get(binding.cell).copied().unwrap_or(Cell::Null);
            binding.conversion.write(cell, self.nulls, writer.make_cell_writer()).map_err(|problem| {
                SerializationError::new(BindError { column: binding.column.clone(), problem })
            })?;
        }
        Ok(())
    }
}

impl SerializeRow for Bound<'_> {
    fn serialize(
        &self,
        _: &RowSerializationContext<'_>,
        writer: &mut RowWriter<'_>,
    ) -> Result<(), SerializationError> {
        self.write(writer)
    }

    fn is_empty(&self) -> bool {
        self.bindings.is_empty()
    }
}

impl Values {
    /// In bytes.
    #[must_use]
    pub const fn size(&self) -> usize {
        self.0.len()
    }
}

impl SerializeRow for Values {
    fn serialize(
        &self,
        _: &RowSerializationContext<'_>,
        writer: &mut RowWriter<'_>,
    ) -> Result<(), SerializationError> {
        let mut rest = &self.0[..];
        while let Some((length, after)) = rest.split_first_chunk() {
            let cell = writer.make_cell_writer();
            let length = i32::from_be_bytes(*length);
            rest = after;
            if let Ok(length) = usize::try_from(length) {
                let (value, after) = after.split_at_checked(length).unwrap_or((after, &[]));
                cell.set_value(value).map_err(SerializationError::new)?;
                rest = after;
            } else if length == UNSET {
                cell.set_unset();
            } else {
                cell.set_null();
            }
        }
        Ok(())
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn upsert_text(keyspace: &str, table: &str, columns: &[Binding]) -> String {
    let names: Vec<String> = columns.iter().map(|binding| quoted(&binding.column)).collect();
    let markers = vec!["?"; columns.len()].join(", ");
    format!(
        "INSERT INTO {}.{} ({}) VALUES ({markers}) USING TIMESTAMP ?",
        quoted(keyspace),
        quoted(table),
        names.join(", ")
    )
}

fn delete_text(keyspace: &str, table: &str, key: &[Binding]) -> String {
    let conditions: Vec<String> =
        key.iter().map(|binding| format!("{} = ?", quoted(&binding.column))).collect();
    format!(
        "DELETE FROM {}.{} USING TIMESTAMP ? WHERE {}",
        quoted(keyspace),
        quoted(table),
        conditions.join(" AND ")
    )
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_statements_carry_their_timestamp() {
        let binding =
            |column: &str| Binding { column: column.to_owned(), cell: 0, conversion: Conversion::Same };
        let key = [binding("country"), binding("id")];
        assert_eq!(
            upsert_text("ks", "users", &[key[0].clone(), binding("Odd\"name")]),
            r#"INSERT INTO "ks"."users" ("country", "Odd""name") VALUES (?, ?) USING TIMESTAMP ?"#
        );
        assert_eq!(
            delete_text("ks", "users", &key),
            r#"DELETE FROM "ks"."users" USING TIMESTAMP ? WHERE "country" = ? AND "id" = ?"#
        );
    }
}
