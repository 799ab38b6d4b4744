//! What a topic says of each key, as a `read_committed` consumer sees it.

use std::collections::{BTreeMap, BTreeSet};

use events::Registry;
use events::meta::Op;
use kafka::KafkaConfig;
use kafka::reader::{Part, read_to_end};
use operate::dlq::RecordPosition;
use operate::stamp::StampDecoder;
use rdkafka::Message as _;
use rdkafka::message::BorrowedMessage;
use serde::Deserialize;
use tokio::runtime::Handle;
use uuid::Uuid;

use super::stage::{Differences, Stage};
use super::state::{Ops, State, States};
use crate::error::ChaosError;
use crate::load::poison::MARK;

const CLIENT: &str = "pipeline-chaos";

/// One change, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) op: u8,
    pub(super) lsn: i64,
    /// `None` after a delete.
    pub(super) state: Option<State>,
}

/// A value of either topic. They differ in the name of the country.
#[derive(Deserialize)]
pub(super) struct Value {
    run_id: String,
    /// Of `users.processed`.
    country: Option<String>,
    /// Of `users.raw`, whose column `country` has the name of the country.
    nat: Option<String>,
    /// In microseconds since the epoch.
    registered_at: i64,
    email: Option<String>,
    username: Option<String>,
    document_name: Option<String>,
    document_value: Option<String>,
    #[serde(rename = "__op")]
    op: String,
    #[serde(rename = "__lsn")]
    lsn: i64,
}

impl From<Value> for Change {
    fn from(value: Value) -> Self {
        let state = (value.op != Op::Delete.as_str()).then(|| State {
            run_id: value.run_id,
            country: value.nat.or(value.country).unwrap_or_default(),
            registered_at: value.registered_at,
            email: value.email,
            username: value.username,
            document_name: value.document_name,
            document_value: value.document_value,
        });
        Self { op: value.op.as_bytes().first().copied().unwrap_or(b'?'), lsn: value.lsn, state }
    }
}

/// Of one key.
#[derive(Debug, Default)]
pub(super) struct History {
    /// LSN and kind, in the order of the topic.
    pub(super) changes: Vec<(i64, u8)>,
    pub(super) tombstones: u64,
    /// After the last record.
    last: Option<State>,
}

impl History {
    pub(super) fn add(&mut self, change: Change) {
        self.changes.push((change.lsn, change.op));
        self.last = change.state;
    }

    /// By LSN, each once.
    fn distinct(&self) -> BTreeMap<i64, u8> {
        self.changes.iter().copied().collect()
    }

    /// Changes that an earlier record has, and others that came after a later one.
    fn disorder(&self) -> (u64, u64) {
        let (mut seen, mut repeated, mut late) = (BTreeSet::new(), 0, 0);
        for (lsn, _) in &self.changes {
            if seen.last().is_some_and(|last| lsn < last) && !seen.contains(lsn) {
                late += 1;
            }
            repeated += u64::from(!seen.insert(*lsn));
        }
        (repeated, late)
    }
}

/// Of a topic.
#[derive(Debug, Default)]
pub(super) struct Histories {
    pub(super) by_key: BTreeMap<Uuid, History>,
    /// Where the poison records are.
    pub(super) poison: BTreeSet<RecordPosition>,
    /// Other records that can't be read.
    pub(super) foreign: Vec<RecordPosition>,
}

impl Histories {
    /// Records of all kinds.
    fn records(&self) -> u64 {
        let of_key = |history: &History| history.changes.len() as u64 + history.tombstones;
        self.by_key.values().map(of_key).sum::<u64>() + self.poison.len() as u64 + self.foreign.len() as u64
    }
}

/// How topics are read.
pub(super) struct Reader {
    pub(super) kafka: KafkaConfig,
    pub(super) registry: Registry,
    pub(super) runtime: Handle,
}

impl Reader {
    /// Reads a topic, on a thread of its own.
    pub(super) async fn read(self, topic: &str) -> Result<Histories, ChaosError> {
        let topic = topic.to_owned();
        let read = move || {
            let mut stamps = StampDecoder::new(self.registry, self.runtime);
            let mut histories = Histories::default();
            read_to_end(&self.kafka, CLIENT, &topic, Part::default(), |record| {
                take(record, &mut stamps, &mut histories)
            })?;
            Ok(histories)
        };
        tokio::task::spawn_blocking(read).await.map_err(ChaosError::Cancelled)?
    }
}

fn take(
    record: &BorrowedMessage<'_>,
    stamps: &mut StampDecoder,
    histories: &mut Histories,
) -> Result<(), ChaosError> {
    let key = record.key().and_then(|key| Uuid::try_parse_ascii(key).ok());
    let value = record.payload();
    if value.is_some_and(is_poison) {
        histories.poison.insert(RecordPosition::of(record));
        return Ok(());
    }
    let (Some(key), value) = (key, value) else {
        histories.foreign.push(RecordPosition::of(record));
        return Ok(());
    };
    let Some(value) = value else {
        histories.by_key.entry(key).or_default().tombstones += 1;
        return Ok(());
    };
    match stamps.decode_as::<Value>(value).map_err(ChaosError::Schema)? {
        None => histories.foreign.push(RecordPosition::of(record)),
        Some(value) => histories.by_key.entry(key).or_default().add(value.into()),
    }
    Ok(())
}

/// Whether our own foreign producer made this value.
pub(super) fn is_poison(value: &[u8]) -> bool {
    value.windows(MARK.len()).any(|window| window == MARK.as_bytes())
}

/// A topic against the changes that PostgreSQL committed and the rows that it has.
pub(super) fn with_changes(
    topic: &str,
    found: &Histories,
    changes: &BTreeMap<Uuid, Ops>,
    rows: &States,
    differences: &mut Differences,
) -> Stage {
    let mut stage = stage(topic, found, rows, differences);
    let none = History::default();
    for key in keys(changes.keys(), found.by_key.keys()) {
        let wanted = changes.get(key).map(Vec::as_slice).unwrap_or_default();
        let history = found.by_key.get(key).unwrap_or(&none);
        let ops: Ops = history.distinct().into_values().collect();
        stage.lost += wanted.len().saturating_sub(ops.len()) as u64;
        stage.unexpected += ops.len().saturating_sub(wanted.len()) as u64;
        if ops != wanted {
            stage.different += u64::from(ops.len() == wanted.len());
            differences.add(topic, key, || {
                format!(
                    "{} changes, {} in PostgreSQL; the last are {}, in PostgreSQL {}",
                    ops.len(),
                    wanted.len(),
                    last_ops(&ops),
                    last_ops(wanted)
                )
            });
        }
    }
    stage
}

/// A topic against the one that it is made from, change by change, and the rows that PostgreSQL has.
pub(super) fn with_source(
    topic: &str,
    found: &Histories,
    source: &Histories,
    rows: &States,
    differences: &mut Differences,
) -> Stage {
    let mut stage = stage(topic, found, rows, differences);
    let none = History::default();
    for key in keys(source.by_key.keys(), found.by_key.keys()) {
        let wanted = source.by_key.get(key).unwrap_or(&none).distinct();
        let has = found.by_key.get(key).unwrap_or(&none).distinct();
        let missing: Vec<i64> = wanted.keys().filter(|lsn| !has.contains_key(lsn)).copied().collect();
        let unexpected: Vec<i64> = has.keys().filter(|lsn| !wanted.contains_key(lsn)).copied().collect();
        stage.lost += missing.len() as u64;
        stage.unexpected += unexpected.len() as u64;
        let other_ops = has.iter().any(|(lsn, op)| wanted.get(lsn).is_some_and(|wanted| wanted != op));
        stage.different += u64::from(other_ops);
        if !missing.is_empty() || !unexpected.is_empty() || other_ops {
            differences.add(topic, key, || {
                format!(
                    "{} of {} changes are missing, first LSN {:?}; {} are not in the source, first LSN {:?}",
                    missing.len(),
                    wanted.len(),
                    missing.first(),
                    unexpected.len(),
                    unexpected.first()
                )
            });
        }
    }
    stage
}

/// What can be said of a topic by itself, and of the state that its keys end in.
fn stage(topic: &str, found: &Histories, rows: &States, differences: &mut Differences) -> Stage {
    let mut stage = Stage { records: found.records(), ..Stage::named(topic) };
    for position in &found.foreign {
        stage.unexpected += 1;
        differences.add(topic, &format!("{}/{}", position.partition, position.offset), || {
            "can't be read, and is none of ours".to_owned()
        });
    }
    for (key, history) in &found.by_key {
        let (repeated, late) = history.disorder();
        stage.repeated += repeated;
        stage.out_of_order += late;
        if repeated + late > 0 {
            differences.add(topic, key, || {
                format!("{repeated} repeated, {late} out of order: {:?}", history.changes)
            });
        }
        let deletes =
            history.changes.iter().filter(|(_, op)| [*op] == Op::Delete.as_str().as_bytes()).count();
        if history.tombstones != deletes as u64 {
            stage.different += 1;
            differences.add(topic, key, || format!("{deletes} deletes, {} tombstones", history.tombstones));
        }
    }
    for key in keys(rows.keys(), found.by_key.keys()) {
        let (wanted, has) = (rows.get(key), found.by_key.get(key).and_then(|history| history.last.as_ref()));
        if wanted != has {
            stage.different += 1;
            differences.add(topic, key, || format!("ends as {has:?}, in PostgreSQL as {wanted:?}"));
        }
    }
    stage
}

fn keys<'k>(
    some: impl Iterator<Item = &'k Uuid>,
    others: impl Iterator<Item = &'k Uuid>,
) -> BTreeSet<&'k Uuid> {
    some.chain(others).collect()
}

/// The last kinds of changes, for people.
fn last_ops(ops: &[u8]) -> String {
    const SHOWN: usize = 20;
    let from = ops.len().saturating_sub(SHOWN);
    let dots = if from > 0 { "…" } else { "" };
    format!("{dots}{}", String::from_utf8_lossy(ops.get(from..).unwrap_or_default()))
}
