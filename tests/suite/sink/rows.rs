//! What the sink makes of snapshots, and of records that have no place in a table.

use std::collections::BTreeMap;

use apache_avro::Schema;
use apache_avro::types::Value;
use apache_avro::writer::datum::GenericDatumWriter;
use events::{schemas, wire};
use pipeline_tests::wait::SOON;
use pipeline_tests::{Service, TestEnv, servers, wait};
use uuid::Uuid;

use crate::processor::Gate;
use crate::sink::{CREATED, Change, Users, count, countries, counts};

const READ: Change<'static> = Change { op: "r", lsn: 10, ..CREATED };

async fn until_written(sink: &Service, records: f64) {
    wait::until_equal("records written", SOON, Some(records), async || {
        sink.metric("pipeline_sink_records_total", "written").await
    })
    .await;
}

/// How many of two cells of a user have no value.
async fn empty_cells(env: &TestEnv, id: Uuid) -> i64 {
    let session = env.cassandra().await;
    let rows = session
        .query_unpaged("SELECT full_name, city FROM users_by_id WHERE id = ?", (id,))
        .await
        .unwrap()
        .into_rows_result()
        .unwrap();
    let (name, city) = rows.single_row::<(Option<String>, Option<String>)>().unwrap();
    i64::from(name.is_none()) + i64::from(city.is_none())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_became_null_while_the_slot_was_lost_is_null_after_the_next_snapshot() {
    let env = TestEnv::new("sink_resnapshot").await;
    let users = Users::new(&env).await;
    let ids: Vec<Uuid> = (0..50).map(|_| Uuid::new_v4()).collect();
    let all = |change| ids.iter().map(|id| (*id, change)).collect::<Vec<_>>();
    users.produce(&env, &all(READ));
    let sink = env.start("cassandra-sink").await;
    until_written(&sink, 50.0).await;
    let session = env.cassandra().await;
    assert_eq!(counts(&session).await, [50; 3]);
    assert_eq!(empty_cells(&env, ids[0]).await, 1, "only the city has no value");
    // The snapshot that the group begins with is known again after a restart, and by whoever is next.
    sink.stop().await;
    sink.restart().await;
    users.produce(&env, &all(Change { lsn: 500, name: None, ..READ }));
    until_written(&sink, 50.0).await;
    let expected: BTreeMap<_, _> = ids.iter().map(|id| (*id, ("DK".to_owned(), None))).collect();
    assert_eq!(countries(&session).await, expected);
    drop(sink);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_snapshot_writes_no_nulls() {
    let env = TestEnv::new("sink_first_snapshot").await;
    let users = Users::new(&env).await;
    let session = env.cassandra().await;
    let ids: Vec<Uuid> = (0..50).map(|_| Uuid::new_v4()).collect();
    // What a null would remove: older than the snapshot, and in no record.
    for id in &ids {
        let insert = "INSERT INTO users_by_id (id, city) VALUES (?, 'Ribe') USING TIMESTAMP 1";
        session.query_unpaged(insert, (id,)).await.unwrap();
    }
    users.produce(&env, &ids.iter().map(|id| (*id, READ)).collect::<Vec<_>>());
    let sink = env.start("cassandra-sink").await;
    until_written(&sink, 50.0).await;
    for id in &ids {
        assert_eq!(empty_cells(&env, *id).await, 0, "a null was written");
    }
    drop(sink);
}

#[tokio::test(flavor = "multi_thread")]
async fn too_large_and_without_a_key_column_they_are_dead_letters() {
    let mut env = TestEnv::new("sink_limits").await;
    env.set("cassandra_sink.max_record_bytes", 10_000);
    let users = Users::new(&env).await;
    let name = "x".repeat(20_000);
    let (large, sound) = (Uuid::new_v4(), Uuid::new_v4());
    users.produce(&env, &[(large, Change { name: Some(&name), ..CREATED })]);

    // The same schema, but its records may have no country.
    let mut schema: serde_json::Value = serde_json::from_str(schemas::USERS_PROCESSED).unwrap();
    let fields = schema["fields"].as_array_mut().unwrap();
    let country = fields.iter_mut().find(|field| field["name"] == "country").unwrap();
    country["type"] = serde_json::json!(["null", "string"]);
    let text = schema.to_string();
    let other = format!("{}-other", env.name());
    let header = wire::header(env.registry().register(&other, &text).await.unwrap());
    let schema = Schema::parse_str(&text).unwrap();
    let nameless = Uuid::new_v4();
    let sound_value = users.value(nameless, CREATED);
    let (_, mut datum) = wire::split(&sound_value).unwrap();
    let original = Schema::parse_str(schemas::USERS_PROCESSED).unwrap();
    let reader = apache_avro::reader::datum::GenericDatumReader::builder(&original).build().unwrap();
    let Value::Record(mut fields) = reader.read_value(&mut datum).unwrap() else { panic!("no record") };
    fields.iter_mut().find(|(name, _)| name == "country").unwrap().1 = Value::Union(0, Box::new(Value::Null));
    let writer = GenericDatumWriter::builder(&schema).build().unwrap();
    let value = [&header[..], &writer.write_value_to_vec(Value::Record(fields)).unwrap()].concat();
    env.produce(env.processed_topic(), &[(Some(&nameless.to_string()), Some(&value))]);
    users.produce(&env, &[(sound, CREATED)]);

    let sink = env.start("cassandra-sink").await;
    let dead_topic = format!("{}.dlq", env.processed_topic());
    wait::until_equal("dead letters", SOON, 2, async || env.records(&dead_topic).await.len()).await;
    let letters = env.records(&dead_topic).await;
    for (id, kind, words) in
        [(large, "too_large", "max_record_bytes is 10000"), (nameless, "null_key", "country")]
    {
        let letter = letters.iter().find(|letter| letter.key == Some(id.to_string())).unwrap();
        assert_eq!(letter.headers["dlq.error.kind"], kind);
        let message = &letter.headers["dlq.error.message"];
        assert!(message.contains(words), "{message}");
        assert!(letter.value.is_some());
        assert_eq!(sink.metric("pipeline_sink_dead_letters_total", kind).await, Some(1.0));
    }
    let session = env.cassandra().await;
    wait::until_equal("the sound row", SOON, [1; 3], async || counts(&session).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_one_partition_go_together_and_each_ends_for_itself_if_that_fails() {
    const SOUND: i32 = 300;
    const REFUSED: i32 = 40;
    let mut env = TestEnv::new("sink_together").await;
    let session = env.cassandra().await;
    let table = "CREATE TABLE by_name (country text, id uuid, full_name text, PRIMARY KEY (country, id))";
    session.query_unpaged(table, ()).await.unwrap();
    let tables = toml::toml! { tables = [{ name = "by_name" }] };
    env.set("cassandra_sink.tables", tables["tables"].clone());
    let users = Users::new(&env).await;
    // Cassandra takes no partition without a name.
    let nowhere = Change { country: "", ..CREATED };
    let mut changes: Vec<_> = (0..SOUND).map(|_| (Uuid::new_v4(), CREATED)).collect();
    changes.splice(100..100, (0..REFUSED).map(|_| (Uuid::new_v4(), nowhere)));
    users.produce(&env, &changes);

    let sink = env.start("cassandra-sink").await;
    until_written(&sink, f64::from(SOUND)).await;
    wait::until_equal("dead letters", SOON, Some(f64::from(REFUSED)), async || {
        sink.metric("pipeline_sink_dead_letters_total", "refused").await
    })
    .await;
    assert_eq!(count(&session, "by_name").await, i64::from(SOUND));
    let metric = async |name: &str, label: &str| sink.metric(name, label).await.unwrap();
    let batches = metric("pipeline_sink_batches_total", "by_name").await;
    assert!((1.0..f64::from(SOUND) / 2.0).contains(&batches), "{batches} batches");
    // Each alone, and alone once more after a look at the table; the others are those of the batches.
    let failures = metric("pipeline_sink_write_failures_total", "refused").await;
    assert!(failures > f64::from(2 * REFUSED), "{failures} tries failed");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_registry_it_waits_and_keeps_its_place() {
    let mut env = TestEnv::new("sink_registry").await;
    let users = Users::new(&env).await;
    let registry = Gate::new(servers().registry_url().trim_start_matches("http://")).await;
    env.set("registry.url", format!("http://{}", registry.address));
    let sink = env.start("cassandra-sink").await;
    sink.ready().await;
    registry.close();
    let ids: Vec<_> = (0..100).map(|_| (Uuid::new_v4(), CREATED)).collect();
    users.produce(&env, &ids);
    sink.waits_for("registry", "does not answer").await;
    let session = env.cassandra().await;
    assert_eq!(counts(&session).await, [0; 3]);
    registry.open();
    wait::until_equal("all rows", SOON, [100; 3], async || counts(&session).await).await;
    sink.ready().await;
    assert_eq!(env.records(&format!("{}.dlq", env.processed_topic())).await, []);
    assert_eq!(sink.log().matches("partitions revoked").count(), 0, "{}", sink.log());
}
