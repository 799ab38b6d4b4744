//! `pipeline verify --wait` and servers that do not answer for a while: it asks again, but not what nobody can answer.

use std::time::Duration;

use pipeline_tests::{Flow, Gate, servers, wait};
use tokio::net::TcpListener;

use crate::relay::connections::{port_of, url};

const SOON: Duration = Duration::from_secs(60);
const RUN: &str = "waits";

async fn until_tried(what: &str, gate: &Gate, times: u64) {
    wait::until(&format!("{what} is tried"), SOON, async || (gate.tried() >= times).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_asks_again_whatever_server_was_away_or_silent() {
    let Flow { mut env, .. } = fetched("verify_away").await;
    let cassandra = Gate::before(port_of(&servers().cassandra())).await;
    let postgres = Gate::before(env.postgres_port()).await;
    let kafka = Gate::before(port_of(env.kafka_bootstrap())).await;
    let registry = Gate::before(port_of(env.get("registry", "url"))).await;
    env.set("cassandra.contact_points", vec![format!("127.0.0.1:{}", cassandra.port())]);
    env.set("cassandra.request_timeout", "1s");
    env.set("postgres.port", i64::from(postgres.port()));
    env.set("kafka.bootstrap_servers", format!("127.0.0.1:{}", kafka.port()));
    env.set("registry.url", url(registry.port(), &env));
    for gate in [&cassandra, &postgres, &kafka, &registry] {
        gate.close();
    }

    let mut verify = env.spawn("pipeline", &["verify", "--run", RUN, "--wait", "300s"]);
    // Twice: so it came back to a server that had not answered.
    for (what, gate, times) in
        [("Cassandra", &cassandra, 2), ("PostgreSQL", &postgres, 2), ("Kafka", &kafka, 1)]
    {
        until_tried(what, gate, times).await;
        gate.open();
    }
    until_tried("the registry", &registry, 1).await;
    // What worked a moment ago does not for the next request.
    cassandra.cut(None);
    registry.open();
    let status = tokio::task::spawn_blocking(move || verify.wait()).await.unwrap().unwrap();
    assert!(status.success(), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_does_not_wait_for_what_will_not_come() {
    let Flow { mut env, .. } = fetched("verify_never").await;
    let unknown = env.pipeline(&["verify", "--run", "nobody's", "--wait", "300s"]);
    let said = String::from_utf8_lossy(&unknown.stderr).into_owned();
    assert!(
        !unknown.status.success() && said.contains("no run \"nobody's\"") && said.contains(RUN),
        "{said}"
    );

    // Takes connections, and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    env.set("postgres.port", i64::from(silent.local_addr().unwrap().port()));
    let ended = tokio::task::spawn_blocking(move || env.pipeline(&["verify", "--run", RUN])).await.unwrap();
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(!ended.status.success() && said.contains("says nothing for 15 s"), "{said}");
}

/// A pipeline through which a run went.
async fn fetched(name: &str) -> Flow {
    let flow = Flow::start(name).await;
    flow.fetch(RUN, 100).await;
    let verified = flow.env.pipeline(&["verify", "--run", RUN, "--wait", "60s"]);
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
    flow
}
