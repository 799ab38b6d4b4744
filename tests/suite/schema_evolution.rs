//! `ALTER TABLE` while the pipeline runs: what is compatible goes on, what is not stops the relay and loses nothing.

use std::collections::BTreeMap;

use apache_avro::types::Value;
use events::schemas;
use pipeline_tests::{TestEnv, wait};

use crate::relay::{SOON, execute, ids, keys, until_count};

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

#[tokio::test(flavor = "multi_thread")]
async fn what_is_compatible_goes_on_under_a_new_version_side_by_side_with_the_old() {
    let env = TestEnv::new("evolve").await;
    let relay = env.start("relay").await;
    let processor = env.start("stream-processor").await;
    relay.ready().await;
    insert(&env).await;
    let first = newest(&env, 1).await;
    assert_eq!(first["street_number"], Value::Int(1));

    execute(&env.db, "ALTER TABLE users ADD COLUMN nickname text").await;
    execute(&env.db, "UPDATE users SET nickname = 'å'").await;
    assert_eq!(newest(&env, 2).await["nickname"], text("å"));
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
    assert_eq!(newest(&env, 8).await["street_number"], Value::Long(5_000_000_000));

    let topic = env.processed_topic();
    wait::until_equal(topic, SOON, 8, async || env.records(topic).await.len()).await;
    assert_eq!(env.records(&format!("{}.dlq", env.raw_topic())).await, []);
    drop(processor);
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
    assert_eq!(env.records(env.raw_topic()).await.len(), 1);
    let subject = schemas::value_subject(env.raw_topic());
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
