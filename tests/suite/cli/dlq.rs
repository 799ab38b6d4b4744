//! Dead letters are found, understood, sent again once, and put away.

use chrono::{DateTime, TimeDelta, Utc};
use pipeline_tests::wait::SOON;
use pipeline_tests::{TestEnv, wait};
use serde_json::Value;

use crate::processor::{Users, arrived, ids, until_arrived};

const LETTERS: usize = 2_400;

fn pipeline(env: &TestEnv, args: &[&str]) -> Value {
    let output = env.pipeline(&[&["--json"], args].concat());
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

async fn until_open(env: &TestEnv, count: usize) {
    wait::until_equal("open dead letters", SOON, count, async || {
        usize::try_from(pipeline(env, &["dlq", "list"])["open"].as_u64().unwrap()).unwrap()
    })
    .await;
}

/// An environment whose processor gave these records up as too large; the processor is stopped.
async fn with_letters(name: &str, count: usize) -> (TestEnv, Users) {
    let mut env = TestEnv::new(name).await;
    env.set("stream_processor.max_record_bytes", 10_000);
    let mut users = Users::new(&env).await;
    users.last_name = "o".repeat(20_000);
    users.produce(&env, &ids(count), count);
    let processor = env.start("stream-processor").await;
    until_open(&env, count).await;
    processor.stop().await;
    env.set("stream_processor.max_record_bytes", 1_000_000);
    (env, users)
}

#[tokio::test(flavor = "multi_thread")]
async fn redriven_they_arrive_once_however_often_the_command_is_broken_off() {
    let (mut env, _) = with_letters("dlq_redrive", LETTERS).await;
    let would = pipeline(&env, &["dlq", "redrive", "--dry-run"]);
    assert_eq!(would["redriven"], LETTERS);
    until_open(&env, LETTERS).await;

    let _processor = env.start("stream-processor").await;
    // A record a request, one request after the other: slow enough to be broken off in the middle.
    let slow = [("batch.num.messages", "1"), ("max.in.flight.requests.per.connection", "1")];
    let slow: toml::Table = slow.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
    env.set("kafka.properties", slow);
    let mut broken_off = env.spawn("pipeline", &["dlq", "redrive"]);
    wait::until("some arrive", SOON, async || {
        (!env.records(env.processed_topic()).await.is_empty()).then_some(())
    })
    .await;
    assert_eq!(broken_off.try_wait().unwrap(), None, "the command ended before it was broken off");
    broken_off.kill().unwrap();
    broken_off.wait().unwrap();
    env.set("kafka.properties", toml::Table::new());
    let left = pipeline(&env, &["dlq", "list", "--limit", "1"])["open"].as_u64().unwrap();
    assert!(left > 0 && left < LETTERS as u64, "{left} of {LETTERS} were left to redrive");
    assert_eq!(pipeline(&env, &["dlq", "redrive"])["redriven"], left);
    until_arrived(&env, LETTERS).await;
    assert_eq!(pipeline(&env, &["dlq", "redrive"])["redriven"], 0);
    until_open(&env, 0).await;
    let arrived = arrived(&env).await;
    assert_eq!(arrived.len(), LETTERS);
    assert!(arrived.values().all(|changes| changes.len() == 1), "a record arrived twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_fails_again_and_again_is_left_at_the_limit() {
    let (mut env, _) = with_letters("dlq_limit", 3).await;
    env.set("stream_processor.max_record_bytes", 10_000);
    let _processor = env.start("stream-processor").await;
    assert_eq!(pipeline(&env, &["dlq", "redrive", "--max-attempts", "2"])["redriven"], 3);
    wait::until_equal("second attempts", SOON, 3, async || {
        let letters = pipeline(&env, &["dlq", "list"])["letters"].take();
        letters.as_array().unwrap().iter().filter(|letter| letter["attempt"] == 2).count()
    })
    .await;
    let again = pipeline(&env, &["dlq", "redrive", "--max-attempts", "2"]);
    assert_eq!(again["redriven"], 0);
    assert_eq!(
        again["left"].as_object().unwrap().values().map(|left| left.as_u64().unwrap()).sum::<u64>(),
        3
    );
    until_open(&env, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_is_shown_with_its_record_and_those_of_a_kind_are_put_away() {
    let (env, users) = with_letters("dlq_show", 2).await;
    env.produce(env.raw_topic(), &[(Some("key"), Some(b"not avro"))]);
    let _processor = env.start("stream-processor").await;
    until_open(&env, 3).await;

    let list = pipeline(&env, &["dlq", "list", "--kind", "too_large"]);
    assert_eq!(list["open"], 2);
    let letter = pipeline(&env, &["dlq", "show", list["letters"][0]["name"].as_str().unwrap()]);
    assert_eq!(letter["kind"], "too_large");
    assert_eq!(letter["record"]["last_name"], users.last_name);
    assert_eq!(letter["record"]["id"], letter["key"]);

    let everything = env.pipeline(&["dlq", "purge"]);
    assert!(!everything.status.success(), "nothing is purged without saying what");
    assert_eq!(pipeline(&env, &["dlq", "purge", "--kind", "too_large"])["purged"], 2);
    until_open(&env, 1).await;
    let rest = pipeline(&env, &["dlq", "list"])["letters"][0].take();
    assert_ne!(rest["kind"], "too_large");
    let shown = pipeline(&env, &["dlq", "show", rest["name"].as_str().unwrap()]);
    assert!(shown["record"].is_null() && shown["not_decoded"].is_string(), "{shown}");

    let gone = env.pipeline(&["dlq", "show", list["letters"][0]["name"].as_str().unwrap()]);
    assert!(!gone.status.success());
    assert!(String::from_utf8_lossy(&gone.stderr).contains("no open dead letter"));
}

#[tokio::test(flavor = "multi_thread")]
async fn those_of_a_time_are_found_and_redriven() {
    let (mut env, mut users) = with_letters("dlq_time", 3).await;
    let between = wait::until("a time after the first letters", SOON, async || {
        let letters = pipeline(&env, &["dlq", "list"])["letters"].take();
        let times = letters.as_array()?.iter().map(|letter| letter["time"].as_str()?.parse().ok());
        let newest: DateTime<Utc> = times.collect::<Option<Vec<_>>>()?.into_iter().max()?;
        (Utc::now() - newest > TimeDelta::seconds(1)).then(|| newest + TimeDelta::milliseconds(500))
    })
    .await;
    env.set("stream_processor.max_record_bytes", 10_000);
    let processor = env.start("stream-processor").await;
    let later = ids(2);
    users.produce(&env, &later, 2);
    until_open(&env, 5).await;
    processor.stop().await;
    env.set("stream_processor.max_record_bytes", 1_000_000);

    let between = between.to_rfc3339();
    let open = |args: &[&str]| pipeline(&env, &[&["dlq", "list"], args].concat())["open"].as_u64().unwrap();
    assert_eq!(open(&["--since", &between]), 2);
    assert_eq!(open(&["--until", &between]), 3);
    assert_eq!(open(&["--since", "2020-01-01T00:00:00Z", "--until", "2020-01-02T00:00:00Z"]), 0);
    let _processor = env.start("stream-processor").await;
    assert_eq!(pipeline(&env, &["dlq", "redrive", "--since", &between])["redriven"], 2);
    until_arrived(&env, 2).await;
    let arrived: Vec<String> = arrived(&env).await.into_keys().collect();
    let mut expected: Vec<String> = later.iter().map(ToString::to_string).collect();
    expected.sort();
    assert_eq!(arrived, expected);
    assert_eq!(open(&["--since", &between]), 0);
    assert_eq!(pipeline(&env, &["dlq", "purge", "--until", &between])["purged"], 3);
    until_open(&env, 0).await;
}
