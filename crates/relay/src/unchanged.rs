//! Large values that an update left as they were.
//!
//! PostgreSQL keeps them outside of the row (TOAST) and does not write them into the WAL again. If the old row has
//! the value it is taken from there, as with a full replica identity. Otherwise it is read from the table: that may
//! be a later value already, and then the change that made it comes later in the stream with the same value. If the
//! row is gone by then, the value stays null and the row's delete comes later. It stays null, too, if the column or the
//! table has another name by then or is gone: what it was is nowhere any more, and waiting would hold everything up.

use std::collections::HashMap;

use metrics::Counter;
use sqlx::postgres::PgConnection;

use crate::catalog;
use crate::error::RelayError;
use crate::pgoutput::{Cell, Row, Rows};
use crate::relations::Active;
use crate::value::Format;

/// Gives every unchanged cell of the new row its value. Returns the bytes that the cells then point into, if they
/// are others than `data`.
///
/// # Errors
/// PostgreSQL's, or a row without a key.
pub async fn fill(
    conn: &mut PgConnection,
    table: &Active,
    data: &[u8],
    rows: &mut Rows,
    has_old: bool,
    fetched: &Counter,
) -> Result<Option<Vec<u8>>, RelayError> {
    if has_old {
        for (new, old) in rows.new.iter_mut().zip(&rows.old) {
            if *new == Cell::Unchanged && matches!(old, Cell::Value(..)) {
                *new = *old;
            }
        }
    }
    let missing: Vec<usize> =
        rows.new.iter().enumerate().filter(|(_, cell)| **cell == Cell::Unchanged).map(|(i, _)| i).collect();
    if missing.is_empty() {
        return Ok(None);
    }
    let key = table.plan.key_values(Row { data, cells: &rows.new })?;
    let key: Vec<String> =
        key.into_iter().map(|value| String::from_utf8_lossy(&value).into_owned()).collect();
    let values = values(conn, table, &key, &missing).await?;
    fetched.increment(missing.len() as u64);
    let mut extended = data.to_vec();
    for (position, index) in missing.into_iter().enumerate() {
        let cell = match values.get(position).and_then(Option::as_deref) {
            None => Cell::Null,
            Some(text) => {
                let start = extended.len();
                extended.extend_from_slice(text.as_bytes());
                // Values are smaller than 1 GiB each.
                let [start, end] = [start, extended.len()].map(|at| u32::try_from(at).unwrap_or(u32::MAX));
                Cell::Value(Format::Text, start, end)
            }
        };
        if let Some(place) = rows.new.get_mut(index) {
            *place = cell;
        }
    }
    Ok(Some(extended))
}

/// The values of some columns as they are now, in the order of the columns.
async fn values(
    conn: &mut PgConnection,
    table: &Active,
    key: &[String],
    columns: &[usize],
) -> Result<Vec<Option<String>>, sqlx::Error> {
    let gone = match catalog::current_values(conn, &table.table, key, columns).await {
        Err(error) if catalog::is_gone(&error) => error,
        found => return Ok(found?.unwrap_or_default()),
    };
    tracing::warn!(
        table = table.name,
        error = service::error_chain(&gone),
        "a large value that a change left as it was can't be read any more: published as null"
    );
    let there = catalog::column_names(conn, &table.table.name).await?;
    let is_there =
        |index: &usize| table.table.columns.get(*index).is_some_and(|column| there.contains(&column.name));
    let left: Vec<usize> = columns.iter().copied().filter(is_there).collect();
    let found = match catalog::current_values(conn, &table.table, key, &left).await {
        // The key or the table.
        Err(error) if catalog::is_gone(&error) => None,
        found => found?,
    };
    let mut found = left.into_iter().zip(found.unwrap_or_default()).collect::<HashMap<_, _>>();
    Ok(columns.iter().map(|index| found.remove(index).flatten()).collect())
}
