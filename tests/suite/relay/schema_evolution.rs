//! `ALTER TABLE` while the pipeline runs: what is compatible goes on, what is not stops the relay and loses nothing.

use std::collections::BTreeMap;

use apache_avro::types::Value;
use events::schemas;
use pipeline_tests::wait::SOON;
use pipeline_tests::{TestEnv, wait};

use crate::relay::{execute, ids, keys, until_count};

type Fields = BTreeMap<String, Value>;

/// One more user.
async fn insert(env: &TestEnv) {
    crate::relay::insert(&env.db, 1, 1).await;
}

/// The value of the only record that was not there before.
async fn newest(env: &TestEnv, count: usize) -> Fields {
    let records = until_count(env, count).await;
    let mut values: Vec<(i64, Fields)> = Vec::new();
    let mut decoder = env.decoder();
    for record in records {
        let fields = decoder.decode(&record.value.unwrap()).await;
        let Value::Long(lsn) = fields["__lsn"] else { panic!("{fields:?}") };
        values.push((lsn, fields));
    }
    values.into_iter().max_by_key(|(lsn, _)| *lsn).unwrap().1
}

/// [`insert`] for a table whose phone is a number.
async fn insert_with_phone(env: &TestEnv) {
    execute(
        &env.db,
        "CREATE TEMP TABLE one AS SELECT * FROM users LIMIT 1; UPDATE one SET id = gen_random_uuid(); \
         INSERT INTO users SELECT * FROM one",
    )
    .await;
}

fn text(text: &str) -> Value {
    Value::String(text.to_owned())
}

/// The registered versions of the raw topic's subject: each the types of its fields by name.
async fn versions(env: &TestEnv) -> Vec<BTreeMap<String, serde_json::Value>> {
    let base = env.get("registry", "url").trim_end_matches('/').to_owned();
    let subject = schemas::value_subject(env.raw_topic());
    let get = async |path: String| -> serde_json::Value {
        reqwest::get(format!("{base}/subjects/{subject}/versions{path}")).await.unwrap().json().await.unwrap()
    };
    let mut versions = Vec::new();
    for version in get(String::new()).await.as_array().unwrap() {
        let schema = get(format!("/{version}")).await["schema"].as_str().unwrap().to_owned();
        let schema: serde_json::Value = serde_json::from_str(&schema).unwrap();
        let field =
            |field: &serde_json::Value| (field["name"].as_str().unwrap().to_owned(), field["type"].clone());
        versions.push(schema["fields"].as_array().unwrap().iter().map(field).collect());
    }
    versions
}

/// What the processor made of the change at this position.
async fn processed(env: &TestEnv, of: &Fields) -> Fields {
    let topic = env.processed_topic();
    let mut decoder = env.decoder();
    for _ in 0..600 {
        for record in env.records(topic).await {
            let fields = decoder.decode(&record.value.unwrap()).await;
            if fields["__lsn"] == of["__lsn"] {
                return fields;
            }
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("nothing in {topic} at {:?}", of["__lsn"]);
}

/// The user names in Cassandra.
async fn usernames(env: &TestEnv) -> Vec<Option<String>> {
    let session = env.cassandra().await;
    let rows = session.query_unpaged("SELECT username FROM users_by_id", ()).await.unwrap();
    let rows = rows.into_rows_result().unwrap();
    let mut names: Vec<_> = rows.rows::<(Option<String>,)>().unwrap().map(|row| row.unwrap().0).collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_compatible_goes_on_under_a_new_version_side_by_side_with_the_old() {
    let env = TestEnv::new("evolve").await;
    let relay = env.start("relay").await;
    let processor = env.start("stream-processor").await;
    let sink = env.start("cassandra-sink").await;
    relay.ready().await;
    insert(&env).await;
    let first = newest(&env, 1).await;
    assert_eq!(first["street_number"], Value::Int(1));
    assert_eq!(processed(&env, &first).await["username"], text("aase"));
    // The first version may be the one that `pipeline migrate` knows.
    let before = versions(&env).await;
    assert!(before.last().unwrap().contains_key("username"), "{before:?}");

    execute(&env.db, "ALTER TABLE users ADD COLUMN nickname text").await;
    execute(&env.db, "UPDATE users SET nickname = 'å'").await;
    let nicknamed = newest(&env, 2).await;
    assert_eq!(nicknamed["nickname"], text("å"));
    execute(&env.db, "ALTER TABLE users ADD COLUMN level integer NOT NULL DEFAULT 7").await;
    execute(&env.db, "UPDATE users SET nickname = 'b'").await;
    assert_eq!(newest(&env, 3).await["level"], Value::Int(7));
    execute(&env.db, "ALTER TABLE users DROP COLUMN level, DROP COLUMN nickname").await;
    insert(&env).await;
    let dropped = newest(&env, 4).await;
    assert!(!dropped.contains_key("level") && !dropped.contains_key("nickname"), "{dropped:?}");
    execute(&env.db, "ALTER TABLE users RENAME COLUMN username TO login").await;
    insert(&env).await;
    let renamed = newest(&env, 5).await;
    assert_eq!(renamed["login"], text("aase"));
    assert!(!renamed.contains_key("username"));
    execute(&env.db, "ALTER TABLE users ALTER COLUMN street_number TYPE bigint").await;
    execute(&env.db, "UPDATE users SET street_number = 5000000000 WHERE login = 'aase'").await;
    let widened = newest(&env, 8).await;
    assert_eq!(widened["street_number"], Value::Long(5_000_000_000));

    // Records of every version are in the topic, and each is what it was.
    let mut decoder = env.decoder();
    let records = env.records(env.raw_topic()).await;
    let mut seen = Vec::new();
    for record in &records {
        seen.push(decoder.decode(record.value.as_ref().unwrap()).await);
    }
    for wanted in [&first, &nicknamed, &dropped, &renamed, &widened] {
        assert!(seen.contains(wanted), "{wanted:?} is not in the topic any more");
    }
    // Dropping the two columns made no new version if the registry finds the old schema again: it is the first one.
    let added: Vec<_> = versions(&env).await.split_off(before.len());
    let optional = |ty: &str| serde_json::json!(["null", ty]);
    let [nickname, level, login, bigint] = added.as_slice() else { panic!("{added:?}") };
    assert_eq!(nickname["nickname"], optional("string"));
    assert_eq!((&level["level"], &level["nickname"]), (&optional("int"), &optional("string")));
    assert!(!login.contains_key("username") && !login.contains_key("level"), "{login:?}");
    assert_eq!((&login["login"], &login["street_number"]), (&optional("string"), &optional("int")));
    assert_eq!(bigint["street_number"], optional("long"));

    // The processor reads what it knows by its name: of a renamed column nothing comes.
    let topic = env.processed_topic();
    wait::until_equal(topic, SOON, 8, async || env.records(topic).await.len()).await;
    assert_eq!(env.records(&format!("{}.dlq", env.raw_topic())).await, []);
    for (raw, name) in [(&nicknamed, text("aase")), (&dropped, text("aase")), (&renamed, Value::Null)] {
        let made = processed(&env, raw).await;
        assert_eq!(made["username"], name, "{made:?}");
        assert_eq!(made["email"], raw["email"]);
    }
    wait::until_equal("Cassandra", SOON, vec![None, None, None], async || usernames(&env).await).await;
    drop((processor, sink));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_incompatible_change_goes_on_without_loss_once_the_subject_allows_it() {
    let env = TestEnv::new("evolve_allowed").await;
    let relay = env.start("relay").await;
    relay.ready().await;
    insert(&env).await;
    until_count(&env, 1).await;
    execute(&env.db, "ALTER TABLE users ALTER COLUMN phone TYPE integer USING 1").await;
    execute(&env.db, "UPDATE users SET email = 'b@example.com'").await;
    assert_eq!(relay.exited().await, "exit status: 1");
    let log = relay.log();
    assert!(log.contains("phone") && log.contains("refuses the schema of public.users"), "{log}");
    let subject = schemas::value_subject(env.raw_topic());
    let way_out = format!(
        "Nothing is lost: rows written since the change wait in the slot. Set the compatibility of subject {subject} to \
         NONE, start the relay, and set it back when it is ready."
    );
    assert!(log.contains(&way_out), "{log}");
    assert_eq!(env.records(env.raw_topic()).await.len(), 1);
    env.registry().set_compatibility(&subject, "NONE").await.unwrap();
    relay.restart().await;
    relay.ready().await;
    insert_with_phone(&env).await;
    assert_eq!(newest(&env, 3).await["phone"], Value::Int(1));
    execute(&env.db, "ALTER TABLE users ALTER COLUMN phone TYPE text").await;
    insert(&env).await;
    assert_eq!(newest(&env, 4).await["phone"], text("1"));
    assert_eq!(keys(&env.records(env.raw_topic()).await), ids(&env.db).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_incompatible_change_that_is_undone_before_a_row_is_written_is_not_noticed() {
    let env = TestEnv::new("evolve_undone").await;
    let relay = env.start("relay").await;
    relay.ready().await;
    insert(&env).await;
    until_count(&env, 1).await;
    execute(&env.db, "ALTER TABLE users ALTER COLUMN phone TYPE integer USING 1").await;
    execute(&env.db, "ALTER TABLE users ALTER COLUMN phone TYPE text").await;
    insert(&env).await;
    assert_eq!(newest(&env, 2).await["phone"], text("1"));
}

/// A user whose note PostgreSQL keeps outside of the row, published; the relay is stopped.
async fn with_a_large_note(name: &str) -> (TestEnv, pipeline_tests::Service) {
    let env = TestEnv::new(name).await;
    execute(&env.db, "ALTER TABLE users ADD COLUMN note text, ADD COLUMN other text").await;
    execute(&env.db, "ALTER TABLE users ALTER note SET STORAGE EXTERNAL, ALTER other SET STORAGE EXTERNAL")
        .await;
    let relay = env.start("relay").await;
    relay.ready().await;
    insert(&env).await;
    execute(&env.db, "UPDATE users SET note = repeat('n', 9000), other = repeat('o', 9000)").await;
    until_count(&env, 2).await;
    relay.stop().await;
    execute(&env.db, "UPDATE users SET email = 'b@example.com'").await;
    (env, relay)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_value_whose_column_went_away_before_its_change_was_read_is_null() {
    for (name, alter, behind) in [
        ("evolve_dropped_note", "ALTER TABLE users DROP COLUMN note", None),
        ("evolve_renamed_note", "ALTER TABLE users RENAME COLUMN note TO remark", Some("remark")),
    ] {
        let (env, relay) = with_a_large_note(name).await;
        execute(&env.db, alter).await;
        relay.restart().await;
        relay.ready().await;
        let change = newest(&env, 3).await;
        assert_eq!(change["email"], text("b@example.com"));
        assert_eq!(change["note"], Value::Null);
        assert_eq!(change["other"], text(&"o".repeat(9000)), "the column beside it is read as always");
        execute(&env.db, "UPDATE users SET email = 'c@example.com'").await;
        let next = newest(&env, 4).await;
        assert!(!next.contains_key("note"));
        if let Some(column) = behind {
            assert_eq!(next[column], text(&"n".repeat(9000)));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_from_before_their_key_was_renamed_are_published() {
    let env = TestEnv::new("evolve_key").await;
    let relay = env.start("relay").await;
    relay.ready().await;
    relay.stop().await;
    insert(&env).await;
    insert(&env).await;
    let written = ids(&env.db).await;
    execute(&env.db, "ALTER TABLE users RENAME COLUMN id TO uid").await;
    relay.restart().await;
    assert_eq!(keys(&until_count(&env, 2).await), written);
}

/// Raises what a topic takes.
async fn allow(env: &TestEnv, topic: &str, bytes: u32) {
    use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, ResourceSpecifier};
    let admin: AdminClient<_> =
        rdkafka::ClientConfig::new().set("bootstrap.servers", env.kafka_bootstrap()).create().unwrap();
    let bytes = bytes.to_string();
    let config = AlterConfig::new(ResourceSpecifier::Topic(topic)).set("max.message.bytes", &bytes);
    admin.alter_configs(&[config], &AdminOptions::new()).await.unwrap()[0].as_ref().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_above_the_largest_message_stops_the_relay_which_says_how_to_go_on() {
    let mut env = TestEnv::new("evolve_large").await;
    let relay = env.start("relay").await;
    relay.ready().await;
    insert(&env).await;
    until_count(&env, 1).await;
    // Random, so that it does not compress: what the broker counts is compressed.
    execute(
        &env.db,
        "UPDATE users SET street_name = (SELECT string_agg(md5(random()::text), '') FROM generate_series(1, 50000))",
    )
    .await;
    insert(&env).await;
    assert_eq!(relay.exited().await, "exit status: 1");
    let log = relay.log();
    for part in
        ["a record of public.users", "larger than message.max.bytes", "[kafka.properties]", env.raw_topic()]
    {
        assert!(log.contains(part), "{part}: {log}");
    }
    assert_eq!(env.records(env.raw_topic()).await.len(), 1);
    drop(relay);
    allow(&env, env.raw_topic(), 4_000_000).await;
    let larger = toml::Table::from_iter([("message.max.bytes".to_owned(), "4000000".into())]);
    env.set("kafka.properties", larger);
    let relay = env.start("relay").await;
    relay.ready().await;
    assert_eq!(keys(&until_count(&env, 3).await), ids(&env.db).await);
}
