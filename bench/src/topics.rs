//! Topics from the outside: made, watched as a `read_committed` reader sees them, counted, deleted.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::Result;

const TIMEOUT: Duration = Duration::from_secs(20);

/// How often the ends of the partitions are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How often `moment` is asked at the least: it keeps the peak of memory.
const NOTE_EVERY: Duration = Duration::from_millis(200);

/// A topic that has all records and then stays as it is for so long is complete.
const QUIET: Duration = Duration::from_millis(1500);

/// Makes an empty topic.
pub(crate) async fn create(bootstrap: &str, topic: &str, partitions: i32) -> Result<()> {
    let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
    for result in admin(bootstrap)?.create_topics([&new], &AdminOptions::new()).await? {
        result.map_err(|(topic, code)| format!("create {topic}: {code}"))?;
    }
    Ok(())
}

/// Topics whose names begin so.
pub(crate) fn named(bootstrap: &str, prefix: &str) -> Result<Vec<String>> {
    let metadata = consumer(bootstrap)?.fetch_metadata(None, TIMEOUT)?;
    let names = metadata.topics().iter().map(|topic| topic.name().to_owned());
    Ok(names.filter(|name| name.starts_with(&format!("{prefix}."))).collect())
}

/// Deletes topics.
pub(crate) async fn delete(bootstrap: &str, topics: &[String]) -> Result<()> {
    let names: Vec<&str> = topics.iter().map(String::as_str).collect();
    for result in admin(bootstrap)?.delete_topics(&names, &AdminOptions::new()).await? {
        result.map_err(|(topic, code)| format!("delete {topic}: {code}"))?;
    }
    Ok(())
}

/// Watches a topic until it has so many records, without reading them, which would take the processor from those
/// who are measured. Gives the moments of the first and of the last change; `moment` gets the offsets up to which a
/// `read_committed` reader could read, which count markers of transactions, too.
///
/// # Errors
/// They are not there within the deadline.
pub(crate) fn watch<M: Clone>(
    bootstrap: &str,
    topic: &str,
    rows: u64,
    deadline: Duration,
    moment: impl Fn(f64) -> M,
) -> Result<(M, M)> {
    let consumer = consumer(bootstrap)?;
    let rows = i64::try_from(rows)?;
    let (mut first, mut last) = (None, None);
    let began = Instant::now();
    let (mut changed, mut noted, mut before) = (began, began, 0);
    loop {
        let offsets = ends(&consumer, topic)?;
        if offsets > before {
            if first.is_none() || offsets >= rows {
                last = Some(moment(offsets as f64));
                first = first.or_else(|| last.clone());
            }
            (changed, before) = (Instant::now(), offsets);
        }
        if noted.elapsed() > NOTE_EVERY {
            moment(before as f64);
            noted = Instant::now();
        }
        if offsets >= rows && changed.elapsed() > QUIET {
            break;
        }
        if began.elapsed() > deadline {
            return Err(format!("{topic} has {before} of {rows} records after {deadline:?}").into());
        }
        std::thread::sleep(LOOK_EVERY);
    }
    first.zip(last).ok_or_else(|| "nothing was measured".into())
}

/// Sum of the positions up to which a `read_committed` reader can read; 0 for a topic that is not there yet.
fn ends(consumer: &BaseConsumer, topic: &str) -> Result<i64> {
    let mut sum = 0;
    for partition in 0..partitions(consumer, topic)? {
        sum += consumer.fetch_watermarks(topic, partition, TIMEOUT)?.1;
    }
    Ok(sum)
}

/// Records and different keys that a `read_committed` reader finds.
pub(crate) async fn count(bootstrap: &str, topic: &str) -> Result<(u64, u64)> {
    let (bootstrap, topic) = (bootstrap.to_owned(), topic.to_owned());
    let counted = tokio::task::spawn_blocking(move || {
        // Keys by their hashes: millions of texts would take much of the machine's memory.
        let (mut records, mut keys) = (0_u64, HashSet::new());
        read_each(&bootstrap, &topic, |key, _| {
            records += 1;
            keys.insert(hash(&key));
        })?;
        Ok::<_, crate::Error>((records, keys.len() as u64))
    });
    counted.await?
}

/// The same for topics with the same records in any order: keys, and values without the id of their schema.
pub(crate) async fn digest(bootstrap: &str, topic: &str) -> Result<u64> {
    let (bootstrap, topic) = (bootstrap.to_owned(), topic.to_owned());
    let digest = tokio::task::spawn_blocking(move || {
        let mut sum = 0_u64;
        read_each(&bootstrap, &topic, |key, value| {
            sum = sum.wrapping_add(hash(&(key, value.and_then(|value| value.get(5..)))));
        })?;
        Ok::<_, crate::Error>(sum)
    });
    digest.await?
}

fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// Key and value of every committed record up to now, partition by partition.
fn read_each(bootstrap: &str, topic: &str, mut take: impl FnMut(Option<&[u8]>, Option<&[u8]>)) -> Result<()> {
    let mut config = config(bootstrap);
    config.set("enable.auto.commit", "false").set("enable.partition.eof", "true");
    let consumer: BaseConsumer = config.create()?;
    let mut list = TopicPartitionList::new();
    let partitions = partitions(&consumer, topic)?;
    for partition in 0..partitions {
        list.add_partition_offset(topic, partition, Offset::Beginning)?;
    }
    consumer.assign(&list)?;
    let mut open = partitions;
    while open > 0 {
        match consumer.poll(TIMEOUT).ok_or_else(|| format!("nothing of {topic} came within {TIMEOUT:?}"))? {
            Ok(message) => take(message.key(), message.payload()),
            Err(KafkaError::PartitionEOF(_)) => open -= 1,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// 0 for a topic that is not there yet.
fn partitions(consumer: &BaseConsumer, topic: &str) -> Result<i32> {
    let metadata = consumer.fetch_metadata(Some(topic), TIMEOUT)?;
    Ok(i32::try_from(metadata.topics().first().map_or(0, |topic| topic.partitions().len()))?)
}

fn consumer(bootstrap: &str) -> Result<BaseConsumer> {
    Ok(config(bootstrap).create()?)
}

fn config(bootstrap: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set("group.id", "bench");
    config.set("isolation.level", "read_committed");
    config
}

fn admin(bootstrap: &str) -> Result<AdminClient<DefaultClientContext>> {
    Ok(ClientConfig::new().set("bootstrap.servers", bootstrap).create()?)
}
