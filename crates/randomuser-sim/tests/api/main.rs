//! The simulator through its port, as a client sees it.

// clippy.toml frees the test functions only, not what they share.
#![allow(clippy::unwrap_used, clippy::panic)]

mod api;
mod conformity;
mod distribution;
mod faults;
mod process;

use std::sync::LazyLock;

use randomuser_sim::{Clock, SimConfig, Simulator};
use reqwest::{Client, ClientBuilder, Response};
use serde_json::Value;

/// A client that keeps responses as they are on the wire. Shared, because making one reads the machine's
/// certificates; without idle connections, because those would belong to the runtime of another test.
fn client() -> &'static Client {
    static CLIENT: LazyLock<Client> = LazyLock::new(|| builder().no_gzip().build().unwrap());
    &CLIENT
}

/// A client that asks for gzip and unpacks it.
fn unzipping_client() -> &'static Client {
    static CLIENT: LazyLock<Client> = LazyLock::new(|| builder().gzip(true).build().unwrap());
    &CLIENT
}

fn builder() -> ClientBuilder {
    // The other client may have installed it before.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder().pool_max_idle_per_host(0)
}

async fn start(config: SimConfig) -> Simulator {
    Simulator::bind(config).await.unwrap()
}

/// A simulator whose clock stands still, so that pages are equal byte for byte.
async fn start_at_noon() -> Simulator {
    let noon = "2026-07-01T12:00:00Z".parse().unwrap();
    start(SimConfig { clock: Clock::Fixed(noon), first_seed: Some(1), ..SimConfig::default() }).await
}

async fn get(sim: &Simulator, query: &str) -> Response {
    client().get(format!("{}?{query}", sim.url())).send().await.unwrap()
}

async fn text(sim: &Simulator, query: &str) -> String {
    let response = get(sim, query).await;
    assert_eq!(response.status(), 200, "{query}");
    response.text().await.unwrap()
}

async fn json(sim: &Simulator, query: &str) -> Value {
    serde_json::from_str(&text(sim, query).await).unwrap()
}

/// The profiles of a page.
async fn users(sim: &Simulator, query: &str) -> Vec<Value> {
    match json(sim, query).await["results"].take() {
        Value::Array(users) => users,
        other => panic!("results is {other}"),
    }
}
