//! The sink between its topic and Cassandra: the right state whatever is repeated, late, killed or refused.

mod rows;

use std::collections::BTreeMap;
use std::time::Duration;

use apache_avro::Schema;
use apache_avro::types::Value;
use apache_avro::writer::datum::GenericDatumWriter;
use events::{schemas, wire};
use pipeline_tests::wait::SOON;
use pipeline_tests::{TestEnv, wait};
use scylla::client::session::Session;
use uuid::Uuid;

const REGISTERED_AT: i64 = 1_700_000_000_000_000;

/// Writes processed users as the stream processor does.
pub(crate) struct Users {
    schema: Schema,
    header: [u8; wire::HEADER_LEN],
}

/// One change of a user.
#[derive(Clone, Copy)]
pub(crate) struct Change<'a> {
    pub(crate) op: &'a str,
    pub(crate) lsn: i64,
    pub(crate) country: &'a str,
    pub(crate) name: Option<&'a str>,
    /// The country before an update that changed it.
    pub(crate) before: Option<&'a str>,
}

impl Users {
    pub(crate) async fn new(env: &TestEnv) -> Self {
        let subject = schemas::value_subject(env.processed_topic());
        let id = env.registry().register(&subject, schemas::USERS_PROCESSED).await.unwrap();
        Self { schema: Schema::parse_str(schemas::USERS_PROCESSED).unwrap(), header: wire::header(id) }
    }

    pub(crate) fn value(&self, id: Uuid, change: Change<'_>) -> Vec<u8> {
        let text = |text: &str| Value::String(text.to_owned());
        let place = |country: &str| {
            vec![
                ("run_id", text("run")),
                ("country", text(country)),
                ("registered_at", Value::TimestampMicros(REGISTERED_AT)),
                ("registered_month", text("2023-11")),
                ("bucket", Value::Int(i32::from(id.as_bytes()[15] & 15))),
            ]
        };
        let owned = |fields: Vec<(&str, Value)>| {
            Value::Record(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
        };
        let mut set: BTreeMap<&str, Value> = place(change.country).into_iter().collect();
        set.insert("id", Value::Uuid(id));
        set.insert("__op", text(change.op));
        set.insert("__lsn", Value::Long(change.lsn));
        set.insert("__commit_ts", Value::TimestampMicros(REGISTERED_AT));
        let optional = |value: Value| Value::Union(1, Box::new(value));
        if let Some(name) = change.name {
            set.insert("full_name", optional(text(name)));
        }
        if let Some(country) = change.before {
            set.insert("__before", optional(owned(place(country))));
        }
        let Schema::Record(record) = &self.schema else { panic!("no record") };
        let fields = record.fields.iter().map(|field| {
            let value = set.remove(field.name.as_str()).unwrap_or(Value::Union(0, Box::new(Value::Null)));
            (field.name.clone(), value)
        });
        let record = Value::Record(fields.collect());
        let writer = GenericDatumWriter::builder(&self.schema).build().unwrap();
        [&self.header[..], &writer.write_value_to_vec(record).unwrap()].concat()
    }

    pub(crate) fn produce(&self, env: &TestEnv, changes: &[(Uuid, Change<'_>)]) {
        let records: Vec<_> =
            changes.iter().map(|(id, change)| (id.to_string(), self.value(*id, *change))).collect();
        let borrowed: Vec<_> = records.iter().map(|(key, value)| (Some(&**key), Some(&**value))).collect();
        env.produce(env.processed_topic(), &borrowed);
    }
}

pub(crate) const CREATED: Change<'static> =
    Change { op: "c", lsn: 100, country: "DK", name: Some("Åse Dahl"), before: None };

pub(crate) async fn count(session: &Session, table: &str) -> i64 {
    // A read of the whole table may fail on a busy server.
    let rows = wait::until(&format!("a count of {table}"), SOON, async || {
        session.query_unpaged(format!("SELECT count(*) FROM {table}"), ()).await.ok()
    })
    .await;
    rows.into_rows_result().unwrap().single_row::<(i64,)>().unwrap().0
}

pub(crate) async fn counts(session: &Session) -> [i64; 3] {
    [
        count(session, "users_by_id").await,
        count(session, "users_by_country").await,
        count(session, "users_by_run").await,
    ]
}

/// Country and name of each user, by `users_by_country`.
pub(crate) async fn countries(session: &Session) -> BTreeMap<Uuid, (String, Option<String>)> {
    let rows =
        session.query_unpaged("SELECT id, country, full_name FROM users_by_country", ()).await.unwrap();
    let rows = rows.into_rows_result().unwrap();
    rows.rows::<(Uuid, String, Option<String>)>()
        .unwrap()
        .map(|row| row.unwrap())
        .map(|(id, c, n)| (id, (c, n)))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_in_the_middle_it_ends_in_the_same_rows() {
    const COUNT: usize = 20_000;
    let env = TestEnv::new("sink_killed").await;
    let users = Users::new(&env).await;
    let changes: Vec<_> = (0..COUNT).map(|_| (Uuid::new_v4(), CREATED)).collect();
    users.produce(&env, &changes);
    let sink = env.start("cassandra-sink").await;
    let session = env.cassandra().await;
    for part in 0..3 {
        wait::until("progress", SOON, async || {
            (count(&session, "users_by_run").await > part * 3_000).then_some(())
        })
        .await;
        sink.kill().await;
        sink.restart().await;
    }
    let expected = [i64::try_from(COUNT).unwrap(); 3];
    wait::until_equal("all rows", SOON, expected, async || counts(&session).await).await;
    assert!(sink.stop().await < Duration::from_secs(10));
}

#[tokio::test(flavor = "multi_thread")]
async fn late_and_repeated_changes_leave_the_newest_state() {
    let env = TestEnv::new("sink_late").await;
    let users = Users::new(&env).await;
    let [stays, moves, goes] = [Uuid::new_v4(), Uuid::new_v4(), Uuid::new_v4()];
    let moved = Change { op: "u", lsn: 200, country: "NO", before: Some("DK"), ..CREATED };
    let renamed = Change { op: "u", lsn: 300, name: None, ..CREATED };
    let deleted = Change { op: "d", lsn: 200, name: None, ..CREATED };
    let newest = [(stays, renamed), (moves, moved), (goes, deleted)];
    let oldest = [(stays, CREATED), (moves, CREATED), (goes, CREATED)];
    // In order, then everything again, the oldest last.
    for changes in [oldest, newest, oldest] {
        users.produce(&env, &changes);
    }
    let sink = env.start("cassandra-sink").await;
    let session = env.cassandra().await;
    wait::until("no lag", SOON, async || {
        (sink.metric("pipeline_sink_records_total", "").await? >= 9.0).then_some(())
    })
    .await;
    let expected = BTreeMap::from([
        (stays, ("DK".to_owned(), None)),
        (moves, ("NO".to_owned(), Some("Åse Dahl".to_owned()))),
    ]);
    assert_eq!(countries(&session).await, expected);
    assert_eq!(counts(&session).await, [2; 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn poison_is_kept_as_dead_letters_and_blocks_nothing() {
    let env = TestEnv::new("sink_poison").await;
    let users = Users::new(&env).await;
    let topic = env.processed_topic();
    let unknown_schema = [&wire::header(999_999_999)[..], b"x"].concat();
    let good = users.value(Uuid::new_v4(), CREATED);
    let truncated = &good[..good.len() / 2];
    let poison: [(Option<&str>, Option<&[u8]>); 4] = [
        (Some("text"), Some(b"not avro")),
        (Some("unknown"), Some(&unknown_schema)),
        (Some("short"), Some(truncated)),
        (Some("empty"), Some(b"")),
    ];
    env.produce(topic, &poison);
    let ids: Vec<_> = (0..100).map(|_| (Uuid::new_v4(), CREATED)).collect();
    users.produce(&env, &ids);
    env.produce(topic, &[(Some("tombstone"), None)]);
    let sink = env.start("cassandra-sink").await;
    let session = env.cassandra().await;
    wait::until_equal("all rows", SOON, [100; 3], async || counts(&session).await).await;

    let dead_topic = format!("{topic}.dlq");
    wait::until_equal("dead letters", SOON, 4, async || env.records(&dead_topic).await.len()).await;
    for letter in env.records(&dead_topic).await {
        let (key, value) = poison.iter().find(|(key, _)| *key == letter.key.as_deref()).unwrap();
        assert_eq!(letter.value.as_deref(), *value, "{key:?}");
        assert_eq!(letter.headers["dlq.source.topic"], topic);
        assert_eq!(letter.headers["dlq.service"], "cassandra-sink");
        for header in
            ["dlq.source.partition", "dlq.source.offset", "dlq.error.kind", "dlq.error.message", "dlq.time"]
        {
            assert!(!letter.headers[header].is_empty(), "{header}: {letter:?}");
        }
    }
    drop(sink);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_cassandra_refuses_is_a_dead_letter() {
    let env = TestEnv::new("sink_refused").await;
    let users = Users::new(&env).await;
    // Longer than a part of a primary key may be (64 KiB).
    let country = "x".repeat(70_000);
    let refused = Change { country: &country, ..CREATED };
    users.produce(&env, &[(Uuid::new_v4(), refused), (Uuid::new_v4(), CREATED)]);
    let sink = env.start("cassandra-sink").await;
    let dead_topic = format!("{}.dlq", env.processed_topic());
    wait::until_equal("dead letters", SOON, 1, async || env.records(&dead_topic).await.len()).await;
    let session = env.cassandra().await;
    wait::until_equal("the good row", SOON, 1, async || count(&session, "users_by_country").await).await;
    drop(sink);
}
