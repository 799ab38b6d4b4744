//! `pipeline down`: stops what `pipeline up` has started.

use std::time::{Duration, Instant};

use command_line::Output;
use local_servers::StackState;
use operate::local::Root;
use serde_json::json;
use service::BoxError;

/// Services drain, then servers flush; past this they are killed.
const PATIENCE: Duration = Duration::from_secs(120);

/// Stops everything, in good order where it can be; with `purge` it removes the data, too.
///
/// # Errors
/// A process that can't be ended, or data that can't be removed.
pub async fn run(root: &Root, purge: bool, output: &Output) -> Result<(), BoxError> {
    let begun = Instant::now();
    let state = StackState::load(root.path())?;
    let mut stopped = Vec::new();
    if let Some(state) = &state {
        stopped = state
            .processes
            .iter()
            .filter(|process| process.is_alive())
            .map(|process| process.name.clone())
            .collect();
        if state.is_running() {
            output.note(format_args!("stopping {} processes", stopped.len()));
        } else {
            output.note("the supervisor is gone; stopping what it has left behind");
        }
        state.terminate(PATIENCE).await?;
    }
    root.remove_manifest()?;
    if stopped.is_empty() {
        output.line(format_args!("nothing runs in {}", root.path().display()));
    } else {
        let seconds = begun.elapsed().as_secs_f64();
        output.line(format_args!("stopped {} in {seconds:.1} s", stopped.join(", ")));
    }
    let mut removed = Vec::new();
    if purge {
        removed = root.purge()?;
        for folder in &removed {
            output.line(format_args!("removed {}", folder.display()));
        }
    }
    output.document(&json!({ "stopped": stopped, "removed": removed }));
    Ok(())
}
