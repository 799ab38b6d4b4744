//! Makes the servers ready as an operator does, with `pipeline migrate`.

use std::path::PathBuf;
use std::process::Stdio;

use local_servers::programs;
use operate::local::{Root, Secrets};
use serde_json::Value;
use service::config::ENV_PREFIX;
use tokio::process::Command;

use crate::error::ChaosError;

/// For servers that have answered already.
const WAIT: &str = "60s";

/// Makes tables, keyspace, topics and subjects where the configuration files say that the servers are.
///
/// # Errors
/// Fails with the command's own report if it fails.
pub(crate) async fn migrate(root: &Root, files: &[PathBuf], secrets: &Secrets) -> Result<(), ChaosError> {
    let program = programs()?.join("pipeline");
    if !program.is_file() {
        return Err(local_servers::Error::NotBuilt(program).into());
    }
    let mut command = Command::new(program);
    command.args(["migrate", "--json", "--wait", WAIT, "--root"]).arg(root.path());
    for file in files {
        command.arg("--config").arg(file);
    }
    command.envs(secrets.variables().into_iter().filter(|(name, _)| name.starts_with(ENV_PREFIX)));
    let ended = command.stdin(Stdio::null()).kill_on_drop(true).output().await;
    let ended = ended.map_err(|error| ChaosError::Migrate(error.into()))?;
    if ended.status.success() {
        return Ok(());
    }
    let document: Value = serde_json::from_slice(&ended.stdout).unwrap_or_default();
    let report = match document["error"].as_str() {
        Some(report) => report.to_owned(),
        None => format!("{}: {}", ended.status, String::from_utf8_lossy(&ended.stderr).trim()),
    };
    Err(ChaosError::Migrate(report.into()))
}
