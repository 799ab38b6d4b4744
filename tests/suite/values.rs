//! Every column of every row, in PostgreSQL, as the transform makes it, and in Cassandra, in one form that compares.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use apache_avro::types::Value as Avro;
use domain::pii::PiiPolicy;
use domain::{RawUser, transform};
use futures::TryStreamExt as _;
use pipeline_tests::{TestEnv, wait};
use scylla::client::session::Session;
use scylla::statement::Statement;
use scylla::value::{CqlValue, Row};
use serde_json::{Map, Value, json};

/// Columns by name, without those that are null.
pub(crate) type Columns = BTreeMap<String, Value>;

pub(crate) const TABLES: [&str; 3] = ["users_by_id", "users_by_country", "users_by_run"];
/// Microseconds everywhere but in Cassandra, which has milliseconds.
const TIMES: [&str; 3] = ["fetched_at", "date_of_birth", "registered_at"];
/// What Cassandra has of the change itself; see [`crate::stages`].
pub(crate) const OF_THE_CHANGE: [&str; 2] = ["source_lsn", "committed_at"];
/// Longer texts are compared by their hash: some tests have many large ones.
const SHOWN: usize = 64;
const PAGE: i32 = 500;

/// Rows of PostgreSQL by their id, and what the transform makes of them.
pub(crate) async fn expected(env: &TestEnv) -> (BTreeMap<String, Columns>, BTreeMap<String, Columns>) {
    let times: Vec<String> = TIMES
        .iter()
        .map(|time| format!("'{time}', (extract(epoch FROM {time}) * 1000000)::bigint"))
        .collect();
    let sql = format!(
        "SELECT (to_jsonb(users) || jsonb_build_object({}, '__op', 'u', '__lsn', 0, '__commit_ts', 0))::text FROM users",
        times.join(", ")
    );
    let mut rows = sqlx::query_scalar::<_, String>(sqlx::AssertSqlSafe(sql)).fetch(&env.db);
    let (mut raw, mut processed) = (BTreeMap::new(), BTreeMap::new());
    while let Some(row) = rows.try_next().await.unwrap() {
        let user: RawUser<'_> = serde_json::from_str(&row).unwrap();
        let made = serde_json::to_value(transform(&user, &PiiPolicy::keep_all()).unwrap()).unwrap();
        processed.insert(user.id.to_owned(), of_json(made));
        raw.insert(user.id.to_owned(), of_json(serde_json::from_str(&row).unwrap()));
    }
    (raw, processed)
}

/// Of a JSON object, without the metadata of the change.
fn of_json(value: Value) -> Columns {
    let Value::Object(fields) = value else { panic!("{value}") };
    columns(fields)
}

/// Of a record.
pub(crate) fn of_record(fields: BTreeMap<String, Avro>) -> Columns {
    let plain = |value| match value {
        Avro::Uuid(uuid) => json!(uuid.to_string()),
        Avro::TimestampMicros(micros) => json!(micros),
        Avro::Record(_) => json!({}),
        other => Value::try_from(other).unwrap(),
    };
    columns(fields.into_iter().map(|(name, value)| (name, plain(value))).collect())
}

fn columns(fields: Map<String, Value>) -> Columns {
    let kept = fields.into_iter().filter(|(name, value)| !name.starts_with("__") && !value.is_null());
    kept.map(|(name, value)| (name, comparable(value))).collect()
}

/// Numbers of one type, and no long texts.
fn comparable(value: Value) -> Value {
    match value {
        Value::Number(number) => json!(number.as_f64().unwrap()),
        Value::String(text) if text.len() > SHOWN => {
            let mut hasher = DefaultHasher::new();
            text.hash(&mut hasher);
            json!(format!("{} bytes, hash {:x}", text.len(), hasher.finish()))
        }
        other => other,
    }
}

/// What a table of Cassandra must have of a processed row.
pub(crate) fn of_table(processed: &Columns, names: &BTreeSet<String>) -> Columns {
    let of_table = processed.iter().filter(|(name, _)| names.contains(*name));
    of_table
        .map(|(name, value)| {
            let is_time = TIMES.contains(&&**name);
            let millis = || json!((value.as_f64().unwrap() / 1000.0).floor());
            (name.clone(), if is_time { millis() } else { value.clone() })
        })
        .collect()
}

/// The names of a table's columns, and its rows. Asked again while the node refuses, which one that catches up may do.
pub(crate) async fn found(
    session: &Session,
    table: &str,
    patience: Duration,
) -> (BTreeSet<String>, Vec<Columns>) {
    let query = Statement::new(format!("SELECT * FROM {table}")).with_page_size(PAGE);
    let read = async || {
        let pager = session.query_iter(query.clone(), ()).await.ok()?;
        let names: Vec<String> = pager.column_specs().iter().map(|spec| spec.name().to_owned()).collect();
        let mut stream = pager.rows_stream::<Row>().unwrap();
        let mut rows = Vec::new();
        while let Some(row) = stream.try_next().await.ok()? {
            let values = names.iter().cloned().zip(row.columns);
            rows.push(values.filter_map(|(name, value)| Some((name, of_cql(value?)))).collect());
        }
        Some((names.into_iter().collect(), rows))
    };
    wait::until(&format!("the rows of {table}"), patience, read).await
}

fn of_cql(value: CqlValue) -> Value {
    comparable(match value {
        CqlValue::Text(text) | CqlValue::Ascii(text) => json!(text),
        CqlValue::Int(number) => json!(number),
        CqlValue::BigInt(number) => json!(number),
        CqlValue::Double(number) => json!(number),
        CqlValue::Uuid(uuid) => json!(uuid.to_string()),
        CqlValue::Timestamp(time) => json!(time.0),
        other => panic!("{other:?}"),
    })
}

/// The first rows that only one side has; `None` if both have the same.
pub(crate) fn difference(found: Vec<Columns>, wanted: Vec<Columns>) -> Option<String> {
    const FIRST: usize = 2;
    let text = |rows: Vec<Columns>| rows.iter().map(|row| json!(row).to_string()).collect::<Vec<_>>();
    let (mut found, mut wanted) = (text(found), text(wanted));
    found.sort_unstable();
    wanted.sort_unstable();
    if found == wanted {
        return None;
    }
    let only = |these: &[String], those: &[String]| {
        let only: Vec<&String> = these.iter().filter(|row| those.binary_search(row).is_err()).collect();
        let first: Vec<&str> = only.iter().take(FIRST).map(|row| row.as_str()).collect();
        format!("{}: {}", only.len(), first.join(" and "))
    };
    Some(format!("only there {}; missing {}", only(&found, &wanted), only(&wanted, &found)))
}
