//! What PostgreSQL's catalog says about the published tables.
//!
//! The stream describes a table by itself, except for its primary key and for types that are not built in.

use std::collections::HashMap;

use pgwire_replication::Lsn;
use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{AssertSqlSafe, Row as _};

use crate::order::{quote_identifier, quote_literal};
use crate::pgoutput::{RelationColumn, RelationMessage, ReplicaIdentity};
use crate::postgres::within;
use crate::table::{Table, TableName};
use crate::value::ColumnType;

/// A table of the publication, as the stream would describe it now.
#[derive(Debug, Clone)]
pub struct Published {
    /// Its layout.
    pub relation: RelationMessage,
    /// The types of its columns.
    pub types: Vec<ColumnType>,
    /// Its primary key's columns.
    pub key: Vec<String>,
    /// The publication's condition for its rows.
    pub row_filter: Option<String>,
    /// Whether its rows are those of its partitions.
    pub is_partitioned: bool,
}

const PUBLISHED: &str = r"
SELECT c.oid, n.nspname::text, c.relname::text, c.relreplident::text, p.rowfilter,
       a.attname::text, a.atttypid,
       c.relreplident = 'f' OR EXISTS (
           SELECT FROM pg_index i
           WHERE i.indrelid = c.oid
             AND CASE c.relreplident WHEN 'd' THEN i.indisprimary WHEN 'i' THEN i.indisreplident ELSE false END
             AND a.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1])),
       c.relkind = 'p'
FROM pg_publication_tables p
JOIN pg_namespace n ON n.nspname = p.schemaname
JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = p.tablename
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
                   AND a.attname = ANY (p.attnames)
                   AND (a.attgenerated = '' OR current_setting('server_version_num')::int >= 180000)
WHERE p.pubname = $1
ORDER BY n.nspname, c.relname, a.attnum";

const KEY: &str = r"
SELECT a.attname::text
FROM pg_index i
CROSS JOIN LATERAL unnest((i.indkey::int2[])[0:i.indnkeyatts - 1]) WITH ORDINALITY k (attnum, position)
JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
WHERE i.indrelid = $1 AND i.indisprimary
ORDER BY k.position";

/// Domains are followed to what they are made of.
const TYPES: &str = r"
WITH RECURSIVE t AS (
    SELECT oid AS wanted, oid, typtype, typbasetype FROM pg_type WHERE oid = ANY ($1)
    UNION ALL
    SELECT t.wanted, b.oid, b.typtype, b.typbasetype FROM t JOIN pg_type b ON b.oid = t.typbasetype
    WHERE t.typtype = 'd')
SELECT wanted, oid, typtype = 'e' FROM t WHERE typtype <> 'd'";

/// The tables of the publication, in the order of their names.
///
/// # Errors
/// sqlx's.
pub async fn published(conn: &mut PgConnection, publication: &str) -> Result<Vec<Published>, sqlx::Error> {
    let rows = within(sqlx::query(PUBLISHED).bind(publication).fetch_all(&mut *conn)).await?;
    let mut tables: Vec<Published> = Vec::new();
    for row in rows {
        let column = RelationColumn {
            name: row.try_get(5)?,
            type_id: row.try_get::<Oid, _>(6)?.0,
            identity: row.try_get(7)?,
        };
        let id = row.try_get::<Oid, _>(0)?.0;
        match tables.last_mut() {
            Some(table) if table.relation.id == id => table.relation.columns.push(column),
            _ => tables.push(begin_table(&row, id, column)?),
        }
    }
    for table in &mut tables {
        table.key = key(conn, table.relation.id).await?;
        table.types = types(conn, &table.relation).await?;
    }
    Ok(tables)
}

fn begin_table(row: &PgRow, id: u32, column: RelationColumn) -> Result<Published, sqlx::Error> {
    let letter: String = row.try_get(3)?;
    let replica_identity = letter.bytes().next().and_then(ReplicaIdentity::from_letter);
    let relation = RelationMessage {
        id,
        schema: row.try_get(1)?,
        table: row.try_get(2)?,
        replica_identity: replica_identity.unwrap_or(ReplicaIdentity::Nothing),
        columns: vec![column],
    };
    Ok(Published {
        relation,
        types: Vec::new(),
        key: Vec::new(),
        row_filter: row.try_get(4)?,
        is_partitioned: row.try_get(8)?,
    })
}

/// The columns of a table's primary key; none if it has no key or is gone.
///
/// # Errors
/// sqlx's.
pub async fn key(conn: &mut PgConnection, table: u32) -> Result<Vec<String>, sqlx::Error> {
    within(sqlx::query_scalar(KEY).bind(Oid(table)).fetch_all(conn)).await
}

/// A column of a table as it is now.
struct Attribute {
    name: String,
    type_id: u32,
    /// Its place in the primary key.
    position: Option<i64>,
}

const ATTRIBUTES: &str = r"
SELECT a.attname::text, a.atttypid, k.position
FROM pg_attribute a
LEFT JOIN pg_index i ON i.indrelid = a.attrelid AND i.indisprimary
LEFT JOIN LATERAL unnest((i.indkey::int2[])[0:i.indnkeyatts - 1]) WITH ORDINALITY k (attnum, position)
       ON k.attnum = a.attnum
WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum";

/// The columns of the primary key of a table that the stream has described, by the names that they had then.
///
/// # Errors
/// sqlx's.
pub async fn key_then(
    conn: &mut PgConnection,
    relation: &RelationMessage,
) -> Result<Vec<String>, sqlx::Error> {
    let rows = within(sqlx::query(ATTRIBUTES).bind(Oid(relation.id)).fetch_all(conn)).await?;
    let attribute = |row: PgRow| {
        let type_id = row.try_get::<Oid, _>(1)?.0;
        Ok(Attribute { name: row.try_get(0)?, type_id, position: row.try_get(2)? })
    };
    let today: Result<Vec<Attribute>, sqlx::Error> = rows.into_iter().map(attribute).collect();
    Ok(names_then(&today?, relation))
}

/// A column of the key that the description does not know by its name was renamed since: it is the one of its type that
/// the table does not know by its name. If there are several it keeps its name, which is an error later. Of a table
/// that is gone the replica identity is known, which is the key unless it was set to something else.
fn names_then(today: &[Attribute], relation: &RelationMessage) -> Vec<String> {
    if today.is_empty() && relation.replica_identity == ReplicaIdentity::Default {
        let key = relation.columns.iter().filter(|column| column.identity);
        return key.map(|column| column.name.clone()).collect();
    }
    let mut key: Vec<(i64, &Attribute)> =
        today.iter().filter_map(|attribute| Some((attribute.position?, attribute))).collect();
    key.sort_by_key(|(position, _)| *position);
    let described = |name: &str| relation.columns.iter().any(|column| column.name == name);
    let is_there = |name: &str| today.iter().any(|attribute| attribute.name == name);
    let then = |attribute: &Attribute| {
        let mut renamed = relation.columns.iter().filter(|column| {
            column.type_id == attribute.type_id && column.identity && !is_there(&column.name)
        });
        match (described(&attribute.name), renamed.next(), renamed.next()) {
            (false, Some(only), None) => only.name.clone(),
            _ => attribute.name.clone(),
        }
    };
    key.into_iter().map(|(_, attribute)| then(attribute)).collect()
}

/// The types of a relation's columns, in order. A type that is gone counts as [`ColumnType::Other`].
///
/// # Errors
/// sqlx's.
pub async fn types(
    conn: &mut PgConnection,
    relation: &RelationMessage,
) -> Result<Vec<ColumnType>, sqlx::Error> {
    let unknown: Vec<Oid> = relation
        .columns
        .iter()
        .filter(|column| ColumnType::of_builtin(column.type_id).is_none())
        .map(|column| Oid(column.type_id))
        .collect();
    let mut resolved = HashMap::new();
    if !unknown.is_empty() {
        for row in within(sqlx::query(TYPES).bind(unknown).fetch_all(conn)).await? {
            let is_enum: bool = row.try_get(2)?;
            let base = row.try_get::<Oid, _>(1)?.0;
            let ty = if is_enum { Some(ColumnType::Text) } else { ColumnType::of_builtin(base) };
            resolved.insert(row.try_get::<Oid, _>(0)?.0, ty.unwrap_or(ColumnType::Other));
        }
    }
    let of = |column: &RelationColumn| {
        ColumnType::of_builtin(column.type_id)
            .or_else(|| resolved.get(&column.type_id).copied())
            .unwrap_or(ColumnType::Other)
    };
    Ok(relation.columns.iter().map(of).collect())
}

/// The text of some columns of one row, as it is now; `None` if there is no such row.
///
/// # Errors
/// sqlx's, as when a column is gone.
pub async fn current_values(
    conn: &mut PgConnection,
    table: &Table,
    key: &[String],
    columns: &[usize],
) -> Result<Option<Vec<Option<String>>>, sqlx::Error> {
    let wanted: Vec<String> = columns
        .iter()
        .filter_map(|index| table.columns.get(*index))
        .map(|column| quote_identifier(&column.name))
        // The output function, which a cast to text is not for every type.
        .map(|name| format!("CASE WHEN {name} IS NOT NULL THEN format('%s', {name}) END"))
        .collect();
    let conditions: Vec<String> = table
        .key_columns()
        .zip(key)
        .map(|(column, value)| format!("{} = {}", quote_identifier(&column.name), quote_literal(value)))
        .collect();
    let sql = format!(
        "SELECT {} FROM {} WHERE {}",
        wanted.join(", "),
        sql_name(&table.name),
        conditions.join(" AND ")
    );
    let row = within(sqlx::raw_sql(AssertSqlSafe(sql)).fetch_optional(conn)).await?;
    row.map(|row| (0..columns.len()).map(|index| row.try_get(index)).collect()).transpose()
}

/// Whether a statement failed for a column or a table that is not there.
#[must_use]
pub fn is_gone(error: &sqlx::Error) -> bool {
    const UNDEFINED_COLUMN: &str = "42703";
    const UNDEFINED_TABLE: &str = "42P01";
    const NO_SCHEMA: &str = "3F000";
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    matches!(code.as_deref(), Some(UNDEFINED_COLUMN | UNDEFINED_TABLE | NO_SCHEMA))
}

/// The columns that a table has now; none if there is no such table.
///
/// # Errors
/// sqlx's.
pub async fn column_names(conn: &mut PgConnection, table: &TableName) -> Result<Vec<String>, sqlx::Error> {
    let names = "SELECT attname::text FROM pg_attribute \
                 WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped";
    within(sqlx::query_scalar(names).bind(sql_name(table)).fetch_all(conn)).await
}

/// A table's name as SQL takes it.
#[must_use]
pub fn sql_name(name: &TableName) -> String {
    format!("{}.{}", quote_identifier(&name.schema), quote_identifier(&name.table))
}

/// A column of LSN type.
///
/// # Errors
/// sqlx's, also for a text that is no LSN.
pub fn lsn(row: &PgRow, index: usize) -> Result<Option<Lsn>, sqlx::Error> {
    let text: Option<String> = row.try_get(index)?;
    text.map(|text| text.parse().map_err(|error| sqlx::Error::Decode(Box::new(error)))).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: u32 = 25;
    const UUID: u32 = 2950;

    fn relation(replica_identity: ReplicaIdentity, columns: &[(&str, u32, bool)]) -> RelationMessage {
        let column = |(name, type_id, identity): &(&str, u32, bool)| RelationColumn {
            name: (*name).to_owned(),
            type_id: *type_id,
            identity: *identity,
        };
        let columns = columns.iter().map(column).collect();
        RelationMessage {
            id: 1,
            schema: "public".to_owned(),
            table: "t".to_owned(),
            replica_identity,
            columns,
        }
    }

    fn key(today: &[(&str, u32, Option<i64>)], relation: &RelationMessage) -> Vec<String> {
        let attribute = |(name, type_id, position): &(&str, u32, Option<i64>)| Attribute {
            name: (*name).to_owned(),
            type_id: *type_id,
            position: *position,
        };
        names_then(&today.iter().map(attribute).collect::<Vec<_>>(), relation)
    }

    #[test]
    fn the_key_has_the_names_that_it_had_when_the_table_was_described() {
        let then = relation(
            ReplicaIdentity::Index,
            &[("id", UUID, true), ("nat", TEXT, true), ("note", TEXT, false)],
        );
        assert_eq!(key(&[("id", UUID, Some(1)), ("nat", TEXT, None)], &then), ["id"]);
        assert_eq!(key(&[("uid", UUID, Some(1)), ("nat", TEXT, None)], &then), ["id"]);
        // In the key's order, not the table's.
        assert_eq!(key(&[("uid", UUID, Some(2)), ("nat", TEXT, Some(1))], &then), ["nat", "id"]);
        // Another column was renamed with it; or it is new.
        assert_eq!(key(&[("uid", UUID, Some(1)), ("land", TEXT, None)], &then), ["id"]);
        assert_eq!(key(&[("id", UUID, None), ("nat", TEXT, None), ("n", UUID, Some(1))], &then), ["n"]);
        let ambiguous = relation(ReplicaIdentity::Full, &[("a", TEXT, true), ("b", TEXT, true)]);
        assert_eq!(key(&[("c", TEXT, Some(1)), ("d", TEXT, None)], &ambiguous), ["c"]);
    }

    #[test]
    fn a_table_that_is_gone_is_keyed_by_its_replica_identity() {
        let columns = [("id", UUID, true), ("nat", TEXT, false)];
        assert_eq!(key(&[], &relation(ReplicaIdentity::Default, &columns)), ["id"]);
        assert!(key(&[], &relation(ReplicaIdentity::Index, &columns)).is_empty());
    }
}
