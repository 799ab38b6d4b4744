//! Runs of the fetcher, one after the other. What they fetch is made up by a simulator and compared like all rows.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use tokio::time::Instant;

/// What the ids of the runs begin with.
pub(crate) const RUN: &str = "chaos-run-";
/// Profiles of one run: several pages, so that a fault may come between them.
pub(crate) const PROFILES: u32 = 100;
/// Profiles of one page.
pub(crate) const PAGE: u32 = 10;
/// Between two questions.
const LOOK: Duration = Duration::from_millis(250);
/// Between two runs.
const PAUSE: Duration = Duration::from_millis(1_500);
/// For one request.
const PATIENCE: Duration = Duration::from_secs(2);
/// For the last run, when everything is healed.
const LAST_WITHIN: Duration = Duration::from_secs(120);

/// Where the fetcher is, and what it wants to see.
#[derive(Debug, Clone)]
pub(crate) struct Fetching {
    pub(crate) address: String,
    pub(crate) token: SecretString,
}

impl Fetching {
    /// One run after the other until told to stop. How many it has asked for: the last one ends, too, unless it takes
    /// too long.
    pub(crate) async fn run(self, stop: Arc<AtomicBool>) -> Result<u64, reqwest::Error> {
        let client = reqwest::Client::builder().timeout(PATIENCE).no_proxy().build()?;
        let mut runs = 0;
        while !stop.load(Ordering::Relaxed) {
            runs += 1;
            let id = format!("{RUN}{runs}");
            let mut overdue: Option<Instant> = None;
            // An answer may never come, and asking for a run twice is asking once.
            while !matches!(self.succeeded(&client, &id).await, Ok(true)) {
                if stop.load(Ordering::Relaxed)
                    && Instant::now() > *overdue.get_or_insert_with(|| Instant::now() + LAST_WITHIN)
                {
                    return Ok(runs);
                }
                tokio::time::sleep(LOOK).await;
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(runs)
    }

    /// Asks for the run and looks at it.
    async fn succeeded(&self, client: &reqwest::Client, id: &str) -> Result<bool, reqwest::Error> {
        let runs = format!("http://{}/runs", self.address);
        let body = json!({ "run_id": id, "count": PROFILES });
        let request = client.post(&runs).bearer_auth(self.token.expose_secret()).json(&body);
        request.send().await?.error_for_status()?;
        let run: Value = client.get(format!("{runs}/{id}")).send().await?.json().await?;
        Ok(run["status"] == "succeeded")
    }
}
