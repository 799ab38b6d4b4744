//! A record that comes twice is dropped, one that never comes raises an alarm, and `pipeline repair` brings its row.

use std::collections::BTreeMap;
use std::time::Duration;

use kafka::sequence::{Ledger, Sequence};
use pipeline_tests::records::{self, Record};
use pipeline_tests::{Service, TestEnv, wait};
use serde_json::{Value, json};

use crate::deletes_and_order::{expected, found, insert_known};
use crate::relay::execute;

const PATIENCE: Duration = Duration::from_secs(60);
const USERS: usize = 100;

/// Panics if the numbers of a partition are not 1, 2, 3 and so on by source.
pub(crate) fn assert_continuous(topic: &str, records: &[Record]) {
    let mut last: BTreeMap<(i32, i32, u64), u64> = BTreeMap::new();
    for record in records {
        let number: Sequence = record.headers["pipeline.seq"].parse().unwrap();
        let last = last.entry((record.partition, number.source, number.stream)).or_default();
        assert_eq!(number.number, *last + 1, "{topic}/{} at {}", record.partition, record.offset);
        *last = number.number;
    }
    let streams: Vec<_> = last.keys().map(|(partition, source, _)| (partition, source)).collect();
    let distinct: std::collections::BTreeSet<_> = streams.iter().collect();
    assert_eq!(streams.len(), distinct.len(), "{topic}: a count began anew: {last:?}");
}

struct Running {
    env: TestEnv,
    relay: Service,
    processor: Service,
    sink: Service,
}

impl Running {
    async fn start(name: &str) -> Self {
        let env = TestEnv::new(name).await;
        insert_known(&env, USERS).await;
        let relay = env.start("relay").await;
        let processor = env.start("stream-processor").await;
        let sink = env.start("cassandra-sink").await;
        let running = Self { env, relay, processor, sink };
        running.until_equal().await;
        running
    }

    /// Waits until every table has PostgreSQL's rows.
    async fn until_equal(&self) {
        let rows = expected(&self.env).await;
        let session = self.env.cassandra().await;
        for table in ["users_by_id", "users_by_country", "users_by_run"] {
            wait::until_equal(table, PATIENCE, rows.clone(), async || found(&session, table).await).await;
        }
    }

    /// Changes of 40 users: values, parts of Cassandra's keys, and rows that go and come.
    async fn change_some(&self) {
        for sql in [
            "UPDATE users SET email = 'new@example.com' WHERE id IN (SELECT id FROM known WHERE n < 10)",
            "UPDATE users SET nat = 'YY' WHERE id IN (SELECT id FROM known WHERE n BETWEEN 10 AND 19)",
            "UPDATE users SET nat = 'ZZ' WHERE id IN (SELECT id FROM known WHERE n BETWEEN 15 AND 19)",
            "DELETE FROM users WHERE id IN (SELECT id FROM known WHERE n BETWEEN 20 AND 29)",
            "DELETE FROM users WHERE id IN (SELECT id FROM known WHERE n BETWEEN 30 AND 39)",
            "INSERT INTO users SELECT (template).* FROM known WHERE n BETWEEN 35 AND 39",
        ] {
            execute(&self.env.db, sql).await;
        }
    }

    /// Changes of others, in every partition: only a record that comes shows what did not.
    async fn change_others(&self) {
        let sql = "UPDATE users SET username = 'other' WHERE id IN (SELECT id FROM known WHERE n >= 50)";
        execute(&self.env.db, sql).await;
    }

    /// The alarm of a service, the repair of so many rows, and what must hold afterwards.
    async fn repair(&self, service: &Service, topic: &str, rows: u64) {
        service.waits_for("continuity", &format!("of {topic} lacks")).await;
        let labels = format!("topic=\"{topic}\"");
        assert!(service.metric("pipeline_sequence_gaps_total", &labels).await.unwrap() >= 1.0);
        assert!(service.metric("pipeline_sequence_missing", &labels).await.unwrap() >= 40.0);
        assert!(service.log().contains("records are missing: pipeline repair"), "{}", service.log());
        // It is there again after a restart, though no record comes.
        service.stop().await;
        service.restart().await;
        service.waits_for("continuity", &format!("of {topic} lacks")).await;
        assert!(service.metric("pipeline_sequence_missing", &labels).await.unwrap() >= 40.0);
        let before = found(&self.env.cassandra().await, "users_by_id").await;
        assert_ne!(before, expected(&self.env).await, "nothing is missing");

        // The sink commits what it has read a moment later.
        let look = wait::until("a dry run finds what is missing", PATIENCE, async || {
            let output = self.env.pipeline(&["--json", "repair", "--dry-run"]);
            let look: Value = serde_json::from_slice(&output.stdout).ok()?;
            assert_eq!(output.status.success(), look["gaps"] == json!([]));
            (look["rows"].as_u64()? >= rows).then_some(look)
        })
        .await;
        assert!(look["gaps"].as_array().unwrap().iter().all(|gap| gap["topic"] == topic), "{look}");
        let repaired = self.env.pipeline(&["repair"]);
        let text = String::from_utf8_lossy(&repaired.stdout).into_owned();
        let errors = String::from_utf8_lossy(&repaired.stderr).into_owned();
        assert!(repaired.status.success(), "{text}{errors}");
        assert!(text.contains("nothing is missing any more"), "{text}");
        service.ready().await;
        assert_eq!(service.metric("pipeline_sequence_missing", &labels).await, Some(0.0));
        self.until_equal().await;
        let again = self.env.pipeline(&["--json", "repair"]);
        let again: Value = serde_json::from_slice(&again.stdout).unwrap();
        assert_eq!(again, json!({"gaps": [], "rows": 0, "left": 0}));
        for topic in [self.env.raw_topic(), self.env.processed_topic()] {
            assert_eq!(self.env.records(&format!("{topic}.dlq")).await, []);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_come_twice_are_dropped_and_counted() {
    let running = Running::start("repeats").await;
    running.change_some().await;
    running.until_equal().await;
    let env = &running.env;
    for (service, topic) in [(&running.processor, env.raw_topic()), (&running.sink, env.processed_topic())] {
        let records = env.records(topic).await;
        assert_continuous(topic, &records);
        let repeated: Vec<Record> = records.iter().rev().take(60).rev().cloned().collect();
        env.copy(topic, &repeated);
        let labels = format!("topic=\"{topic}\"");
        wait::until_equal("the repeats", PATIENCE, Some(60.0), async || {
            service.metric("pipeline_sequence_repeats_total", &labels).await
        })
        .await;
        service.ready().await;
    }
    // Both have their 60 copies; had anything come of those of the raw topic, the other would have more.
    let [raw, processed] = [env.raw_topic(), env.processed_topic()];
    assert_eq!(env.records(processed).await.len(), env.records(raw).await.len());
    running.until_equal().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_the_processor_passes_over_raise_an_alarm_and_are_repaired() {
    let running = Running::start("passed_over").await;
    let env = &running.env;
    running.processor.stop().await;
    let before = env.records(env.raw_topic()).await.len();
    running.change_some().await;
    // Deletes have a tombstone each.
    let wanted = before + 10 + 10 + 5 + 2 * 10 + 2 * 10 + 5;
    wait::until_equal("records", PATIENCE, wanted, async || env.records(env.raw_topic()).await.len()).await;
    pass_over(env, env.get("stream_processor", "group"), env.raw_topic()).await;
    running.processor.restart().await;
    running.change_others().await;
    running.repair(&running.processor, env.raw_topic(), 40).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_the_sink_passes_over_raise_an_alarm_and_are_repaired() {
    let running = Running::start("passed_over_by_sink").await;
    let env = &running.env;
    running.sink.stop().await;
    let before = env.records(env.processed_topic()).await.len();
    running.change_some().await;
    let wanted = before + 10 + 10 + 5 + 2 * 10 + 2 * 10 + 5;
    let topic = env.processed_topic();
    wait::until_equal("records", PATIENCE, wanted, async || env.records(topic).await.len()).await;
    pass_over(env, env.get("cassandra_sink", "group"), topic).await;
    running.sink.restart().await;
    running.change_others().await;
    running.repair(&running.sink, topic, 40).await;
}

/// As if Kafka had lost a transaction of the relay after its commit: the position and the numbers have moved, the
/// records are not there.
#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_kafka_lost_raises_an_alarm_and_is_repaired() {
    let running = Running::start("lost").await;
    let env = &running.env;
    running.relay.stop().await;
    let offsets = env.get("pipeline", "offsets_topic");
    let slot = env.get("relay", "slot");
    let last = env.records(offsets).await.into_iter().rfind(|record| record.key.as_deref() == Some(slot));
    let mut progress: Value = serde_json::from_slice(&last.unwrap().value.unwrap()).unwrap();
    running.change_some().await;
    let end: String =
        sqlx::query_scalar("SELECT pg_current_wal_lsn()::text").fetch_one(&env.db).await.unwrap();
    progress["commit_lsn"] = json!(end);
    progress["end_lsn"] = json!(end);
    let sent = progress["sent"][env.raw_topic()]["last"].as_object_mut().unwrap();
    assert_eq!(sent.len(), 4, "{sent:?}");
    sent.values_mut().for_each(|last| *last = json!(last.as_u64().unwrap() + 20));
    env.produce(offsets, &[(Some(slot), Some(&serde_json::to_vec(&progress).unwrap()))]);
    running.relay.restart().await;
    running.relay.ready().await;
    running.change_others().await;
    // Of the 40, five are again as they were.
    running.repair(&running.processor, env.raw_topic(), 35).await;
}

/// Moves a group that nobody is in to the end of a topic, with what it has seen left as it is.
async fn pass_over(env: &TestEnv, group: &str, topic: &str) {
    let (bootstrap, group, topic) =
        (env.get("kafka", "bootstrap_servers").to_owned(), group.to_owned(), topic.to_owned());
    let moved = tokio::task::spawn_blocking(move || records::move_to_end(&bootstrap, &group, &topic));
    for metadata in moved.await.unwrap() {
        assert_ne!(Ledger::parse(&metadata), Ledger::default(), "{metadata}");
    }
}
