//! `pipeline status`: prints what runs, how far each hop lags behind, and what every stage has.

use command_line::{Output, table};
use operate::config::Settings;
use operate::local::Root;
use operate::status::{self, Hop, StackStatus, Status};
use service::BoxError;

/// Prints what there is. Returns whether all that should run does.
///
/// # Errors
/// As of [`status::collect`].
pub async fn run(root: &Root, settings: &Settings, output: &Output) -> Result<bool, BoxError> {
    let status = status::collect(root, settings).await?;
    output.document(&status);
    print(&status, root, output);
    Ok(status.healthy)
}

fn print(status: &Status, root: &Root, output: &Output) {
    match &status.stack {
        None => output.line(format_args!("no stack runs in {}\n", root.path().display())),
        Some(stack) => print_stack(stack, output),
    }
    let services = status.services.iter().map(|service| vec![service.name.to_owned(), service.describe()]);
    output.line(format_args!("{}\n", table(&["service", "state"], services)));
    output.line(format_args!(
        "{}\n",
        table(&["hop", "from", "to", "lag", "lag (s)"], status.hops.iter().map(row))
    ));
    let counts = status.counts.iter().map(|(what, count)| vec![what.clone(), count.to_string()]);
    output.line(format_args!("{}\n", table(&["stage", "rows or offsets"], counts)));
    if let Some(run) = &status.latest_run {
        output.line(run);
    }
    for (what, problem) in &status.unknown {
        output.line(format_args!("{what} is unknown: {problem}"));
    }
}

fn row(hop: &Hop) -> Vec<String> {
    let lag = match (hop.active, hop.lag_bytes, hop.lag_records) {
        (Some(false), None, _) => "no slot".to_owned(),
        (Some(false), Some(bytes), _) => format!("{bytes} bytes, nobody reads"),
        (_, Some(bytes), _) => format!("{bytes} bytes"),
        (_, None, Some(records)) => format!("{records} offsets"),
        (_, None, None) => "unknown".to_owned(),
    };
    let seconds = hop.lag_seconds.map_or_else(|| "-".to_owned(), |seconds| format!("{seconds:.1}"));
    vec![hop.service.clone(), hop.from.clone(), hop.to.clone(), lag, seconds]
}

fn print_stack(stack: &StackStatus, output: &Output) {
    let processes = stack.processes.iter().map(|process| {
        let record = &process.record;
        let number = |number: Option<String>| number.unwrap_or_else(|| "-".to_owned());
        vec![
            record.name.clone(),
            record.version.clone(),
            number(record.port.map(|port| port.to_string())),
            number(record.process.filter(|_| process.alive).map(|id| id.pid.to_string())),
            format!("{}", process.resident_bytes.div_ceil(1_000_000)),
            process.describe(),
        ]
    });
    let header = ["process", "version", "port", "pid", "RSS (MB)", "state"];
    output.line(format_args!("{}\n", table(&header, processes)));
    if let Some(source) = &stack.source {
        output.line(format_args!("source: {} profiles ({})", source.source, source.reason));
    }
    output.line(format_args!("root: {}, secrets: {}\n", stack.root.display(), stack.secrets.display()));
}
