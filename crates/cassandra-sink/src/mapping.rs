//! Which field goes to which column: the configuration, a table and a writer's schema brought together.
//!
//! A column takes the field of its own name, or the one that the configuration names. Columns without either are left
//! alone, except those of the primary key. Pure, made once per schema and table.

use events::avro::{Field, FieldType, Layout};
use events::meta;

use crate::config::TableConfig;
use crate::convert::{Conversion, cql_name};
use crate::table::Table;

/// A schema whose records can't be written to a table.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MappingError {
    /// A column of the primary key would have no value.
    #[error("key column {column} of table {table} has no field {field} in the schema")]
    NoKeyField {
        /// The table.
        table: String,
        /// The column.
        column: String,
        /// The field that should fill it.
        field: String,
    },
    /// The configuration names a field that the schema has not.
    #[error("column {column} of table {table} is mapped to the field {field}, which the schema has not")]
    NoField {
        /// The table.
        table: String,
        /// The column.
        column: String,
        /// The field.
        field: String,
    },
    /// The types do not convert.
    #[error(
        "column {column} of table {table} is of type {cql}, which can't hold the field {field} of type {avro}"
    )]
    Types {
        /// The table.
        table: String,
        /// The column.
        column: String,
        /// Its type.
        cql: String,
        /// The field.
        field: String,
        /// Its type.
        avro: FieldType,
    },
    /// Change metadata is missing: the records are not changes.
    #[error("the schema has no field {field} of type {wanted}; its records are no changes")]
    NoMetadata {
        /// The field.
        field: &'static str,
        /// Its type.
        wanted: FieldType,
    },
}

/// A column and where its value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// The column.
    pub column: String,
    /// The cell of the row.
    pub cell: usize,
    /// How its values are converted.
    pub conversion: Conversion,
}

/// The bindings of one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    /// All columns that are filled, those of the key first.
    pub columns: Vec<Binding>,
    /// The primary key, in the table's order.
    pub key: Vec<Binding>,
    /// The primary key as it was before an update; a column whose old value the schema does not keep is one that
    /// does not change. `None` if it keeps none.
    pub old_key: Option<Vec<Binding>>,
    /// Columns of the table that no field fills.
    pub unfilled: Vec<String>,
}

/// The cells of the change metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metadata {
    /// Kind of change.
    pub op: usize,
    /// Position, the write timestamp.
    pub lsn: usize,
    /// Time of the source's commit in microseconds.
    pub commit_ts: usize,
}

impl Metadata {
    /// Finds the metadata in the schema.
    ///
    /// # Errors
    /// A field is missing or has another type.
    pub fn of(layout: &Layout) -> Result<Self, MappingError> {
        let find = |field: &'static str, wanted: FieldType| match layout.cell(field) {
            Some((cell, found)) if found.field_type == wanted => Ok(cell),
            _ => Err(MappingError::NoMetadata { field, wanted }),
        };
        Ok(Self {
            op: find(meta::OP, FieldType::String)?,
            lsn: find(meta::LSN, FieldType::Long)?,
            commit_ts: find(meta::COMMIT_TS, FieldType::TimestampMicros)?,
        })
    }
}

impl Mapping {
    /// Brings a table and a schema together.
    ///
    /// # Errors
    /// A key column without a field, a mapped field that does not exist, or types that do not convert.
    pub fn new(layout: &Layout, table: &Table, config: &TableConfig) -> Result<Self, MappingError> {
        let mut key = Vec::with_capacity(table.key.len());
        let mut old_key = Vec::with_capacity(table.key.len());
        let mut has_old = false;
        for column in &table.key {
            let field = config.field_of(column);
            let found = layout.cell(field).ok_or_else(|| MappingError::NoKeyField {
                table: table.name.clone(),
                column: column.clone(),
                field: field.to_owned(),
            })?;
            key.push(bind(table, column, found)?);
            let old = layout.before_cell(field);
            has_old |= old.is_some();
            old_key.push(bind(table, column, old.unwrap_or(found))?);
        }
        let mut columns = key.clone();
        let mut unfilled = Vec::new();
        for column in table.columns.keys().filter(|column| !table.key.contains(column)) {
            match layout.cell(config.field_of(column)) {
                Some(found) => columns.push(bind(table, column, found)?),
                None => match config.columns.get(column) {
                    Some(field) => {
                        return Err(MappingError::NoField {
                            table: table.name.clone(),
                            column: column.clone(),
                            field: field.clone(),
                        });
                    }
                    None => unfilled.push(column.clone()),
                },
            }
        }
        Ok(Self { columns, key, old_key: has_old.then_some(old_key), unfilled })
    }
}

fn bind(table: &Table, column: &str, (cell, field): (usize, &Field)) -> Result<Binding, MappingError> {
    let mismatch = |cql: String| MappingError::Types {
        table: table.name.clone(),
        column: column.to_owned(),
        cql,
        field: field.name.clone(),
        avro: field.field_type.clone(),
    };
    let cql_type = table.columns.get(column).ok_or_else(|| mismatch("unknown".to_owned()))?;
    let conversion =
        Conversion::between(&field.field_type, cql_type).ok_or_else(|| mismatch(cql_name(cql_type)))?;
    Ok(Binding { column: column.to_owned(), cell, conversion })
}

#[cfg(test)]
mod tests;
