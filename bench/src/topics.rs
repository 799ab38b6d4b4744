//! Topics from the outside: made, watched as a `read_committed` reader sees them, counted, deleted.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::{Duration, Instant};

use pipeline_tests::records;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};

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
    let partitions = consumer
        .fetch_metadata(Some(topic), TIMEOUT)?
        .topics()
        .first()
        .map_or(0, |topic| topic.partitions().len());
    let mut sum = 0;
    for partition in 0..i32::try_from(partitions)? {
        sum += consumer.fetch_watermarks(topic, partition, TIMEOUT)?.1;
    }
    Ok(sum)
}

/// Records and different keys that a `read_committed` reader finds.
pub(crate) async fn count(bootstrap: &str, topic: &str) -> Result<(u64, u64)> {
    let (bootstrap, topic) = (bootstrap.to_owned(), topic.to_owned());
    let counted = tokio::task::spawn_blocking(move || {
        let (mut records, mut keys) = (0_u64, HashSet::new());
        records::read_each(&bootstrap, &topic, |record| {
            records += 1;
            keys.insert(record.key);
        });
        (records, keys.len() as u64)
    });
    Ok(counted.await?)
}

/// The same for topics with the same records in any order: keys, and values without the id of their schema.
pub(crate) async fn digest(bootstrap: &str, topic: &str) -> Result<u64> {
    let (bootstrap, topic) = (bootstrap.to_owned(), topic.to_owned());
    let digest = tokio::task::spawn_blocking(move || {
        let mut sum = 0_u64;
        records::read_each(&bootstrap, &topic, |record| {
            let mut hasher = DefaultHasher::new();
            let datum = record.value.as_deref().and_then(|value| value.get(5..));
            (record.key, datum).hash(&mut hasher);
            sum = sum.wrapping_add(hasher.finish());
        });
        sum
    });
    Ok(digest.await?)
}

fn consumer(bootstrap: &str) -> Result<BaseConsumer> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set("group.id", "bench");
    Ok(config.set("isolation.level", "read_committed").create()?)
}

fn admin(bootstrap: &str) -> Result<AdminClient<DefaultClientContext>> {
    Ok(ClientConfig::new().set("bootstrap.servers", bootstrap).create()?)
}
