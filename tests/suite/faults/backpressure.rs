//! A server is away while rows go on being written: every service waits within its bounds, says what for, keeps its
//! partitions, and afterwards every stage has everything once.

// The figures are of use while it runs.
#![allow(clippy::print_stdout)]

use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use local_servers::{CommitLogSync, Server, Stack, StackConfig};
use pipeline_tests::{Service, TestEnv, Volume, wait};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use sqlx::{AssertSqlSafe, PgPool};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::deletes_and_order::{change, insert_known};
use crate::stages;

/// Longer than any time-out of the services that an outage could run into: sessions (10 s), transactions (15 s), and
/// [`POLL_INTERVAL`].
const OUTAGE: Duration = Duration::from_secs(20);
/// `max.poll.interval.ms` of the consumers, in place of a minute: who does not poll meanwhile loses its partitions.
const POLL_INTERVAL: &str = "10000";
/// Within which a service says that a server is away: calls to Kafka that follow one another take 8 s each.
const NOTICED_WITHIN: Duration = Duration::from_secs(60);
/// Within which everything catches up.
const PATIENCE: Duration = Duration::from_secs(420);
/// What a service may take to end, whatever its servers do.
const STOP_WITHIN: Duration = Duration::from_secs(10);
/// Set to 1 where no volume can be mounted: then nothing says that a full one is survived.
const NO_VOLUME: &str = "PIPELINE_TESTS_WITHOUT_VOLUME";
const SEED: u64 = 20_261_124;
const USERS: usize = 100;

/// Between two transactions of the load.
const BEAT: Duration = Duration::from_millis(100);
/// Rows of each, and changes of earlier ones beside them.
const ROWS: usize = 10;
const CHANGES: usize = 2;
/// Rows of each until there are [`TELLING`], in the tests that look for a buffer without bound.
const MANY_ROWS: usize = 60;
/// Rows that together are twice as large as what any service may hold.
const TELLING: usize = 34_000;
/// Most of a row, in its three pictures, which every stage but two of the tables keeps.
const ROW_BYTES: usize = 3 * 1600;
/// 4,800 characters that hardly compress: what consumers fetch ahead is bounded as it comes, compressed.
const NOISE: &str =
    "LATERAL (SELECT string_agg(md5(n || '/' || k), '') AS noise FROM generate_series(1, 150) k) x";
const INSERT: &str = "INSERT INTO users SELECT gen_random_uuid(), 'r', now(), chr(65 + n % 26) || 'K', 'female', 'Ms', \
     'Åse', 'Dahl', n, 'Vej', 'Ribe', 'Syd', 'Denmark', '6760', 1.5, 2.5, '+1:00', 'x', 'a@example.com', 'aase', \
     '1980-01-01', '2020-01-01'::timestamptz + n * '1 hour'::interval, '1', '2', NULL, NULL, \
     substr(noise, 1, 1600), substr(noise, 1601, 1600), substr(noise, 3201)";

/// A service and the most that it may hold in memory, in bytes: what it has when it is idle (about 20 MB), and its
/// buffers. Less than half of what is written in a long outage, so that a buffer without bound would show.
const BOUNDS: [(&str, u64); 3] = [
    // What librdkafka's producer queues (16 MiB), and its buffers for sending.
    ("relay", 80_000_000),
    // What librdkafka fetches ahead (4 MiB), compressed, a batch of that (4 MiB), and the producer's queue (16 MiB).
    ("stream-processor", 80_000_000),
    // What librdkafka fetches ahead (4 MiB), the queue (1 MiB), and what is in flight (8 MiB), encoded and decoded.
    ("cassandra-sink", 80_000_000),
];

const ALL: [&str; 3] = [BOUNDS[0].0, BOUNDS[1].0, BOUNDS[2].0];

/// All services between PostgreSQL and Cassandra, under load.
struct Pipeline {
    env: TestEnv,
    /// In the order of [`BOUNDS`].
    services: Vec<Service>,
    /// Resident bytes of each: at the beginning, and the most since.
    before: Vec<u64>,
    most: Vec<u64>,
    /// Rebalances of each at the beginning.
    rebalances: Vec<usize>,
    /// Rows that the load has inserted.
    rows: Arc<AtomicUsize>,
    stop: CancellationToken,
    load: JoinHandle<()>,
}

/// Writes transactions until told to stop, and counts the rows that they insert; larger ones until there are `telling`.
async fn load(db: PgPool, telling: usize, inserted: Arc<AtomicUsize>, stop: CancellationToken) {
    let mut random = StdRng::seed_from_u64(SEED);
    let mut beat = tokio::time::interval(BEAT);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !stop.is_cancelled() {
        beat.tick().await;
        let first = inserted.load(Ordering::Relaxed);
        let rows = if first < telling { MANY_ROWS } else { ROWS };
        let changes: Vec<_> = (0..CHANGES).map(|_| change(&mut random, USERS)).collect();
        // One query, so one transaction. If its connection breaks it is committed or not: both are right.
        let transaction = format!(
            "{INSERT} FROM generate_series({first}, {first} + {rows} - 1) n, {NOISE}; {}",
            changes.join("; ")
        );
        if sqlx::raw_sql(AssertSqlSafe(transaction)).execute(&db).await.is_ok() {
            inserted.fetch_add(rows, Ordering::Relaxed);
        }
    }
}

fn rebalances(service: &Service) -> usize {
    let log = service.log();
    ["partitions assigned", "partitions revoked"].iter().map(|line| log.matches(line).count()).sum()
}

impl Pipeline {
    /// Starts the services, and the load once a first row has come all the way: fast until there are `telling` rows.
    async fn start(mut env: TestEnv, telling: usize) -> Self {
        // A session may not be longer; librdkafka's own is.
        let properties = ["max.poll.interval.ms", "session.timeout.ms"]
            .map(|name| (name.to_owned(), POLL_INTERVAL.into()));
        env.set("kafka.properties", toml::Table::from_iter(properties));
        // In place of a minute, so that what is open when an outage begins has ended before its end.
        env.set("relay.transaction_timeout", "15s");
        insert_known(&env, USERS).await;
        let mut services = Vec::new();
        for (name, _) in BOUNDS {
            services.push(env.start(name).await);
        }
        for service in &services {
            service.ready().await;
        }
        stages::become_equal(&env, PATIENCE).await;
        let stop = CancellationToken::new();
        let rows = Arc::new(AtomicUsize::new(0));
        let load = tokio::spawn(load(env.db.clone(), telling, Arc::clone(&rows), stop.clone()));
        let before: Vec<u64> = services.iter().map(Service::resident_bytes).collect();
        let rebalances = services.iter().map(rebalances).collect();
        Self { env, services, most: before.clone(), before, rebalances, rows, stop, load }
    }

    fn service(&self, name: &str) -> &Service {
        let index = BOUNDS.iter().position(|(service, _)| *service == name).unwrap();
        &self.services[index]
    }

    fn look(&mut self) {
        for ((service, most), (name, bound)) in self.services.iter().zip(&mut self.most).zip(BOUNDS) {
            *most = service.resident_bytes().max(*most);
            assert!(*most > 0 && *most < bound, "{name} has {most} resident bytes; its bound is {bound}");
        }
    }

    /// Lets an outage last, and until there are `rows`, looking at the services all the while: `waiting` say that they
    /// wait for `server`, and go on saying so; the others are ready.
    async fn endure(&mut self, rows: usize, server: &str, waiting: &[&str]) {
        for name in waiting {
            let service = self.service(name);
            wait::until(&format!("{name} waits for {server}"), NOTICED_WITHIN, async || {
                service.waiting().await?.to_string().to_lowercase().contains(server).then_some(())
            })
            .await;
        }
        let began = Instant::now();
        while began.elapsed() < OUTAGE || self.rows.load(Ordering::Relaxed) < rows {
            assert!(began.elapsed() < PATIENCE, "the load has not come to {rows} rows");
            self.look();
            for (name, _) in BOUNDS {
                let reasons = self.service(name).waiting().await.unwrap().to_string();
                let ready = reasons == "{}";
                assert_eq!(ready, !waiting.contains(&name), "{name}: {reasons}");
            }
            // An outage lasts; nothing in it is waited for.
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// Waits until the relay has published this many rows more.
    async fn until_published(&self, rows: u32) {
        let published = async || self.service("relay").metric("pipeline_relay_rows_total", "").await;
        let before = published().await.unwrap();
        wait::until("the relay goes on", PATIENCE, async || {
            (published().await? >= before + f64::from(rows)).then_some(())
        })
        .await;
    }

    /// Waits until the services are ready again and everything has come through; `most_rebalances` of each service.
    async fn recover(&mut self, most_rebalances: usize) {
        let back = Instant::now();
        for service in &self.services {
            service.ready().await;
        }
        let ready = back.elapsed();
        self.until_published(300).await;
        self.stop.cancel();
        (&mut self.load).await.unwrap();
        let rows = self.rows.load(Ordering::Relaxed);
        let (caught_up, changes) = stages::become_equal(&self.env, PATIENCE).await;
        self.look();
        println!(
            "{}: {rows} rows, {changes} changes; ready after {:.1} s, caught up {:.1} s later",
            self.env.name(),
            ready.as_secs_f64(),
            caught_up.as_secs_f64()
        );
        for (index, (name, _)) in BOUNDS.into_iter().enumerate() {
            let count = rebalances(&self.services[index]) - self.rebalances[index];
            let (before, most) = (self.before[index] / 1_000_000, self.most[index] / 1_000_000);
            println!("  {name}: {before} MB before, {most} MB at the most, {count} rebalances");
            assert!(count <= most_rebalances, "{name}: {count} rebalances");
        }
    }
}

/// A configuration of these servers for a test alone.
fn own(name: &str, servers: &[Server]) -> StackConfig {
    let mut config = StackConfig::on_free_ports(pipeline_tests::fresh_root(name)).unwrap();
    config.servers = servers.to_vec();
    config
}

async fn end(pipeline: &Pipeline, own: &Stack) {
    for service in &pipeline.services {
        service.stop().await;
    }
    pipeline.env.db.close().await;
    own.shutdown().await.unwrap();
}

#[test]
fn what_is_written_would_show_a_buffer_without_bound() {
    let most = BOUNDS.iter().map(|(_, bound)| *bound).max().unwrap();
    assert!((TELLING * ROW_BYTES) as u64 > 2 * most);
}

#[tokio::test(flavor = "multi_thread")]
async fn cassandra_may_be_away_for_more_than_memory_holds() {
    let mut config = own("away_cassandra", &[Server::Cassandra]);
    // What a killed node acknowledged must be there when it is back.
    config.commit_log_sync = CommitLogSync::Group;
    let (cassandra, env) = TestEnv::with_own(config, "away_cassandra").await;
    let mut pipeline = Pipeline::start(env, TELLING).await;
    cassandra.kill("cassandra").await.unwrap();
    pipeline.endure(TELLING, "cassandra", &["cassandra-sink"]).await;
    cassandra.restart("cassandra").await.unwrap();
    pipeline.recover(0).await;
    end(&pipeline, &cassandra).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kafka_may_be_away_for_more_than_memory_holds() {
    let (kafka, env) = TestEnv::with_own(own("away_kafka", &[Server::Kafka]), "away_kafka").await;
    let mut pipeline = Pipeline::start(env, TELLING).await;
    kafka.kill("kafka").await.unwrap();
    pipeline.endure(TELLING, "kafka", &ALL).await;
    kafka.restart("kafka").await.unwrap();
    pipeline.recover(4).await;
    end(&pipeline, &kafka).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kafka_may_run_out_of_room() {
    const MEGABYTES: u32 = 256;
    let volume = match Volume::mount("small_volume", MEGABYTES) {
        Ok(volume) => volume,
        Err(reason) => {
            let allowed = std::env::var_os(NO_VOLUME).is_some_and(|value| value == "1");
            assert!(
                allowed,
                "a full volume can't be tested, since none could be mounted: {reason}. Run the tests as root in a \
                 place where `mount -t tmpfs` works, or set {NO_VOLUME}=1 to leave this test out"
            );
            // Past the harness, which shows what is printed only when a test fails.
            writeln!(std::io::stderr(), "NOT TESTED, as {NO_VOLUME}=1 allows: a full volume; {reason}")
                .unwrap();
            return;
        }
    };
    let config = own("full_kafka", &[Server::Kafka]);
    let data = config.root.join("data");
    std::fs::create_dir_all(&data).unwrap();
    symlink(volume.path(), data.join("kafka")).unwrap();
    let (kafka, env) = TestEnv::with_own(config, "full_kafka").await;
    let mut pipeline = Pipeline::start(env, 0).await;
    volume.fill();
    wait::until("the broker gives in", PATIENCE, async || {
        kafka.exited().iter().any(|(name, _)| name == "kafka").then_some(())
    })
    .await;
    let log = std::fs::read_to_string(kafka.log("kafka")).unwrap();
    assert!(log.contains("No space left on device") && log.contains("have failed"), "{log}");
    pipeline.endure(0, "kafka", &ALL).await;
    volume.free();
    kafka.restart("kafka").await.unwrap();
    pipeline.recover(4).await;
    end(&pipeline, &kafka).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_may_be_restarted_and_killed() {
    let (postgres, env) = TestEnv::with_own(own("away_postgres", &[Server::Postgres]), "away_postgres").await;
    let mut pipeline = Pipeline::start(env, 0).await;
    for clean in [true, false] {
        if clean {
            postgres.stop("postgres").await.unwrap();
        } else {
            postgres.kill("postgres").await.unwrap();
        }
        pipeline.endure(0, "postgres", &["relay"]).await;
        postgres.restart("postgres").await.unwrap();
        pipeline.until_published(300).await;
    }
    pipeline.recover(0).await;
    end(&pipeline, &postgres).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sink_stops_in_time_while_the_broker_hangs() {
    let (kafka, env) = TestEnv::with_own(own("hung_kafka", &[Server::Kafka]), "hung_kafka").await;
    let pipeline = Pipeline::start(env, 0).await;
    kafka.pause("kafka").unwrap();
    // Nobody notices yet; a commit of what was written since the last one has no answer.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let sink = pipeline.service("cassandra-sink");
    let took = sink.stop().await;
    let log = sink.log();
    let last = log.lines().last().unwrap_or_default();
    println!("stopped after {:.1} s: {last}", took.as_secs_f64());
    assert!(took < STOP_WITHIN && last.contains("stopped"), "after {took:?}: {last}");
    pipeline.stop.cancel();
    pipeline.load.await.unwrap();
    kafka.kill("kafka").await.unwrap();
}
