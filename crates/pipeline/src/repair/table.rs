//! The table in PostgreSQL that a repair reads from.

use std::collections::BTreeSet;

use chrono::DateTime;
use futures::TryStreamExt as _;
use operate::config::Settings;
use serde_json::Value;
use service::BoxError;
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Row as _};

use super::records::{Records, Texts};
use super::state::Fields;

/// Published columns, whether they are of the replica identity, and their place in the primary key.
const COLUMNS: &str = r"
SELECT a.attname::text, format_type(a.atttypid, NULL),
       coalesce(bool_or(CASE c.relreplident WHEN 'd' THEN i.indisprimary WHEN 'i' THEN i.indisreplident END
                        AND a.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1])), false) OR c.relreplident = 'f',
       min(CASE WHEN i.indisprimary THEN array_position((i.indkey::int2[])[0:i.indnkeyatts - 1], a.attnum) END)
FROM pg_publication_tables p
JOIN pg_class c ON c.oid = format('%I.%I', p.schemaname, p.tablename)::regclass
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attname = ANY (p.attnames)
LEFT JOIN pg_index i ON i.indrelid = c.oid
WHERE p.pubname = $1 AND p.schemaname || '.' || p.tablename = $2
GROUP BY a.attname, a.atttypid, a.attnum, c.relreplident
ORDER BY a.attnum";

#[derive(Debug, thiserror::Error)]
pub(crate) enum TableError {
    #[error("PostgreSQL can't be asked for the rows of {table}")]
    Sql { table: String, source: sqlx::Error },
    #[error("table {table} is not in publication {publication}, or has no primary key")]
    Unknown { table: String, publication: String },
}

#[derive(Debug)]
struct Column {
    name: String,
    kind: Kind,
    is_identity: bool,
}

/// How values of a column compare with those of records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Timestamp,
    Timestamptz,
    Date,
    Float,
    Other,
}

/// The table of `pipeline.raw_topic`.
pub(super) struct Source {
    pub(super) connection: PgConnection,
    /// Schema and name.
    pub(super) table: String,
    columns: Vec<Column>,
    /// Columns of the key, in its order.
    key: Vec<String>,
}

impl Source {
    pub(super) async fn connect(settings: &Settings) -> Result<Self, BoxError> {
        let table = settings.relay.table_of(&settings.pipeline.raw_topic);
        let failed = |source| TableError::Sql { table: table.clone(), source };
        let mut connection = settings.postgres_options().connect().await.map_err(failed)?;
        let publication = &settings.relay.publication;
        let found = sqlx::query(COLUMNS).bind(publication).bind(&table).fetch_all(&mut connection).await;
        let mut key: Vec<(i32, String)> = Vec::new();
        let mut columns = Vec::new();
        for row in found.map_err(failed)? {
            let (name, kind): (String, String) = (row.try_get(0)?, row.try_get(1)?);
            if let Some(place) = row.try_get::<Option<i32>, _>(3)? {
                key.push((place, name.clone()));
            }
            columns.push(Column { name, kind: Kind::of(&kind), is_identity: row.try_get(2)? });
        }
        if key.is_empty() {
            return Err(TableError::Unknown { table, publication: publication.clone() }.into());
        }
        key.sort_unstable();
        let key = key.into_iter().map(|(_, name)| name).collect();
        Ok(Self { connection, table, columns, key })
    }

    /// The keys whose rows are not as the topic's last records have them, of those that `of_gap` takes.
    pub(super) async fn differing(
        &mut self,
        topic: &Records,
        of_gap: impl Fn(&str) -> bool,
    ) -> Result<BTreeSet<String>, TableError> {
        let key = self.key.iter().map(|name| format!("format('%s', {})", quote(name)));
        let columns = self.columns.iter().map(|column| column.kind.comparable(&quote(&column.name)));
        let all: Vec<String> = key.chain(columns).collect();
        let (schema, name) = self.table.split_once('.').unwrap_or(("public", &self.table));
        let sql = format!("SELECT {} FROM {}.{}", all.join(", "), quote(schema), quote(name));
        let mut gone: BTreeSet<String> =
            topic.living().filter(|key| of_gap(key)).map(str::to_owned).collect();
        let mut differing = BTreeSet::new();
        let mut rows = sqlx::raw_sql(AssertSqlSafe(sql)).fetch(&mut self.connection);
        let failed = |source| TableError::Sql { table: self.table.clone(), source };
        while let Some(row) = rows.try_next().await.map_err(failed)? {
            let values = texts(&row).map_err(failed)?;
            let (key, values) = values.split_at(self.key.len().min(values.len()));
            let key =
                key.iter().map(|value| value.as_deref().unwrap_or_default()).collect::<Vec<_>>().join("|");
            if !of_gap(&key) {
                continue;
            }
            gone.remove(&key);
            let last = topic.state(&key).and_then(|state| state.fields.as_ref());
            let same = |fields: &Fields| {
                self.columns.iter().zip(values).all(|(column, value)| {
                    column.kind.same(fields.get(&column.name).unwrap_or(&Value::Null), value.as_deref())
                })
            };
            if !last.is_some_and(same) {
                differing.insert(key);
            }
        }
        differing.extend(gone);
        Ok(differing)
    }

    /// The replica identity of a record, as PostgreSQL's text; without what has no text here.
    pub(super) fn identity(&self, fields: &Fields) -> Texts {
        let of_identity = self.columns.iter().filter(|column| column.is_identity);
        let values = of_identity.filter_map(|column| {
            let text = column.kind.text(fields.get(&column.name)?)?;
            Some((column.name.clone(), text))
        });
        values.collect()
    }
}

fn texts(row: &PgRow) -> Result<Vec<Option<String>>, sqlx::Error> {
    (0..row.len()).map(|index| row.try_get(index)).collect()
}

fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

impl Kind {
    fn of(name: &str) -> Self {
        match name {
            "timestamp without time zone" => Self::Timestamp,
            "timestamp with time zone" => Self::Timestamptz,
            "date" => Self::Date,
            "real" | "double precision" => Self::Float,
            _ => Self::Other,
        }
    }

    /// The SQL for a text that compares with a record's number or text.
    fn comparable(self, column: &str) -> String {
        match self {
            Self::Timestamp | Self::Timestamptz => {
                format!("(extract(epoch FROM {column}) * 1000000)::bigint::text")
            }
            Self::Date => format!("({column} - DATE '1970-01-01')::text"),
            Self::Float | Self::Other => {
                format!("CASE WHEN {column} IS NOT NULL THEN format('%s', {column}) END")
            }
        }
    }

    /// Whether a record's value is that of PostgreSQL. What can't be compared is not: to publish it again is safe.
    fn same(self, record: &Value, row: Option<&str>) -> bool {
        match (record, row) {
            (Value::Null, row) => row.is_none(),
            (_, None) => false,
            (Value::Bool(value), Some(row)) => row == if *value { "t" } else { "f" },
            // Both come of the same bits.
            #[expect(clippy::float_cmp)]
            (Value::Number(value), Some(row)) if self == Self::Float => {
                value.as_f64().is_some_and(|value| row.parse::<f64>().is_ok_and(|row| row == value))
            }
            (Value::Number(value), Some(row)) => value.to_string() == row,
            (Value::String(value), Some(row)) => value == row,
            (Value::Array(_) | Value::Object(_), Some(_)) => false,
        }
    }

    /// A record's value as PostgreSQL's text.
    fn text(self, value: &Value) -> Option<String> {
        match (self, value) {
            (Self::Timestamp, value) => {
                let time = DateTime::from_timestamp_micros(value.as_i64()?)?;
                Some(time.format("%Y-%m-%d %H:%M:%S%.6f").to_string())
            }
            (Self::Timestamptz, value) => {
                let time = DateTime::from_timestamp_micros(value.as_i64()?)?;
                Some(time.format("%Y-%m-%d %H:%M:%S%.6f+00").to_string())
            }
            (Self::Date, value) => {
                let day = DateTime::from_timestamp(value.as_i64()?.checked_mul(86_400)?, 0)?;
                Some(day.format("%Y-%m-%d").to_string())
            }
            (_, Value::String(text)) => Some(text.clone()),
            (_, Value::Number(number)) => Some(number.to_string()),
            (_, Value::Bool(value)) => Some(if *value { "t" } else { "f" }.to_owned()),
            (_, Value::Null | Value::Array(_) | Value::Object(_)) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_compare_by_what_they_mean() {
        assert!(Kind::Timestamptz.same(&json!(1_700_000_000_000_001_i64), Some("1700000000000001")));
        assert!(Kind::Float.same(&json!(1.5), Some("1.5")) && !Kind::Float.same(&json!(1.5), Some("1.25")));
        assert!(Kind::Other.same(&json!("a"), Some("a")) && !Kind::Other.same(&json!("a"), None));
        assert!(Kind::Other.same(&Value::Null, None) && !Kind::Other.same(&Value::Null, Some("")));
        assert!(Kind::Other.same(&json!(true), Some("t")) && !Kind::Other.same(&json!([1]), Some("x")));
    }

    #[test]
    fn identities_are_text_that_postgresql_reads() {
        let text = |kind: Kind, value: Value| kind.text(&value).unwrap();
        assert_eq!(text(Kind::Timestamptz, json!(1_500_000)), "1970-01-01 00:00:01.500000+00");
        assert_eq!(text(Kind::Timestamp, json!(-1)), "1969-12-31 23:59:59.999999");
        assert_eq!(text(Kind::Date, json!(-1)), "1969-12-31");
        assert_eq!(text(Kind::Other, json!(7)), "7");
        assert_eq!(Kind::Other.text(&Value::Null), None);
    }
}
