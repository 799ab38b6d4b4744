//! All four services on one environment, fed by the simulated API.

use std::time::Duration;

use randomuser_sim::{SimConfig, Simulator};
use serde_json::{Value, json};

use crate::env::TOKEN;
use crate::{Service, TestEnv, wait};

/// The whole pipeline of one test.
pub struct Flow {
    /// The simulated API.
    pub sim: Simulator,
    /// Database, topics, keyspace.
    pub env: TestEnv,
    /// From the API to PostgreSQL.
    pub fetcher: Service,
    /// From PostgreSQL to the raw topic.
    pub relay: Service,
    /// From the raw to the processed topic.
    pub processor: Service,
    /// From the processed topic to Cassandra.
    pub sink: Service,
}

impl Flow {
    /// Starts everything and waits until it is ready.
    pub async fn start(name: &str) -> Self {
        let sim = Simulator::bind(SimConfig::default()).await.expect("the simulator");
        let mut env = TestEnv::new(name).await;
        env.set("fetcher.api_url", sim.url()).set("fetcher.users_per_window", 0);
        let fetcher = env.start("fetcher").await;
        let relay = env.start("relay").await;
        let processor = env.start("stream-processor").await;
        let sink = env.start("cassandra-sink").await;
        for service in [&fetcher, &relay, &processor, &sink] {
            service.ready().await;
        }
        Self { sim, env, fetcher, relay, processor, sink }
    }

    /// Asks for a run.
    pub async fn post_run(&self, run_id: &str, count: usize) {
        let body = json!({"run_id": run_id, "count": count});
        let request = reqwest::Client::new().post(self.fetcher.url("/runs")).bearer_auth(TOKEN).json(&body);
        let response = request.send().await.expect("an answer");
        assert_eq!(response.status(), 202);
    }

    /// Fetches a run to its end, and gives it as the fetcher shows it.
    pub async fn fetch(&self, run_id: &str, count: usize) -> Value {
        self.post_run(run_id, count).await;
        let url = self.fetcher.url(&format!("/runs/{run_id}"));
        let what = format!("{run_id} ends");
        let run: Value = wait::until(&what, Duration::from_secs(60), async || {
            let run: Value = reqwest::get(&url).await.ok()?.json().await.ok()?;
            matches!(run["status"].as_str(), Some("succeeded" | "failed")).then_some(run)
        })
        .await;
        assert_eq!(run["status"], "succeeded", "{run}");
        run
    }
}
