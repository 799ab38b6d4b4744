//! The stream processor between two topics: exactly once, whatever is killed, and nothing blocks it.

pub(crate) mod continuity;
mod spark;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use apache_avro::Schema;
use apache_avro::types::Value;
use apache_avro::writer::datum::GenericDatumWriter;
use events::{schemas, wire};
use pipeline_tests::wait::SOON;
use pipeline_tests::{Record, Service, TestEnv, servers, wait};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// 2023-11-14T22:13:20Z.
const FETCHED_AT: i64 = 1_700_000_000_000_000;

/// The columns of `users` that the transform can't do without, as the relay describes them.
const RAW: &str = r#"{"type": "record", "name": "Value", "namespace": "datastreaming.public.users", "fields": [
    {"name": "id", "type": {"type": "string", "logicalType": "uuid"}},
    {"name": "run_id", "type": "string"},
    {"name": "fetched_at", "type": ["null", {"type": "long", "logicalType": "timestamp-micros"}], "default": null},
    {"name": "nat", "type": "string"},
    {"name": "first_name", "type": ["null", "string"], "default": null},
    {"name": "last_name", "type": ["null", "string"], "default": null},
    {"name": "email", "type": ["null", "string"], "default": null},
    {"name": "date_of_birth", "type": ["null", {"type": "long", "logicalType": "timestamp-micros"}], "default": null},
    {"name": "registered_at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
    {"name": "__op", "type": "string"},
    {"name": "__lsn", "type": "long"},
    {"name": "__commit_ts", "type": {"type": "long", "logicalType": "timestamp-micros"}}
]}"#;

/// Writes changes of users as the relay does.
pub(crate) struct Users {
    schema: Schema,
    header: [u8; wire::HEADER_LEN],
    lsn: i64,
    pub(crate) last_name: String,
}

impl Users {
    pub(crate) async fn new(env: &TestEnv) -> Self {
        let subject = schemas::value_subject(env.raw_topic());
        let id = env.registry().register(&subject, RAW).await.unwrap();
        let schema = Schema::parse_str(RAW).unwrap();
        Self { schema, header: wire::header(id), lsn: 0, last_name: "Dahl".to_owned() }
    }

    fn value(&mut self, id: Uuid, op: &str, nat: &str, email: &str) -> Vec<u8> {
        self.lsn += 1;
        let text = |text: &str| Value::String(text.to_owned());
        let set = |value: Value| if op == "d" { Value::Null } else { value };
        let optional = |value: Value| Value::Union(u32::from(value != Value::Null), Box::new(value));
        let fields = [
            ("id", Value::Uuid(id)),
            ("run_id", text("run")),
            ("fetched_at", optional(set(Value::TimestampMicros(FETCHED_AT)))),
            ("nat", text(nat)),
            ("first_name", optional(set(text(" Åse ")))),
            ("last_name", optional(set(text(&self.last_name)))),
            ("email", optional(set(text(email)))),
            ("date_of_birth", optional(set(Value::TimestampMicros(0)))),
            ("registered_at", Value::TimestampMicros(FETCHED_AT / 2)),
            ("__op", text(op)),
            ("__lsn", Value::Long(self.lsn)),
            ("__commit_ts", Value::TimestampMicros(FETCHED_AT)),
        ];
        let record = Value::Record(fields.map(|(name, value)| (name.to_owned(), value)).to_vec());
        let writer = GenericDatumWriter::builder(&self.schema).build().unwrap();
        [&self.header[..], &writer.write_value_to_vec(record).unwrap()].concat()
    }

    /// Changes of `users` users in turn: which change of which key, in order.
    pub(crate) fn produce(
        &mut self,
        env: &TestEnv,
        ids: &[Uuid],
        count: usize,
    ) -> BTreeMap<String, Vec<i64>> {
        let mut written: BTreeMap<String, Vec<i64>> = BTreeMap::new();
        let records: Vec<_> = (0..count)
            .map(|number| {
                let id = ids[number % ids.len()];
                let value = self.value(id, "u", "DK", "aase@example.com");
                written.entry(id.to_string()).or_default().push(self.lsn);
                (id.to_string(), value)
            })
            .collect();
        let borrowed: Vec<_> = records.iter().map(|(key, value)| (Some(&**key), Some(&**value))).collect();
        env.produce(env.raw_topic(), &borrowed);
        written
    }
}

pub(crate) fn ids(count: usize) -> Vec<Uuid> {
    (0..count).map(|_| Uuid::new_v4()).collect()
}

/// The changes that arrived, by key and in order.
pub(crate) async fn arrived(env: &TestEnv) -> BTreeMap<String, Vec<i64>> {
    let mut decoder = env.decoder();
    let mut arrived: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for record in env.records(env.processed_topic()).await {
        let fields = decoder.decode(&record.value.unwrap()).await;
        let Value::Long(lsn) = fields["__lsn"] else { panic!("{fields:?}") };
        arrived.entry(record.key.unwrap()).or_default().push(lsn);
    }
    arrived
}

pub(crate) async fn until_arrived(env: &TestEnv, count: usize) {
    let topic = env.processed_topic();
    wait::until_equal(topic, SOON, count, async || env.records(topic).await.len()).await;
}

async fn until_some_arrived(env: &TestEnv, more_than: usize) {
    let topic = env.processed_topic();
    wait::until(topic, SOON, async || (env.records(topic).await.len() > more_than).then_some(())).await;
}

async fn until_no_lag(processor: &Service) {
    wait::until("no lag", SOON, async || {
        let behind = processor.metric("kafka_consumergroup_lag", "").await?;
        (behind == 0.0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_in_the_middle_it_repeats_and_loses_nothing() {
    const COUNT: usize = 30_000;
    let mut env = TestEnv::new("processor_killed").await;
    env.set("stream_processor.max_batch_records", 500);
    let written = Users::new(&env).await.produce(&env, &ids(1_000), COUNT);
    let processor = env.start("stream-processor").await;
    for part in 0..3 {
        until_some_arrived(&env, part * COUNT / 6).await;
        processor.kill().await;
        processor.restart().await;
    }
    until_arrived(&env, COUNT).await;
    until_no_lag(&processor).await;
    assert_eq!(arrived(&env).await, written);
    assert!(processor.stop().await < Duration::from_secs(10));
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_come_and_go_without_repeats() {
    const COUNT: usize = 20_000;
    let mut env = TestEnv::new("processor_rebalance").await;
    env.set("stream_processor.max_batch_records", 200);
    let mut users = Users::new(&env).await;
    let ids = ids(500);
    let mut written = users.produce(&env, &ids, COUNT);
    let one = env.set("stream_processor.instance", "one").start("stream-processor").await;
    until_some_arrived(&env, 0).await;
    env.set("stream_processor.workers", 2);
    let two = env.set("stream_processor.instance", "two").start("stream-processor").await;
    wait::until("the second process works", SOON, async || {
        // The first may be through with everything before the second has joined.
        for (key, more) in users.produce(&env, &ids, 500) {
            written.entry(key).or_default().extend(more);
        }
        two.metric("pipeline_records_total", "").await.filter(|records| *records > 0.0).map(drop)
    })
    .await;
    one.pause();
    for (key, more) in users.produce(&env, &ids, COUNT) {
        written.entry(key).or_default().extend(more);
    }
    until_some_arrived(&env, COUNT).await;
    one.resume();
    assert!(two.stop().await < Duration::from_secs(10));
    until_arrived(&env, written.values().map(Vec::len).sum()).await;
    assert_eq!(arrived(&env).await, written);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_it_cant_process_is_a_dead_letter_and_the_rest_goes_on() {
    let env = TestEnv::new("processor_poison").await;
    let mut users = Users::new(&env).await;
    let other = format!("{}-other", env.name());
    let other = env.registry().register(&other, r#""string""#).await.unwrap();
    let id = Uuid::new_v4();
    let key = id.to_string();
    let sound = users.value(id, "c", "DK", "aase@example.com");
    let poison = [
        (Some("json"), b"{\"id\": 1}".to_vec(), "not_avro"),
        (Some("no schema"), [&wire::header(u32::MAX >> 1)[..], b"x"].concat(), "unknown_schema"),
        (Some("another schema"), [&wire::header(other)[..], b"\x06abc"].concat(), "undecodable"),
        (Some(&*key), sound[..20].to_vec(), "undecodable"),
        (Some("another key"), sound.clone(), "key_mismatch"),
        (None, sound.clone(), "missing_key"),
        (Some(&*key), users.value(id, "c", "LEGO", "aase@example.com"), "invalid_country"),
        (Some(&*key), users.value(id, "c", "DK", "nobody"), "invalid_email"),
        (Some(&*key), users.value(id, "t", "DK", "aase@example.com"), "invalid_operation"),
    ];
    let records: Vec<_> = poison.iter().map(|(key, value, _)| (*key, Some(&**value))).collect();
    env.produce(env.raw_topic(), &records);
    env.produce(env.raw_topic(), &[(Some(&key), Some(&sound))]);

    let processor = env.start("stream-processor").await;
    until_arrived(&env, 1).await;
    let dead_letters = format!("{}.dlq", env.raw_topic());
    wait::until_equal("dead letters", SOON, poison.len(), async || env.records(&dead_letters).await.len())
        .await;
    let letters = env.records(&dead_letters).await;
    let sources: BTreeMap<_, _> = env
        .records(env.raw_topic())
        .await
        .into_iter()
        .map(|record| ((record.partition.to_string(), record.offset.to_string()), record))
        .collect();
    for (key, value, kind) in &poison {
        let letter = letters
            .iter()
            .find(|letter| letter.value.as_ref() == Some(value) && letter.key.as_deref() == *key);
        assert_provenance(letter.unwrap_or_else(|| panic!("{kind} is missing")), kind, &sources, &env);
    }
    for (_, _, kind) in &poison {
        assert!(processor.metric("pipeline_records_total", kind).await.is_some(), "{kind} is not counted");
    }
}

fn assert_provenance(
    letter: &Record,
    kind: &str,
    sources: &BTreeMap<(String, String), Record>,
    env: &TestEnv,
) {
    let header = |name: &str| letter.headers.get(name).unwrap_or_else(|| panic!("{name} is missing")).clone();
    assert_eq!(header("dlq.error.kind"), kind);
    assert_eq!(header("dlq.source.topic"), env.raw_topic());
    assert_eq!(header("dlq.service"), "stream-processor");
    assert_eq!(header("dlq.attempt"), "1");
    assert!(!header("dlq.error.message").is_empty() && !header("dlq.time").is_empty());
    let source = &sources[&(header("dlq.source.partition"), header("dlq.source.offset"))];
    assert_eq!((&source.key, &source.value), (&letter.key, &letter.value));
    assert_eq!(source.timestamp.unwrap().to_string(), header("dlq.source.timestamp"));
}

#[tokio::test(flavor = "multi_thread")]
async fn deletes_keep_the_identity_and_tombstones_pass() {
    let env = TestEnv::new("processor_deletes").await;
    let mut users = Users::new(&env).await;
    let id = Uuid::new_v4();
    let key = id.to_string();
    let values = ["c", "d"].map(|op| users.value(id, op, "DK", "aase@example.com"));
    env.produce(
        env.raw_topic(),
        &[(Some(&key), Some(&values[0])), (Some(&key), Some(&values[1])), (Some(&key), None)],
    );
    let _processor = env.start("stream-processor").await;
    until_arrived(&env, 3).await;
    let (raw, processed) = (env.records(env.raw_topic()).await, env.records(env.processed_topic()).await);
    for (source, record) in raw.iter().zip(&processed) {
        assert_eq!((&source.key, source.timestamp), (&record.key, record.timestamp));
    }
    let mut decoder = env.decoder();
    let created = decoder.decode(processed[0].value.as_ref().unwrap()).await;
    assert_eq!(created["full_name"], Value::String("Åse Dahl".to_owned()));
    let deleted = decoder.decode(processed[1].value.as_ref().unwrap()).await;
    let set: BTreeSet<&str> =
        deleted.iter().filter(|(_, value)| **value != Value::Null).map(|(name, _)| &**name).collect();
    let identity = ["id", "run_id", "country", "registered_at", "registered_month", "bucket"];
    let metadata = ["__op", "__lsn", "__commit_ts"];
    assert_eq!(set, identity.into_iter().chain(metadata).collect());
    assert_eq!(processed[2].value, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_waits_for_the_registry_and_keeps_its_place() {
    let mut env = TestEnv::new("processor_registry").await;
    let mut users = Users::new(&env).await;
    let registry = Gate::new(servers().registry_url().trim_start_matches("http://")).await;
    env.set("registry.url", format!("http://{}", registry.address));
    let processor = env.start("stream-processor").await;
    processor.ready().await;
    registry.close();
    let written = users.produce(&env, &ids(10), 100);
    processor.waits_for("registry", "does not answer").await;
    assert_eq!(env.records(env.processed_topic()).await, []);
    registry.open();
    until_arrived(&env, 100).await;
    processor.ready().await;
    assert_eq!(arrived(&env).await, written);
    let dead_letters = format!("{}.dlq", env.raw_topic());
    assert_eq!(env.records(&dead_letters).await, []);
}

/// A door in front of a server.
pub(crate) struct Gate {
    pub(crate) address: String,
    connections: Arc<std::sync::Mutex<Option<CancellationToken>>>,
}

impl Gate {
    /// Open. `target` may have a path, which stays part of the address.
    pub(crate) async fn new(target: &str) -> Self {
        let (host, path) = target.split_once('/').unwrap_or((target, ""));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("{}/{path}", listener.local_addr().unwrap());
        let connections = Arc::new(std::sync::Mutex::new(Some(CancellationToken::new())));
        let (host, gate) = (host.to_owned(), Arc::clone(&connections));
        tokio::spawn(async move {
            loop {
                let (mut client, _) = listener.accept().await.unwrap();
                let Some(closed) = gate.lock().unwrap().clone() else { continue };
                let host = host.clone();
                tokio::spawn(closed.run_until_cancelled_owned(async move {
                    let mut server = TcpStream::connect(host).await.unwrap();
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                }));
            }
        });
        Self { address, connections }
    }

    /// Cuts every connection and refuses new ones.
    pub(crate) fn close(&self) {
        self.connections.lock().unwrap().take().unwrap().cancel();
    }

    pub(crate) fn open(&self) {
        *self.connections.lock().unwrap() = Some(CancellationToken::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_it_opens_no_transaction() {
    let env = TestEnv::new("processor_idle").await;
    let processor = env.start("stream-processor").await;
    let written = Users::new(&env).await.produce(&env, &ids(10), 10);
    until_arrived(&env, written.len()).await;
    until_no_lag(&processor).await;
    let transactions = processor.metric("pipeline_transactions_total", "").await;
    // Statistics come every two seconds: this is an event after which an idle worker has looked around.
    wait::until("two looks at the lag", SOON, async || {
        let mut seen = 0;
        while seen < 2 {
            tokio::time::sleep(Duration::from_secs(2)).await;
            seen += i32::from(processor.metric("kafka_consumergroup_lag", "").await == Some(0.0));
        }
        Some(())
    })
    .await;
    assert_eq!(processor.metric("pipeline_transactions_total", "").await, transactions);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_hides_and_a_bad_one_is_refused() {
    let mut env = TestEnv::new("processor_pii").await;
    env.set("stream_processor.pii.first_name", "mask");
    let _processor = env.start("stream-processor").await;
    Users::new(&env).await.produce(&env, &ids(1), 1);
    until_arrived(&env, 1).await;
    let record = env.records(env.processed_topic()).await.remove(0);
    let fields = env.decoder().decode(&record.value.unwrap()).await;
    assert_eq!(fields["full_name"], Value::String("*** Dahl".to_owned()));
    assert_eq!(fields["email"], Value::String("***@example.com".to_owned()));

    env.set("stream_processor.pii.last_name", "hmac");
    let refused = env.run("stream-processor", &[]);
    assert_eq!(refused.status.code(), Some(2));
    let message = String::from_utf8_lossy(&refused.stderr);
    assert!(message.contains("PIPELINE__STREAM_PROCESSOR__HMAC_KEY"), "{message}");
}
