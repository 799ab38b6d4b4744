//! `pipeline verify`: prints whether the profiles of a run are the same at every stage.

use std::time::Duration;

use command_line::{Output, table};
use operate::config::Settings;
use operate::verify::{self, VerificationSummary};
use serde_json::json;
use service::BoxError;

/// Verifies once, or again and again until all is equal or `wait` is over. Returns whether it was equal. Of the ids
/// that differ `limit` are printed for each stage.
///
/// # Errors
/// As of [`verify::until_equal`].
pub async fn run(
    settings: &Settings,
    run_id: &str,
    limit: usize,
    wait: Duration,
    output: &Output,
) -> Result<bool, BoxError> {
    let summary =
        verify::until_equal(settings, run_id, wait, &|text| output.note(text)).await?.summary(limit);
    output.document(&json!(summary));
    print(&summary, output);
    Ok(summary.equal)
}

/// Prints a verification for people.
pub(crate) fn print(summary: &VerificationSummary, output: &Output) {
    let run = &summary.run;
    let source = match (run.fetched, run.simulated) {
        (0, _) => "no",
        (_, true) => "simulated",
        (_, false) => "live",
    };
    output.line(format_args!(
        "run {}: {}, {source} profiles; {} requested, {} fetched, {} rejected, {} repeated",
        run.run_id, run.status, run.requested, run.fetched, run.rejected, run.duplicates
    ));
    let rows = summary.stages.iter().map(|stage| {
        let counts = [
            stage.profiles as u64,
            stage.records,
            stage.duplicates,
            stage.out_of_order,
            stage.missing.count as u64,
            stage.unexpected.count as u64,
        ];
        std::iter::once(stage.stage.clone()).chain(counts.map(|count| count.to_string())).collect()
    });
    let header = ["stage", "profiles", "records", "repeated", "late", "missing", "unexpected"];
    output.line(table(&header, rows));
    for dead in &summary.dead_letters {
        output.line(format_args!("{}: {} of this run, {} in all", dead.topic, dead.of_run, dead.records));
    }
    for stage in &summary.stages {
        for (what, difference) in [("missing", &stage.missing), ("unexpected", &stage.unexpected)] {
            if difference.count > 0 {
                let ids: Vec<String> = difference.ids.iter().map(ToString::to_string).collect();
                let more = if difference.count > ids.len() { " ..." } else { "" };
                output.line(format_args!(
                    "{what} in {} ({}): {}{more}",
                    stage.stage,
                    difference.count,
                    ids.join(" ")
                ));
            }
        }
    }
    let verdict = if summary.equal { "all stages are equal" } else { "the stages differ" };
    output.line(format_args!("{verdict} ({:.1} s)", summary.seconds));
}
