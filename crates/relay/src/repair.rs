//! Rows that `pipeline repair` wants to be published once more.
//!
//! The order is a message in the WAL. The rows are read when the relay meets it, and may be newer than the changes
//! around it; what made them newer comes later in the stream and is published as always.

use std::collections::BTreeMap;

use events::repair::Order;
use sqlx::postgres::PgConnection;

use crate::catalog;
use crate::change::{Repaired, Writer};
use crate::error::RelayError;
use crate::pgoutput::{Cell, Row};
use crate::plan::Stamp;
use crate::relations::Active;
use crate::sink::Sink;
use crate::table::{Column, Table};
use crate::value::Format;

/// Publishes the rows of an order; how many records that were.
///
/// # Errors
/// PostgreSQL's, Kafka's, or a row that does not fit its table.
pub async fn publish(
    conn: &mut PgConnection,
    table: &mut Active,
    order: &Order,
    stamp: Stamp,
    writer: &mut Writer,
    sink: &mut Sink,
) -> Result<u64, RelayError> {
    let all: Vec<usize> = (0..table.table.columns.len()).collect();
    let mut records = 0;
    for row in &order.rows {
        let current = match catalog::current_values(conn, &table.table, &row.key, &all).await {
            Err(sqlx::Error::Database(error)) if is_data_exception(error.as_ref()) => {
                tracing::warn!(table = table.name, key = row.key.join("|"), %error, "no key of the table: not repaired");
                continue;
            }
            values => values?,
        };
        let new = current.map(|values| Texts::of(values.iter().map(Option::as_deref)));
        let old = (!row.old.is_empty()).then(|| Texts::of(by_name(&table.table, &row.old)));
        let repaired = Repaired { new: new.as_ref().map(Texts::row), old: old.as_ref().map(Texts::row) };
        records += writer.write_repaired(table, repaired, stamp, sink)?;
    }
    if let Some(note) = &order.note {
        writer.write_note(table, note, stamp, sink)?;
        records += 1;
    }
    Ok(records)
}

/// Class 22 of PostgreSQL's error codes: the text is no value of the column's type.
fn is_data_exception(error: &dyn sqlx::error::DatabaseError) -> bool {
    error.code().is_some_and(|code| code.starts_with("22"))
}

/// A row whose values are text.
struct Texts {
    data: Vec<u8>,
    cells: Vec<Cell>,
}

impl Texts {
    fn of<'v>(values: impl Iterator<Item = Option<&'v str>>) -> Self {
        let mut texts = Self { data: Vec::new(), cells: Vec::new() };
        for value in values {
            let cell = value.map_or(Cell::Null, |text| {
                let start = texts.data.len();
                texts.data.extend_from_slice(text.as_bytes());
                // Values are smaller than 1 GiB each.
                let [start, end] = [start, texts.data.len()].map(|at| u32::try_from(at).unwrap_or(u32::MAX));
                Cell::Value(Format::Text, start, end)
            });
            texts.cells.push(cell);
        }
        texts
    }

    fn row(&self) -> Row<'_> {
        Row { data: &self.data, cells: &self.cells }
    }
}

fn by_name<'v>(
    table: &'v Table,
    values: &'v BTreeMap<String, String>,
) -> impl Iterator<Item = Option<&'v str>> {
    let identity = |column: &Column| column.identity.then(|| values.get(&column.name).map(String::as_str))?;
    table.columns.iter().map(identity)
}
