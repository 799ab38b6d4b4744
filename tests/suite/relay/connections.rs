//! The relay's connections: a registry that is away, and connections to PostgreSQL that are dead without anybody
//! knowing.

use std::time::Duration;

use pipeline_tests::gate::Direction;
use pipeline_tests::wait::SOON;
use pipeline_tests::{Gate, Service, TestEnv, wait};

use crate::relay::{execute, ids, insert, keys, until_count};

/// A relay gives up a dead connection after its session's timeout and a heartbeat's interval, and PostgreSQL the session
/// as long after that.
const NOTICED: Duration = Duration::from_secs(45);
const SESSION_TIMEOUT: &str = "5s";
const HEARTBEAT_INTERVAL: &str = "1s";

const DIRECTIONS: [Option<Direction>; 3] = [Some(Direction::ToServer), Some(Direction::FromServer), None];

pub(crate) fn url(port: u16, env: &TestEnv) -> String {
    let url = env.get("registry", "url").to_owned();
    let path = url.split_once("://").and_then(|(_, rest)| rest.split_once('/')).map_or("", |(_, path)| path);
    format!("http://127.0.0.1:{port}/{path}")
}

pub(crate) fn port_of(address: &str) -> u16 {
    let host = address.split_once("://").map_or(address, |(_, rest)| rest).split('/').next().unwrap();
    host.rsplit_once(':').unwrap().1.parse().unwrap()
}

/// An environment whose services ask the registry through a gate.
async fn behind_a_gate(name: &str) -> (Gate, TestEnv) {
    let mut env = TestEnv::new(name).await;
    let gate = Gate::before(port_of(env.get("registry", "url"))).await;
    let gated = url(gate.port(), &env);
    env.set("registry.url", gated);
    (gate, env)
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_while_the_registry_is_away_it_loses_nothing() {
    let (gate, env) = behind_a_gate("relay_registry").await;
    let relay = env.start("relay").await;
    relay.ready().await;
    gate.close();
    // The first change under a new schema waits for it; many more are behind it, in the same transaction and others.
    execute(&env.db, "ALTER TABLE users ADD COLUMN nickname text").await;
    insert(&env.db, 2_000, 20).await;
    relay.waits_for("registry", "Schema Registry").await;
    let took = relay.stop().await;
    assert!(took < Duration::from_secs(10), "{took:?}");
    gate.open();
    relay.restart().await;
    relay.ready().await;
    insert(&env.db, 10, 10).await;
    assert_eq!(keys(&until_count(&env, 2_010).await), ids(&env.db).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_sent_before_the_wait_for_the_registry_is_committed_first() {
    let (gate, mut env) = behind_a_gate("relay_registry_open").await;
    env.set("relay.linger", "5s");
    let relay = env.start("relay").await;
    relay.ready().await;
    insert(&env.db, 1, 1).await;
    until_count(&env, 1).await;
    gate.close();
    execute(
        &env.db,
        "BEGIN; UPDATE users SET email = 'b@example.com'; ALTER TABLE users ADD COLUMN nickname text; \
         UPDATE users SET nickname = 'å'; COMMIT",
    )
    .await;
    relay.waits_for("registry", "Schema Registry").await;
    // The change under the old schema.
    until_count(&env, 2).await;
    relay.kill().await;
    gate.open();
    relay.restart().await;
    until_count(&env, 3).await;
}

/// Whether one of the relays becomes ready and publishes what is in the table by now.
async fn go_on(env: &TestEnv, relays: &[&Service], count: usize) {
    wait::until_equal(env.raw_topic(), NOTICED, count, async || env.records(env.raw_topic()).await.len())
        .await;
    assert_eq!(keys(&env.records(env.raw_topic()).await), ids(&env.db).await);
    wait::until("one is ready", SOON, async || {
        for relay in relays {
            let response = reqwest::get(relay.url("/readyz")).await.ok()?;
            if response.status().is_success() {
                return Some(());
            }
        }
        None
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_whose_connections_are_dead_is_begun_again() {
    for direction in DIRECTIONS {
        let mut env = TestEnv::new("relay_dead_stream").await;
        env.set("relay.session_timeout", SESSION_TIMEOUT).set("relay.heartbeat_interval", HEARTBEAT_INTERVAL);
        let gate = Gate::before(env.postgres_port()).await;
        env.set("postgres.port", i64::from(gate.port()));
        let relay = env.start("relay").await;
        relay.ready().await;
        insert(&env.db, 100, 10).await;
        until_count(&env, 100).await;
        gate.cut(direction);
        insert(&env.db, 100, 10).await;
        go_on(&env, &[&relay], 200).await;
        assert!(relay.stop().await < Duration::from_secs(10));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_whose_connections_are_dead_takes_over_all_the_same() {
    for direction in DIRECTIONS {
        let mut env = TestEnv::new("relay_dead_standby").await;
        env.set("relay.session_timeout", SESSION_TIMEOUT).set("relay.heartbeat_interval", HEARTBEAT_INTERVAL);
        let first = env.start("relay").await;
        first.ready().await;
        let gate = Gate::before(env.postgres_port()).await;
        env.set("postgres.port", i64::from(gate.port()));
        let second = env.start("relay").await;
        second.waits_for("slot", "standby").await;
        insert(&env.db, 100, 10).await;
        until_count(&env, 100).await;
        gate.cut(direction);
        first.kill().await;
        insert(&env.db, 100, 10).await;
        go_on(&env, &[&second], 200).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_whose_connections_are_dead_stops_in_time() {
    let mut env = TestEnv::new("relay_dead_stop").await;
    let first = env.start("relay").await;
    first.ready().await;
    let gate = Gate::before(env.postgres_port()).await;
    env.set("postgres.port", i64::from(gate.port()));
    let second = env.start("relay").await;
    second.waits_for("slot", "standby").await;
    gate.cut(None);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let took = second.stop().await;
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert!(second.log().lines().last().unwrap_or_default().contains("stopped"), "{}", second.log());
}
