//! Records that nobody can process: one of each kind that the processor and the sink know, in turn.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use events::{Registry, wire};
use kafka::{KafkaConfig, LoggedContext};
use operate::config::Settings;
use rand::RngExt as _;
use rand_pcg::Pcg64Mcg;
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::util::Timeout;
use serde_avro_fast::Schema;
use serde_avro_fast::ser::SerializerConfig;
use serde_json::{Map, Value, json};
use service::BoxError;
use uuid::Uuid;

use super::users::{FIRST_ID, USERS};
use crate::error::ChaosError;

/// What the value of a poison record has in it.
pub(crate) const MARK: &str = "poison of chaos";
const PAUSE_MS: std::ops::Range<u64> = 300..3_000;
/// How often a record asks whether it is time to stop.
const LOOK: Duration = Duration::from_millis(100);
/// An id that no registry gives out.
const UNKNOWN_SCHEMA: u32 = i32::MAX.unsigned_abs();
/// Subjects of schemas that only poison has.
const SUBJECTS: [&str; 3] = ["chaos-text", "chaos-no-avro", "chaos-nullable-key"];
/// Bytes of a name that make the processed record larger than a record may be: it has the name twice.
const LONG_NAME: usize = 530_000;

/// How many records of each kind of error the brokers have acknowledged.
pub(crate) type Poisoned = BTreeMap<&'static str, u64>;

/// What is wrong with a record.
#[derive(Clone, Copy)]
enum Made {
    /// The mark alone.
    Bare,
    /// The mark behind the id of a schema.
    Behind(Id),
    /// A sound value, but for a field.
    With(Of, &'static str, fn() -> Value),
    /// A sound value without a key.
    WithoutKey,
    /// A sound value of another key.
    OfAnother,
    /// A sound value whose id, and key, is none.
    NoId,
}

#[derive(Clone, Copy)]
enum Id {
    Unknown,
    NoAvro,
    Text,
    Of(Of),
}

/// Schemas of values that are sound otherwise.
#[derive(Clone, Copy)]
enum Of {
    Raw,
    Processed,
    NullableKey,
}

/// For the processor: the kind of error, and what brings it about.
const RAW: [(&str, Made); 18] = [
    ("not_avro", Made::Bare),
    ("unknown_schema", Made::Behind(Id::Unknown)),
    ("unusable_schema", Made::Behind(Id::NoAvro)),
    ("undecodable", Made::Behind(Id::Text)),
    ("undecodable", Made::Behind(Id::Of(Of::Raw))),
    ("missing_key", Made::WithoutKey),
    ("key_mismatch", Made::OfAnother),
    ("missing_field", Made::With(Of::Raw, "first_name", || Value::Null)),
    ("invalid_id", Made::NoId),
    ("invalid_operation", Made::With(Of::Raw, "__op", || json!("x"))),
    ("invalid_country", Made::With(Of::Raw, "nat", || json!("LEGO"))),
    ("invalid_email", Made::With(Of::Raw, "email", || json!("nobody"))),
    ("invalid_phone", Made::With(Of::Raw, "phone", || json!("none"))),
    ("invalid_coordinates", Made::With(Of::Raw, "latitude", || json!(91.5))),
    // In 1700.
    ("implausible_date", Made::With(Of::Raw, "date_of_birth", || json!(-8_520_336_000_000_000_i64))),
    ("registered_before_birth", Made::With(Of::Raw, "date_of_birth", || json!(1_650_000_000_000_000_i64))),
    ("too_large", Made::With(Of::Raw, "last_name", || json!("o".repeat(LONG_NAME)))),
    // Once more among the cheap ones: it is what foreign producers write.
    ("not_avro", Made::Bare),
];

/// For the sink.
const PROCESSED: [(&str, Made); 6] = [
    ("not_avro", Made::Bare),
    ("unknown_schema", Made::Behind(Id::Unknown)),
    ("unusable_schema", Made::Behind(Id::Text)),
    ("undecodable", Made::Behind(Id::Of(Of::Processed))),
    ("invalid_change", Made::With(Of::Processed, "__op", || json!("x"))),
    ("null_key", Made::With(Of::NullableKey, "country", || Value::Null)),
];

struct Writer {
    id: u32,
    schema: Schema,
}

struct Schemas {
    raw: Writer,
    processed: Writer,
    nullable: Writer,
    text: u32,
    no_avro: u32,
}

/// Writes poison into both topics.
pub(crate) struct Poisoner {
    producer: FutureProducer<LoggedContext>,
    topics: [String; 2],
    schemas: Schemas,
}

impl Poisoner {
    /// The topics must have their schemas.
    pub(crate) async fn new(settings: &Settings) -> Result<Self, ChaosError> {
        let topics = settings.pipeline.data_topics().map(str::to_owned);
        let schemas = Schemas::register(settings, &topics).await.map_err(ChaosError::PoisonSchema)?;
        Ok(Self { producer: producer(&settings.kafka)?, topics, schemas })
    }

    /// Sends them with the keys of users until told to stop.
    pub(crate) async fn run(
        self,
        mut random: Pcg64Mcg,
        stop: Arc<AtomicBool>,
    ) -> Result<[Poisoned; 2], ChaosError> {
        let mut poisoned = [Poisoned::new(), Poisoned::new()];
        let kinds = RAW.iter().map(|kind| (0, kind)).chain(PROCESSED.iter().map(|kind| (1, kind)));
        for (number, (topic, (kind, made))) in kinds.cycle().enumerate() {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let user = Uuid::from_u128(FIRST_ID + u128::from(random.random_range(0..USERS))).to_string();
            let made = record(*made, &user, number, &self.schemas);
            let (key, value) = made.map_err(|error| ChaosError::PoisonSchema(error.into()))?;
            let record = FutureRecord { key: key.as_ref(), ..FutureRecord::to(&self.topics[topic]) };
            match self.producer.send(record.payload(&value), Timeout::Never).await {
                Ok(_) => *poisoned[topic].entry(*kind).or_default() += 1,
                // A broker that starts does not know its topics yet, and the record has not left.
                Err((error, _)) => tracing::info!(%error, "a poison record was not taken"),
            }
            let pause = Duration::from_millis(random.random_range(PAUSE_MS));
            let began = tokio::time::Instant::now();
            while began.elapsed() < pause && !stop.load(Ordering::Relaxed) {
                tokio::time::sleep(LOOK).await;
            }
        }
        Ok(poisoned)
    }
}

/// Idempotent, so that the broker has each record once however often it is sent.
fn producer(kafka: &KafkaConfig) -> Result<FutureProducer<LoggedContext>, ChaosError> {
    let settings = [
        ("enable.idempotence", "true"),
        ("partitioner", "murmur2_random"),
        // It waits for as long as a fault lasts.
        ("message.timeout.ms", "0"),
    ];
    let client = kafka.client("pipeline-chaos", &settings);
    client.create_with_context(LoggedContext::default()).map_err(ChaosError::Poison)
}

impl Schemas {
    async fn register(settings: &Settings, topics: &[String; 2]) -> Result<Self, BoxError> {
        let registry = Registry::new(&settings.registry)?;
        let mut writers = Vec::new();
        for topic in topics {
            let subject = format!("{topic}-value");
            let text = registry.latest_schema(&subject).await?.ok_or("a topic has no schema")?;
            let id = registry.id_of(&subject, &text).await?.ok_or("a schema has no id")?;
            writers.push((Writer { id, schema: text.parse()? }, text));
        }
        let [(raw, _), (processed, text)] =
            <[_; 2]>::try_from(writers).map_err(|_| "there are two topics")?;
        let [text_subject, no_avro, nullable] = SUBJECTS;
        let nullable_text = with_nullable(&text, "country")?;
        let id = registry.register(nullable, &nullable_text).await?;
        Ok(Self {
            raw,
            processed,
            nullable: Writer { id, schema: nullable_text.parse()? },
            text: registry.register(text_subject, "\"string\"").await?,
            no_avro: register_json(settings, no_avro).await?,
        })
    }

    const fn writer(&self, of: Of) -> &Writer {
        match of {
            Of::Raw => &self.raw,
            Of::Processed => &self.processed,
            Of::NullableKey => &self.nullable,
        }
    }

    const fn id(&self, id: Id) -> u32 {
        match id {
            Id::Unknown => UNKNOWN_SCHEMA,
            Id::NoAvro => self.no_avro,
            Id::Text => self.text,
            Id::Of(of) => self.writer(of).id,
        }
    }
}

/// The schema with a field that may be null.
fn with_nullable(schema: &str, name: &str) -> Result<String, BoxError> {
    let mut schema: Value = serde_json::from_str(schema)?;
    let fields = schema.get_mut("fields").and_then(Value::as_array_mut).ok_or("a schema has no fields")?;
    for field in fields.iter_mut().filter(|field| field["name"] == name) {
        field["type"] = json!(["null", field["type"]]);
    }
    Ok(schema.to_string())
}

/// Registers a schema of another language. Its id.
async fn register_json(settings: &Settings, subject: &str) -> Result<u32, BoxError> {
    let url = format!("{}/subjects/{subject}/versions", settings.registry.url.as_str().trim_end_matches('/'));
    let client = reqwest::Client::builder().timeout(settings.registry.timeout).no_proxy().build()?;
    // Apicurio knows the language by this alone.
    let schema = json!({ "$schema": "http://json-schema.org/draft-07/schema#", "type": "object" });
    let body = json!({ "schemaType": "JSON", "schema": schema.to_string() });
    let answer: Value = client.post(url).json(&body).send().await?.error_for_status()?.json().await?;
    let id = answer.get("id").and_then(Value::as_u64).ok_or("the registry gives no id")?;
    Ok(u32::try_from(id)?)
}

/// Key and value.
fn record(
    made: Made,
    user: &str,
    number: usize,
    schemas: &Schemas,
) -> Result<(Option<String>, Vec<u8>), serde_avro_fast::ser::SerError> {
    let key = Some(user.to_owned());
    let mark = format!("{MARK} {number}");
    let behind = |header: &[u8]| [header, mark.as_bytes()].concat();
    let with = |of, name: &str, value| {
        let mut fields = sound(user, &mark);
        fields.insert(name.to_owned(), value);
        encode(schemas.writer(of), fields)
    };
    Ok(match made {
        Made::Bare => (key, behind(&[])),
        Made::Behind(id) => (key, behind(&wire::header(schemas.id(id)))),
        Made::With(of, name, value) => (key, with(of, name, value())?),
        Made::WithoutKey => (None, with(Of::Raw, "id", json!(user))?),
        Made::OfAnother => {
            (Some(Uuid::from_u128(FIRST_ID - 1).to_string()), with(Of::Raw, "id", json!(user))?)
        }
        Made::NoId => (Some("nobody".to_owned()), with(Of::Raw, "id", json!("nobody"))?),
    })
}

/// The fields of either topic's values that can't be null, and those that the processor needs.
fn sound(user: &str, mark: &str) -> Map<String, Value> {
    let fields = json!({
        "id": user, "run_id": "chaos", "nat": "DK", "country": "DK", "registered_month": "2020-09", "bucket": 0,
        "registered_at": 1_600_000_000_000_000_i64, "fetched_at": 1_700_000_000_000_000_i64,
        "date_of_birth": 0, "first_name": "Åse", "last_name": "Dahl", "email": "a@example.com",
        "username": mark, "__op": "u", "__lsn": 1, "__commit_ts": 1_700_000_000_000_000_i64,
    });
    match fields {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

/// What the schema has of the fields; all others are null.
fn encode(
    writer: &Writer,
    mut fields: Map<String, Value>,
) -> Result<Vec<u8>, serde_avro_fast::ser::SerError> {
    let schema: Value = serde_json::from_str(writer.schema.json()).unwrap_or_default();
    let names: Vec<&str> = schema["fields"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|field| field["name"].as_str())
        .collect();
    fields.retain(|name, value| names.contains(&name.as_str()) && !value.is_null());
    let datum = serde_avro_fast::to_datum_vec(&fields, &mut SerializerConfig::new(&writer.schema))?;
    Ok([&wire::header(writer.id)[..], &datum].concat())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// As the relay makes it, less some columns.
    const RAW_SCHEMA: &str = r#"{"type": "record", "name": "users", "fields": [
        {"name": "id", "type": {"type": "string", "logicalType": "uuid"}},
        {"name": "run_id", "type": "string"},
        {"name": "fetched_at", "type": ["null", {"type": "long", "logicalType": "timestamp-micros"}]},
        {"name": "nat", "type": "string"},
        {"name": "first_name", "type": ["null", "string"]},
        {"name": "last_name", "type": ["null", "string"]},
        {"name": "street_number", "type": ["null", "int"]},
        {"name": "latitude", "type": ["null", "double"]},
        {"name": "email", "type": ["null", "string"]},
        {"name": "username", "type": ["null", "string"]},
        {"name": "date_of_birth", "type": ["null", {"type": "long", "logicalType": "timestamp-micros"}]},
        {"name": "registered_at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "phone", "type": ["null", "string"]},
        {"name": "__op", "type": "string"},
        {"name": "__lsn", "type": "long"},
        {"name": "__commit_ts", "type": {"type": "long", "logicalType": "timestamp-micros"}}]}"#;

    fn schemas() -> Schemas {
        let nullable = with_nullable(events::schemas::USERS_PROCESSED, "country").unwrap();
        let writer = |id, text: &str| Writer { id, schema: text.parse().unwrap() };
        Schemas {
            raw: writer(1, RAW_SCHEMA),
            processed: writer(2, events::schemas::USERS_PROCESSED),
            nullable: writer(3, &nullable),
            text: 4,
            no_avro: 5,
        }
    }

    #[test]
    fn every_kind_has_the_mark_and_is_sound_but_for_what_is_meant() {
        let schemas = schemas();
        let user = Uuid::from_u128(FIRST_ID).to_string();
        for (kind, made) in RAW.iter().chain(&PROCESSED) {
            let (key, value) = record(*made, &user, 3, &schemas).unwrap();
            assert!(String::from_utf8_lossy(&value).contains("poison of chaos 3"), "{kind}");
            assert_eq!(key.is_none(), *kind == "missing_key");
            if let Made::With(of, name, wrong) = made {
                let (_, datum) = wire::split(&value).unwrap();
                let fields: Map<String, Value> =
                    serde_avro_fast::from_datum_slice(datum, &schemas.writer(*of).schema).unwrap();
                assert_eq!(fields[*name], wrong(), "{kind}");
                assert_eq!(fields["run_id"], "chaos");
            }
        }
    }

    /// All reasons that the services have, less those that a record of a foreign producer can't have: the processor
    /// never fails to encode what its schema was made for, topics take nothing that is too large for the sink, and
    /// Cassandra refuses nothing that the mapping lets pass.
    #[test]
    fn every_kind_that_the_services_know_is_among_them() {
        let kinds =
            |kinds: &[(&'static str, Made)]| kinds.iter().map(|(kind, _)| *kind).collect::<BTreeSet<_>>();
        assert_eq!(kinds(&RAW).len(), 16);
        assert_eq!(kinds(&PROCESSED).len(), 6);
    }
}
