//! Some rows of a run, read as anybody would: with cqlsh.

use std::io::Write as _;

use command_line::Output;
use local_servers::{CQLSH, Cache, Progress};
use operate::config::Settings;
use secrecy::ExposeSecret as _;
use service::BoxError;
use tempfile::NamedTempFile;
use tokio::process::Command;

/// Shows the query and what it gives.
pub(super) async fn show(
    settings: &Settings,
    run_id: &str,
    rows: u32,
    output: &Output,
) -> Result<(), BoxError> {
    let cassandra = &settings.cassandra;
    let point = cassandra.contact_points.first().map(String::as_str).unwrap_or_default();
    let (host, port) = point.rsplit_once(':').unwrap_or((point, "9042"));
    let buckets: Vec<String> = (0..16).map(|bucket| bucket.to_string()).collect();
    let query = format!(
        "SELECT id, full_name, country, email, registered_at FROM {}.users_by_run WHERE run_id = '{}' AND bucket IN ({}) LIMIT {rows};",
        cassandra.keyspace,
        run_id.replace('\'', "''"),
        buckets.join(", ")
    );
    let cache = Cache::from_env()?;
    let progress = if output.is_json() { Progress::hidden() } else { Progress::auto() };
    local_servers::fetch(&cache, &[CQLSH], &progress).await?;
    let mut command = Command::new(cache.folder(&CQLSH)?.join("bin/cqlsh"));
    command.args(["--no-color", host, port, "-e", &query]).kill_on_drop(true);
    // A password on the command line could be seen by everybody on this machine.
    let mut credentials = NamedTempFile::new()?;
    if let (Some(user), Some(password)) = (&cassandra.user, &cassandra.password) {
        let password = password.expose_secret().replace('%', "%%");
        writeln!(credentials, "[PlainTextAuthProvider]\nusername = {user}\npassword = {password}")?;
        command.arg("--credentials").arg(credentials.path());
    }
    let done = command.output().await?;
    output.line(format_args!("\ncqlsh {host} {port} -e \"{query}\""));
    output.line(String::from_utf8_lossy(&done.stdout).trim_end());
    if !done.status.success() {
        return Err(format!(
            "cqlsh ended with {}: {}",
            done.status,
            String::from_utf8_lossy(&done.stderr).trim()
        )
        .into());
    }
    Ok(())
}
