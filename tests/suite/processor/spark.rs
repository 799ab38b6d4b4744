//! Spark in place of the stream processor, on a real cluster: the same bytes, once, whatever is killed, and never both.
//! Run by `make test-spark`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use events::wire;
use pipeline_tests::env::TOKEN;
use pipeline_tests::spark::{Submission, cluster};
use pipeline_tests::wait::SOON;
use pipeline_tests::{Record, Service, TestEnv, project_file, servers, wait};
use randomuser_sim::{SimConfig, Simulator};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use serde_json::json;

use crate::processor::{Gate, Users, arrived, ids, until_arrived};

const COUNT: usize = 100_000;
/// A job of Spark takes its time to start, and the machine has other things to do.
const PATIENCE: Duration = Duration::from_secs(600);

/// What must be the same, by key and in the order of the key.
type Outcomes = BTreeMap<String, Vec<(i32, Option<Vec<u8>>, Option<i64>, BTreeMap<String, String>)>>;

/// Another consumer group with other targets, of the same raw records.
async fn reader_of(source: &TestEnv, name: &str) -> TestEnv {
    let mut env = TestEnv::new(name).await;
    env.set("stream_processor.source_topic", source.raw_topic());
    env
}

async fn outcomes(env: &TestEnv) -> Outcomes {
    let mut all = Outcomes::new();
    for mut record in env.records(env.processed_topic()).await {
        // The number in the partition is the same, when it was counted from is not.
        let number = record.headers.remove("pipeline.seq").unwrap();
        record.headers.insert("number".to_owned(), number.split_once('/').unwrap().1.to_owned());
        let same = (record.partition, record.value, record.timestamp, record.headers);
        all.entry(record.key.unwrap()).or_default().push(same);
    }
    all
}

/// By where the record was.
async fn dead_letters(env: &TestEnv) -> BTreeMap<(String, String), Record> {
    let topic = env.get("stream_processor", "dead_letter_topic").to_owned();
    let letters = env.records(&topic).await;
    let count = letters.len();
    let by_source: BTreeMap<_, _> = letters
        .into_iter()
        .map(|mut letter| {
            assert!(letter.headers.remove("dlq.time").is_some());
            (letter.partition, letter.offset, letter.timestamp) = (0, 0, None);
            let source =
                ["dlq.source.partition", "dlq.source.offset"].map(|name| letter.headers[name].clone());
            (source.into(), letter)
        })
        .collect();
    assert_eq!(by_source.len(), count, "dead letters are repeated");
    by_source
}

/// Profiles of the simulated API through PostgreSQL and the relay, and what can't be processed among them.
async fn raw_records(env: &mut TestEnv) -> (usize, usize) {
    let sim = Simulator::bind(SimConfig::default()).await.unwrap();
    env.set("fetcher.api_url", sim.url()).set("fetcher.users_per_window", 0);
    let (fetcher, relay) = (env.start("fetcher").await, env.start("relay").await);
    fetcher.ready().await;
    relay.ready().await;
    let body = json!({"run_id": "spark", "count": COUNT});
    let request = reqwest::Client::new().post(fetcher.url("/runs")).bearer_auth(TOKEN).json(&body);
    assert_eq!(request.send().await.unwrap().status(), 202);
    until_there(env, env.raw_topic(), COUNT, "").await;
    relay.stop().await;
    let sound = env.records(env.raw_topic()).await.swap_remove(7);
    let (key, value) = (sound.key.unwrap(), sound.value.unwrap());
    let unknown = [&wire::header(u32::MAX >> 1)[..], b"x"].concat();
    let poison: [(Option<&str>, Option<&[u8]>); 6] = [
        (Some("json"), Some(b"{\"id\": 1}")),
        (Some("no schema"), Some(&unknown)),
        (Some(&key), Some(&value[..20])),
        (Some("another key"), Some(&value)),
        (None, Some(&value)),
        (Some(&key), Some(b"")),
    ];
    env.produce(env.raw_topic(), &poison);
    env.produce(env.raw_topic(), &[(Some(&key), Some(&value)), (Some("deleted"), None)]);
    (COUNT + 2, poison.len())
}

/// Offsets of a topic, markers of transactions included: no fewer than its records, and quick to ask for.
async fn offsets(env: &TestEnv, topic: &str) -> usize {
    let (bootstrap, topic) = (env.kafka_bootstrap().to_owned(), topic.to_owned());
    tokio::task::spawn_blocking(move || {
        let client: BaseConsumer = ClientConfig::new().set("bootstrap.servers", bootstrap).create().unwrap();
        let metadata = client.fetch_metadata(Some(&topic), SOON).unwrap();
        let partitions = metadata.topics()[0].partitions();
        let ends = partitions.iter().map(|at| client.fetch_watermarks(&topic, at.id(), SOON).unwrap().1);
        usize::try_from(ends.sum::<i64>()).unwrap()
    })
    .await
    .unwrap()
}

async fn until_there(env: &TestEnv, topic: &str, records: usize, hint: &str) {
    wait::until(&format!("{records} records in {topic}{hint}"), PATIENCE, async || {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let enough = offsets(env, topic).await >= records && env.records(topic).await.len() >= records;
        enough.then_some(())
    })
    .await;
}

async fn until_processed(env: &TestEnv, records: usize, job: &Service) {
    let ended = async { wait::until("", 2 * PATIENCE, async || job.ended()).await };
    let hint = format!(", of {}", job.name());
    tokio::select! {
        () = until_there(env, env.processed_topic(), records, &hint) => {}
        how = ended => panic!("{} ended: {how}\n{}", job.name(), job.log()),
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "make test-spark"]
async fn a_hundred_thousand_records_are_the_same_to_the_byte_also_when_a_worker_is_killed() {
    let mut processor = Box::pin(TestEnv::new("spark_conformance")).await;
    let (records, poison) = Box::pin(raw_records(&mut processor)).await;
    let service = processor.start("stream-processor").await;
    until_processed(&processor, records, &service).await;
    let expected = outcomes(&processor).await;
    let expected_dead = dead_letters(&processor).await;
    assert_eq!((expected.values().map(Vec::len).sum::<usize>(), expected_dead.len()), (records, poison));
    service.stop().await;

    let spark = reader_of(&processor, "spark_undisturbed").await;
    let began = Instant::now();
    let job = spark.submit(&Submission::default()).await;
    until_processed(&spark, records, &job).await;
    println!("Spark, undisturbed: {:.1} s from its submission", began.elapsed().as_secs_f64());
    assert!(outcomes(&spark).await == expected, "values differ; the job's log is {}", job.name());
    assert_eq!(dead_letters(&spark).await, expected_dead);
    assert!(job.log().contains("batch 0: "), "{}", job.log());
    job.stop().await;

    let spark = reader_of(&processor, "spark_killed").await;
    let job =
        spark.submit(&Submission { args: vec!["--max-records", "5000"], ..Submission::default() }).await;
    for (worker, part) in [("spark-worker-1", 8), ("spark-worker-2", 3)] {
        wait::until("some are processed", PATIENCE, async || {
            (offsets(&spark, spark.processed_topic()).await > records / part).then_some(())
        })
        .await;
        cluster().kill(worker).await.unwrap();
        let done = spark.records(spark.processed_topic()).await.len();
        println!("{worker} and its executor were killed when {done} of {records} records were processed");
        assert!(done < records, "there was nothing left to do");
        cluster().restart(worker).await.unwrap();
    }
    let at_driver = spark.records(spark.processed_topic()).await.len();
    // The driver as well: another start goes on where the group is.
    job.kill().await;
    println!("the driver was killed when {at_driver} of {records} records were processed");
    job.restart().await;
    until_processed(&spark, records, &job).await;
    assert!(outcomes(&spark).await == expected, "values differ; the job's log is {}", job.name());
    assert_eq!(dead_letters(&spark).await, expected_dead);
    job.stop().await;

    // And back: the processor goes on at Spark's position, and finds nothing to do.
    let service = spark.start("stream-processor").await;
    service.ready().await;
    let written = Users::new(&processor).await.produce(&processor, &ids(5), 5);
    until_processed(&spark, records + 5, &service).await;
    assert_eq!(written.len(), 5);
    assert_eq!(outcomes(&spark).await.values().map(Vec::len).sum::<usize>(), records + 5);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "make test-spark"]
async fn one_engine_works_at_a_time_and_the_other_says_so() {
    let env = TestEnv::new("spark_exclusion").await;
    let mut users = Users::new(&env).await;
    let mut written = users.produce(&env, &ids(10), 100);
    let processor = env.start("stream-processor").await;
    until_arrived(&env, 100).await;

    let job = env.submit(&Submission::default()).await;
    wait::until("the job is refused", PATIENCE, async || {
        job.log().contains("the stream-processor works on the consumer group").then_some(())
    })
    .await;
    assert!(job.log().contains("stop every stream-processor first"), "{}", job.log());
    job.exited().await;
    processor.stop().await;

    let job = env.submit(&Submission::default()).await;
    for (key, more) in users.produce(&env, &ids(10), 100) {
        written.entry(key).or_default().extend(more);
    }
    until_processed(&env, 200, &job).await;
    let processor = env.start("stream-processor").await;
    processor.waits_for("workers", "Spark's job works on the consumer group").await;
    assert_eq!(processor.exited().await, "exit status: 1");
    assert!(processor.log().contains("stop the job first"), "{}", processor.log());
    // Which did no harm to the job.
    for (key, more) in users.produce(&env, &ids(10), 100) {
        written.entry(key).or_default().extend(more);
    }
    until_processed(&env, 300, &job).await;
    assert_eq!(arrived(&env).await, written);
    for part in ["input_records_per_second", "batch"] {
        assert!(job.metric(&format!("pipeline_spark_{part}"), "").await.is_some(), "{part}");
    }

    job.kill().await;
    let processor = env.start("stream-processor").await;
    for (key, more) in users.produce(&env, &ids(10), 100) {
        written.entry(key).or_default().extend(more);
    }
    until_arrived(&env, 400).await;
    assert_eq!(arrived(&env).await, written);
    processor.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "make test-spark"]
async fn what_does_not_fit_is_refused_before_a_record_is_read() {
    let env = TestEnv::new("spark_refused").await;
    Users::new(&env).await.produce(&env, &ids(1), 10);
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| -> PathBuf {
        let file = folder.path().join(name);
        std::fs::write(&file, text).unwrap();
        file
    };
    // Not beside the programs: Python looks there first.
    let modules = folder.path().join("modules");
    std::fs::create_dir(&modules).unwrap();
    write("modules/datastreaming_spark.py", "__version__ = \"0.0.9\"\n");
    let script = std::fs::read_to_string(project_file("spark/users_job.py")).unwrap();
    let supported = "SPARK_VERSIONS = ((4, 1), (4, 3))";
    assert!(script.contains(supported));
    let newer = write("newer_job.py", &script.replace(supported, "SPARK_VERSIONS = ((9, 0), (9, 1))"));
    let submissions = [
        (
            Submission { modules: Some(modules), ..Submission::default() },
            "datastreaming_spark is version 0.0.9, this job expects 0.1.0",
        ),
        (
            Submission { connector: false, ..Submission::default() },
            "the connector jar spark-sql-kafka-0-10_2.13 is missing",
        ),
        (Submission { script: newer, ..Submission::default() }, "this is Spark 4.2.0; the job runs on 9.0"),
    ];
    for (submission, message) in submissions {
        let job = env.submit(&submission).await;
        wait::until(message, PATIENCE, async || job.log().contains(message).then_some(())).await;
        wait::until("the job ends", SOON, async || job.waiting().await.is_none().then_some(())).await;
    }
    // An executor that would write other bytes than the driver expects.
    let other = write("other.toml", "[stream_processor.pii]\nemail = \"mask\"\n");
    let files = format!("{},{}", project_file("config/pipeline.toml").display(), other.display());
    let settings = vec![("spark.executorEnv.PIPELINE_CONFIG", files)];
    let job = env.submit(&Submission { settings, ..Submission::default() }).await;
    let message = "has another configuration of [stream_processor] than the driver";
    wait::until(message, PATIENCE, async || job.log().contains(message).then_some(())).await;
    drop(job);
    assert_eq!(env.records(env.processed_topic()).await, []);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "make test-spark"]
async fn it_waits_for_what_is_away_and_says_for_what() {
    let mut env = TestEnv::new("spark_waits").await;
    let written = Users::new(&env).await.produce(&env, &ids(1), 10);
    let registry = Gate::new(servers().registry_url().trim_start_matches("http://")).await;
    env.set("registry.url", format!("http://{}", registry.address));
    registry.close();
    let job = env.submit(&Submission::default()).await;
    wait::until("the job waits for the registry", PATIENCE, async || {
        let waiting = job.waiting().await?;
        waiting["registry"].as_str()?.contains("does not answer").then_some(())
    })
    .await;
    assert_eq!(env.records(env.processed_topic()).await, []);
    registry.open();
    until_processed(&env, 10, &job).await;
    wait::until("the job is ready", PATIENCE, async || {
        let waiting = job.waiting().await?;
        (waiting == json!({})).then_some(())
    })
    .await;
    assert_eq!(arrived(&env).await, written);
}
