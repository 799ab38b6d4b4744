//! A record that comes twice is dropped, one that never comes raises an alarm, and `pipeline repair` brings its row.

use std::collections::BTreeMap;

use kafka::sequence::{Ledger, Sequence};
use pipeline_tests::records::{self, Record};
use pipeline_tests::wait::SOON;
use pipeline_tests::{Service, TestEnv, wait};
use serde_json::{Value, json};

use crate::deletes_and_order::insert_known;
use crate::relay::execute;
use crate::stages::{differing_table, end_equal};

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
        // Two rows with many changes, and then in another country: a repair must know both.
        for number in 0..20 {
            let sql = format!("UPDATE users SET email = '{number}@example.com' OF 40 AND 41)");
            running.execute(&[&sql]).await;
        }
        running.execute(&["UPDATE users SET nat = 'QQ' OF 40 AND 41)"]).await;
        running.until_equal().await;
        running
    }

    /// Waits until every stage ends with PostgreSQL's rows.
    async fn until_equal(&self) {
        end_equal(&self.env, SOON).await;
    }

    /// One statement after the other, each a transaction; `OF 1 AND 3)` are the users of these numbers.
    async fn execute(&self, statements: &[&str]) {
        for sql in statements {
            execute(&self.env.db, &sql.replace("OF", "WHERE id IN (SELECT id FROM known WHERE n BETWEEN"))
                .await;
        }
    }

    /// Changes of 42 users: values, parts of Cassandra's keys, and rows that go and come.
    async fn change_some(&self) {
        for sql in [
            "UPDATE users SET email = 'new@example.com' WHERE id IN (SELECT id FROM known WHERE n < 10)",
            "UPDATE users SET nat = 'YY' WHERE id IN (SELECT id FROM known WHERE n BETWEEN 10 AND 19)",
            "UPDATE users SET nat = 'ZZ' WHERE id IN (SELECT id FROM known WHERE n BETWEEN 15 AND 19)",
            "UPDATE users SET nat = 'WW' WHERE id IN (SELECT id FROM known WHERE n BETWEEN 40 AND 41)",
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
        assert!(differing_table(&self.env, SOON).await.is_some(), "nothing is missing");

        // The sink commits what it has read a moment later.
        let look = wait::until("a dry run finds what is missing", SOON, async || {
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
        wait::until_equal("the repeats", SOON, Some(60.0), async || {
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
    let wanted = before + 10 + 10 + 5 + 2 + 2 * 10 + 2 * 10 + 5;
    wait::until_equal("records", SOON, wanted, async || env.records(env.raw_topic()).await.len()).await;
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
    let wanted = before + 10 + 10 + 5 + 2 + 2 * 10 + 2 * 10 + 5;
    let topic = env.processed_topic();
    wait::until_equal("records", SOON, wanted, async || env.records(topic).await.len()).await;
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
    running.lose_from_raw(async || running.change_some().await).await;
    running.change_others().await;
    // Of the 42, five are again as they were.
    running.repair(&running.processor, env.raw_topic(), 37).await;
}

/// The same of a transaction of the processor.
#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_of_the_processor_that_kafka_lost_raises_an_alarm_and_is_repaired() {
    let running = Running::start("lost_by_processor").await;
    running.lose_from_processed(async || running.change_some().await).await;
    running.change_others().await;
    running.repair(&running.sink, running.env.processed_topic(), 37).await;
}

/// Lost ones that are not the last of their keys: the table and the topic agree, and a row stands where it was.
const LOST: [&str; 4] = [
    "UPDATE users SET nat = 'YY' OF 0 AND 9)",
    "UPDATE users SET registered_at = registered_at + '40 days'::interval OF 10 AND 14)",
    "UPDATE users SET run_id = 'r1' OF 15 AND 19)",
    "DELETE FROM users OF 20 AND 29)",
];
const LATER: [&str; 7] = [
    "UPDATE users SET nat = 'ZZ' OF 0 AND 4)",
    "DELETE FROM users OF 5 AND 9)",
    "UPDATE users SET registered_at = registered_at + '40 days'::interval OF 10 AND 14)",
    "UPDATE users SET run_id = 'r2' OF 15 AND 19)",
    "INSERT INTO users SELECT (jsonb_populate_record(template, '{\"nat\": \"XX\"}')).* FROM known WHERE n BETWEEN 20 AND 24",
    // Where it was, but without the document that it had.
    "INSERT INTO users SELECT (template).* FROM known WHERE n BETWEEN 25 AND 27",
    // In every partition.
    "UPDATE users SET username = 'other' OF 50 AND 99)",
];
/// Users whose rows downstream are not right: all but the two that were deleted last.
const TORN: u64 = 30;

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_change_that_another_one_of_its_key_followed_is_repaired_in_every_table() {
    let running = Running::start("lost_and_followed").await;
    running.execute(&["UPDATE users SET document_name = 'CPR', document_value = '7' OF 20 AND 29)"]).await;
    running.until_equal().await;
    running.lose_from_raw(async || running.execute(&LOST).await).await;
    running.execute(&LATER).await;
    running.repair(&running.processor, running.env.raw_topic(), TORN).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_of_a_change_that_the_processor_lost() {
    let running = Running::start("lost_by_processor_and_followed").await;
    running.execute(&["UPDATE users SET document_name = 'CPR', document_value = '7' OF 20 AND 29)"]).await;
    running.until_equal().await;
    running.lose_from_processed(async || running.execute(&LOST).await).await;
    running.execute(&LATER).await;
    running.repair(&running.sink, running.env.processed_topic(), TORN).await;
}

/// The word that a gap is repaired does not depend on the rows: there may be none in its partition, and one may be
/// refused on its way.
#[tokio::test(flavor = "multi_thread")]
async fn a_repair_ends_without_rows_and_with_one_that_is_refused() {
    let env = TestEnv::new("repair_ends").await;
    insert_known(&env, 1).await;
    execute(&env.db, "UPDATE users SET nat = 'LEGO'").await;
    let relay = env.start("relay").await;
    let processor = env.start("stream-processor").await;
    let sink = env.start("cassandra-sink").await;
    let letters = format!("{}.dlq", env.raw_topic());
    wait::until_equal("a dead letter", SOON, 1, async || env.records(&letters).await.len()).await;
    // Put away, it is no reason any more why its record has nothing downstream.
    let purged = env.pipeline(&["dlq", "purge", "--all"]);
    assert!(purged.status.success(), "{}", String::from_utf8_lossy(&purged.stderr));

    let readers = [
        (&processor, env.get("stream_processor", "group"), env.raw_topic()),
        (&sink, env.get("cassandra_sink", "group"), env.processed_topic()),
    ];
    for (service, group, topic) in readers {
        service.stop().await;
        move_to_end(&env, group, topic, |_, metadata| {
            let mut ledger: Value = serde_json::from_str(metadata).unwrap_or_else(|_| json!({"seen": {}}));
            ledger["seen"]["missing"] = json!([{"stream": 7, "source": 0, "first": 2, "last": 3}]);
            ledger.to_string()
        })
        .await;
        service.restart().await;
    }
    let look = env.pipeline(&["--json", "repair", "--dry-run"]);
    let look: Value = serde_json::from_slice(&look.stdout).unwrap();
    assert_eq!(look["gaps"].as_array().unwrap().len(), 8, "{look}");
    let repaired = env.pipeline(&["repair"]);
    let text = String::from_utf8_lossy(&repaired.stdout).into_owned();
    assert!(repaired.status.success(), "{text}{}", String::from_utf8_lossy(&repaired.stderr));
    for (service, ..) in readers {
        service.ready().await;
    }
    // The row has become a dead letter again, which is open.
    assert!(env.records(&letters).await.len() >= 3, "no row was tried");
    drop(relay);
}

impl Running {
    /// As if Kafka had lost a transaction of the relay: the position and the numbers have moved, the records of what
    /// happens meanwhile are not there.
    async fn lose_from_raw(&self, happens: impl AsyncFnOnce()) {
        let env = &self.env;
        self.relay.stop().await;
        let offsets = env.get("pipeline", "offsets_topic");
        let slot = env.get("relay", "slot");
        let last = env.records(offsets).await.into_iter().rfind(|record| record.key.as_deref() == Some(slot));
        let mut progress: Value = serde_json::from_slice(&last.unwrap().value.unwrap()).unwrap();
        happens().await;
        let end: String =
            sqlx::query_scalar("SELECT pg_current_wal_lsn()::text").fetch_one(&env.db).await.unwrap();
        progress["commit_lsn"] = json!(end);
        progress["end_lsn"] = json!(end);
        let sent = progress["sent"][env.raw_topic()]["last"].as_object_mut().unwrap();
        assert_eq!(sent.len(), 4, "{sent:?}");
        sent.values_mut().for_each(|last| *last = json!(last.as_u64().unwrap() + 20));
        env.produce(offsets, &[(Some(slot), Some(&serde_json::to_vec(&progress).unwrap()))]);
        self.relay.restart().await;
        self.relay.ready().await;
    }

    /// The same of the processor: it has read and numbered what happens meanwhile, and nothing of it is there.
    async fn lose_from_processed(&self, happens: impl AsyncFnOnce()) {
        let env = &self.env;
        self.processor.stop().await;
        happens().await;
        // Nothing comes any more when the relay has come to what comes last.
        let marker = "UPDATE users SET email = 'marker@example.com' OF 99 AND 99)";
        self.execute(&[marker]).await;
        let mut decoder = env.decoder();
        wait::until("the last change", SOON, async || {
            for record in env.records(env.raw_topic()).await {
                let Some(value) = record.value else { continue };
                let fields = decoder.decode(&value).await;
                if format!("{:?}", fields["email"]).contains("marker@") {
                    return Some(());
                }
            }
            None
        })
        .await;
        let mut read: BTreeMap<i32, u64> = BTreeMap::new();
        for record in env.records(env.raw_topic()).await {
            let number: Sequence = record.headers["pipeline.seq"].parse().unwrap();
            read.insert(record.partition, number.number);
        }
        move_to_end(env, env.get("stream_processor", "group"), env.raw_topic(), |partition, metadata| {
            let mut ledger: Value = serde_json::from_str(metadata).unwrap();
            ledger["seen"]["last"]["0"][1] = json!(read[&partition]);
            let sent = ledger["sent"]["last"].as_object_mut().unwrap();
            sent.values_mut().for_each(|last| *last = json!(last.as_u64().unwrap() + 20));
            ledger.to_string()
        })
        .await;
        self.processor.restart().await;
        self.processor.ready().await;
    }
}

/// Moves a group that nobody is in to the end of a topic, with what it has seen left as it is.
async fn pass_over(env: &TestEnv, group: &str, topic: &str) {
    move_to_end(env, group, topic, |_, metadata| {
        assert_ne!(Ledger::parse(metadata), Ledger::default(), "{metadata}");
        metadata.to_owned()
    })
    .await;
}

async fn move_to_end(
    env: &TestEnv,
    group: &str,
    topic: &str,
    metadata: impl FnMut(i32, &str) -> String + Send,
) {
    // A thread that may block: the runtime has others.
    tokio::task::block_in_place(|| records::move_to_end(env.kafka_bootstrap(), group, topic, metadata));
}
