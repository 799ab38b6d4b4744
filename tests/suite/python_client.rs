//! The topics as a Confluent client in another language reads them.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use local_servers::{Artifact, Cache, Progress, fetch};
use pipeline_tests::{Flow, project_file, servers, wait};
use serde_json::Value;
use sqlx::Row as _;

const CLIENT: Artifact =
    Artifact::python("confluent-kafka-python", "tests", include_str!("../python/requirements.txt"));
const COUNT: usize = 300;

#[tokio::test(flavor = "multi_thread")]
async fn confluents_python_client_decodes_both_topics() {
    let cache = Cache::from_env().unwrap();
    fetch(&cache, &[CLIENT], &Progress::hidden()).await.unwrap();
    let flow = Flow::start("python_client").await;
    flow.fetch("python", COUNT).await;
    let env = &flow.env;
    let rows =
        sqlx::query("SELECT id::text, email, registered_at FROM users").fetch_all(&env.db).await.unwrap();
    let emails: BTreeMap<String, String> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();

    for topic in [env.raw_topic(), env.processed_topic()] {
        wait::until_equal(topic, Duration::from_secs(30), COUNT, async || env.records(topic).await.len())
            .await;
        let decoded = decode(&cache, topic);
        assert_eq!(decoded.len(), COUNT);
        for (key, value) in &decoded {
            assert_eq!(value["id"].as_str(), Some(key.as_str()));
            assert_eq!(value["email"].as_str(), emails.get(key).map(String::as_str));
            assert_eq!(value["__op"], "c");
            assert!(value["__lsn"].as_i64().is_some_and(|lsn| lsn > 0), "{value}");
            // A logical type: the client shows a time, not a number.
            assert!(value["registered_at"].as_str().is_some_and(|time| time.contains(':')), "{value}");
        }
    }
}

fn decode(cache: &Cache, topic: &str) -> BTreeMap<String, Value> {
    let python = cache.folder(&CLIENT).unwrap().join("bin/python");
    let output = Command::new(python)
        .arg(project_file("tests/python/decode_topic.py"))
        .args([&servers().kafka_bootstrap(), &servers().registry_url(), topic])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| {
            let record: Value = serde_json::from_str(line).unwrap();
            (record["key"].as_str().unwrap().to_owned(), record["value"].clone())
        })
        .collect()
}
