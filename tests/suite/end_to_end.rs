//! From the API through Airflow's REST API to Cassandra, every field compared with its source.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Datelike, Utc};
use futures::TryStreamExt as _;
use pipeline_tests::airflow::AirflowClient;
use pipeline_tests::env::TOKEN;
use pipeline_tests::{Flow, TestEnv, servers};
use reqwest::Method;
use serde_json::json;
use sqlx::Row as _;
use uuid::Uuid;

const DAG: &str = "users_pipeline";
const COUNT: usize = 10_000;

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_profiles_go_from_the_api_to_cassandra_by_a_dag_run() {
    let flow = Flow::start("end_to_end").await;
    let env = &flow.env;

    let airflow = AirflowClient::login().await;
    let errors = airflow.call(Method::GET, "/importErrors", None).await;
    assert_eq!(errors["total_entries"], 0, "{errors}");
    connect(&airflow, env, &flow.fetcher.url("")).await;
    airflow.call(Method::PATCH, &format!("/dags/{DAG}"), Some(json!({"is_paused": false}))).await;
    let run = airflow.trigger(DAG, json!({"count": COUNT})).await;
    assert_eq!(airflow.ended(DAG, &run, Duration::from_secs(300)).await, "success");

    let verify = env.pipeline(&["verify", "--run", &run, "--json"]);
    assert!(verify.status.success(), "{}", String::from_utf8_lossy(&verify.stdout));
    compare(env, &run).await;
}

/// What `pipeline up` puts into Airflow's environment.
async fn connect(airflow: &AirflowClient, env: &TestEnv, fetcher: &str) {
    let fetcher: url::Url = fetcher.parse().unwrap();
    let cassandra = servers().cassandra();
    let (host, port) = cassandra.split_once(':').unwrap();
    let connections = [
        json!({"connection_id": "fetcher", "conn_type": "http", "host": "http://127.0.0.1",
               "port": fetcher.port(), "password": TOKEN}),
        json!({"connection_id": "cassandra", "conn_type": "cassandra", "host": host,
               "port": port.parse::<u16>().unwrap(), "schema": env.get("cassandra", "keyspace")}),
    ];
    for connection in connections {
        airflow.call(Method::POST, "/connections", Some(connection)).await;
    }
}

/// One profile as both ends must have it: column by column, as text.
type Fields = BTreeMap<&'static str, String>;

/// Columns that the transform only frees of needless white space.
const TEXTS: [(&str, &str); 17] = [
    ("run_id", "run_id"),
    ("nat", "country"),
    ("country", "country_name"),
    ("gender", "gender"),
    ("title", "title"),
    ("first_name", "first_name"),
    ("last_name", "last_name"),
    ("city", "city"),
    ("state", "state"),
    ("timezone_offset", "timezone_offset"),
    ("timezone_description", "timezone_description"),
    ("email", "email"),
    ("username", "username"),
    ("document_name", "document_name"),
    ("document_value", "document_value"),
    ("picture_large", "picture_large"),
    ("picture_thumbnail", "picture_thumbnail"),
];

async fn compare(env: &TestEnv, run: &str) {
    let expected = from_postgres(env, run).await;
    let found = from_cassandra(env).await;
    assert_eq!(expected.len(), COUNT);
    assert_eq!(found.len(), COUNT);
    for (id, fields) in &expected {
        let stored = found.get(id).unwrap_or_else(|| panic!("{id} is not in users_by_id"));
        assert_eq!(stored, fields, "{id}");
    }
}

async fn from_postgres(env: &TestEnv, run: &str) -> BTreeMap<Uuid, Fields> {
    let rows =
        sqlx::query("SELECT * FROM users WHERE run_id = $1").bind(run).fetch_all(&env.db).await.unwrap();
    rows.iter()
        .map(|row| {
            let text = |column: &str| row.get::<Option<String>, _>(column).map(|text| folded(&text));
            let mut fields = Fields::new();
            for (source, target) in TEXTS {
                fields.extend(text(source).filter(|text| !text.is_empty()).map(|text| (target, text)));
            }
            let (born, fetched) = (row.get("date_of_birth"), row.get("fetched_at"));
            let name = format!("{} {}", text("first_name").unwrap(), text("last_name").unwrap());
            fields.insert("full_name", name);
            fields.insert("age", age(born, fetched).to_string());
            fields.insert("email_domain", text("email").unwrap().rsplit_once('@').unwrap().1.to_lowercase());
            fields.insert("postcode", text("postcode").unwrap().to_uppercase());
            for column in ["date_of_birth", "fetched_at", "registered_at"] {
                fields.insert(column, milliseconds(row.get(column)));
            }
            for column in ["latitude", "longitude"] {
                fields.insert(column, row.get::<f64, _>(column).to_string());
            }
            (row.get("id"), fields)
        })
        .collect()
}

async fn from_cassandra(env: &TestEnv) -> BTreeMap<Uuid, Fields> {
    let session = env.cassandra().await;
    let mut all = BTreeMap::new();
    let texts: Vec<&str> = TEXTS.iter().map(|(_, target)| *target).collect();
    let more = ["full_name", "email_domain", "postcode"];
    let query = format!("SELECT id, {}, {} FROM users_by_id", texts.join(", "), more.join(", "));
    let rows = session.query_iter(query, ()).await.unwrap();
    let mut rows = rows.rows_stream::<scylla::value::Row>().unwrap();
    while let Some(row) = rows.try_next().await.unwrap() {
        let mut columns = row.columns.into_iter();
        let id = columns.next().flatten().and_then(|id| id.as_uuid()).unwrap();
        let names = texts.iter().copied().chain(more);
        let fields = names.zip(columns).filter_map(|(name, value)| Some((name, value?.into_string()?)));
        all.insert(id, fields.collect::<Fields>());
    }
    type Numbers = (Uuid, i32, f64, f64, DateTime<Utc>, DateTime<Utc>, DateTime<Utc>);
    let query =
        "SELECT id, age, latitude, longitude, date_of_birth, fetched_at, registered_at FROM users_by_id";
    let mut rows = session.query_iter(query, ()).await.unwrap().rows_stream::<Numbers>().unwrap();
    while let Some((id, age, latitude, longitude, born, fetched, registered)) = rows.try_next().await.unwrap()
    {
        let fields = all.get_mut(&id).unwrap();
        fields.insert("age", age.to_string());
        fields.insert("latitude", latitude.to_string());
        fields.insert("longitude", longitude.to_string());
        fields.insert("date_of_birth", milliseconds(born));
        fields.insert("fetched_at", milliseconds(fetched));
        fields.insert("registered_at", milliseconds(registered));
    }
    all
}

/// Cassandra's timestamps have no microseconds.
fn milliseconds(time: DateTime<Utc>) -> String {
    time.timestamp_millis().to_string()
}

fn folded(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Whole years, counted on the calendar.
fn age(born: DateTime<Utc>, at: DateTime<Utc>) -> i32 {
    let had_birthday = (at.month(), at.day(), at.time()) >= (born.month(), born.day(), born.time());
    at.year() - born.year() - i32::from(!had_birthday)
}
