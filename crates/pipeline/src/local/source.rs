//! Where the profiles come from: the real API, or the simulator where there is no way to it.

use std::time::Duration;

use operate::local::Source;
use service::error_chain;

/// What `--source` takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Choice {
    /// The real API if it answers now, else the simulator
    #[default]
    Auto,
    /// The real API
    Live,
    /// The simulator
    Sim,
}

/// How long the real API may take to answer for one profile.
const PATIENCE: Duration = Duration::from_secs(6);

/// The source to use, and why.
pub(super) async fn choose(choice: Choice, api: &str) -> (Source, String) {
    match choice {
        Choice::Live => (Source::Live, "asked for".to_owned()),
        Choice::Sim => (Source::Sim, "asked for".to_owned()),
        Choice::Auto => match ask(api).await {
            Ok(()) => (Source::Live, format!("{api} answers")),
            Err(problem) => (Source::Sim, format!("{api} can't be used now: {problem}")),
        },
    }
}

async fn ask(api: &str) -> Result<(), String> {
    let chain = |error: reqwest::Error| error_chain(&error);
    let client = reqwest::Client::builder().timeout(PATIENCE).build().map_err(chain)?;
    let response = client.get(api).query(&[("results", "1")]).send().await.map_err(chain)?;
    let status = response.status();
    if !status.is_success() {
        return Err(format!("it answers {status}"));
    }
    let body: serde_json::Value = response.json().await.map_err(chain)?;
    match body.get("results").and_then(serde_json::Value::as_array) {
        Some(profiles) if !profiles.is_empty() => Ok(()),
        _ => Err("its answer has no profile".to_owned()),
    }
}
