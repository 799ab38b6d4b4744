//! The Avro schema of a table's records.
//!
//! Fields are the columns in order, then the change metadata. A column of the replica identity is never null and
//! has its plain type; any other is a union with null, since deletes do not have it. So a new column is always an
//! optional field, which readers of the old schema and the new can skip or fill.

use std::collections::HashSet;

use events::meta;
use serde_json::{Value, json};

use crate::table::{Column, Table, TableName};
use crate::value::ColumnType;

/// A table whose names Avro can't have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "columns {first:?} and {second:?} of {table} have the same Avro name {field}: rename one \
     (ALTER TABLE {table} RENAME COLUMN …)"
)]
pub struct NameClash {
    table: TableName,
    first: String,
    second: String,
    field: String,
}

/// The value schema as JSON, in a record of the namespace `<namespace>.<schema>.<table>`.
///
/// # Errors
/// Two columns, or a column and the metadata, have the same name in Avro's alphabet.
pub fn value_schema(namespace: &str, table: &Table) -> Result<String, NameClash> {
    check_names(table)?;
    let mut fields: Vec<Value> = table.columns.iter().map(field).collect();
    let before: Vec<Value> = table.columns.iter().filter(|column| column.identity).map(field).collect();
    let before = json!({ "type": "record", "name": "Before", "fields": before });
    fields.push(json!({
        "name": meta::BEFORE,
        "doc": "Replica identity before an update that changed it.",
        "type": ["null", before],
        "default": null,
    }));
    fields.push(json!({ "name": meta::OP, "doc": "c, u, d or r (snapshot).", "type": "string" }));
    fields.push(json!({ "name": meta::LSN, "doc": "Position of the change in the WAL.", "type": "long" }));
    fields.push(json!({
        "name": meta::COMMIT_TS,
        "doc": "Commit time of the transaction.",
        "type": { "type": "long", "logicalType": "timestamp-micros" },
    }));
    let namespace = format!("{namespace}.{}.{}", avro_name(&table.name.schema), avro_name(&table.name.table));
    let schema = json!({ "type": "record", "name": "Value", "namespace": namespace, "fields": fields });
    Ok(schema.to_string())
}

fn field(column: &Column) -> Value {
    let ty = avro_type(column.ty);
    let name = avro_name(&column.name);
    if column.required {
        json!({ "name": name, "type": ty })
    } else {
        json!({ "name": name, "type": ["null", ty], "default": null })
    }
}

fn avro_type(ty: ColumnType) -> Value {
    match ty {
        ColumnType::Bool => json!("boolean"),
        ColumnType::Int2 | ColumnType::Int4 => json!("int"),
        ColumnType::Int8 => json!("long"),
        ColumnType::Float4 => json!("float"),
        ColumnType::Float8 => json!("double"),
        ColumnType::Bytea => json!("bytes"),
        ColumnType::Uuid => json!({ "type": "string", "logicalType": "uuid" }),
        ColumnType::Date => json!({ "type": "int", "logicalType": "date" }),
        ColumnType::Timestamp | ColumnType::Timestamptz => {
            json!({ "type": "long", "logicalType": "timestamp-micros" })
        }
        ColumnType::Text
        | ColumnType::Bpchar
        | ColumnType::Json
        | ColumnType::Jsonb
        | ColumnType::Numeric
        | ColumnType::Other => json!("string"),
    }
}

/// A name in Avro's alphabet (`[A-Za-z_][A-Za-z0-9_]*`), other characters as `_`.
pub(crate) fn avro_name(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 1);
    if name.starts_with(|first: char| first.is_ascii_digit()) {
        out.push('_');
    }
    out.extend(name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }));
    out
}

fn check_names(table: &Table) -> Result<(), NameClash> {
    let mut taken: HashSet<String> =
        [meta::BEFORE, meta::OP, meta::LSN, meta::COMMIT_TS].into_iter().map(str::to_owned).collect();
    for column in &table.columns {
        let field = avro_name(&column.name);
        if !taken.insert(field.clone()) {
            let first = table.columns.iter().find(|other| avro_name(&other.name) == field);
            return Err(NameClash {
                table: table.name.clone(),
                first: first.filter(|other| other.name != column.name).map_or(&field, |c| &c.name).clone(),
                second: column.name.clone(),
                field,
            });
        }
    }
    Ok(())
}
