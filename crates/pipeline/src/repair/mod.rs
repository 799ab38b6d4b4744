//! `pipeline repair`: what readers miss, published once more from PostgreSQL.
//!
//! A reader that misses numbers ([`kafka::sequence`]) has them in the metadata of its committed offset. The rows that
//! they may have been about are those of the records that are there after all ([`records`]), those where two
//! neighbouring stages differ, and those whose changes do not follow from one another ([`state`]): there the change
//! that is missing was followed by another one. The relay is asked for them by messages in the WAL
//! ([`events::repair`]), so that they have a place in the order of all changes; a record of its own behind them says
//! that the gap is repaired.

mod gaps;
mod orders;
mod plan;
mod records;
mod state;
mod table;

use std::collections::HashSet;
use std::time::{Duration, Instant};

use command_line::{Output, table as columns};
use events::Registry;
use kafka::dead_letter;
use operate::config::Settings;
use operate::dlq::{self, RecordPosition};
use operate::offsets::OffsetsError;
use operate::wait;
use serde_json::json;
use service::BoxError;
use tokio::runtime::Handle;

use gaps::Gap;
use plan::Plan;
use records::{Reader, Records};
use table::Source;

/// What the stages have.
struct Stages {
    raw: Records,
    processed: Records,
}

/// Repairs what is missing, or says what would be, and waits until no reader misses it any more. Whether nothing is
/// missing in the end.
///
/// # Errors
/// A server that can't be asked.
pub async fn run(
    settings: &Settings,
    dry_run: bool,
    within: Duration,
    output: &Output,
) -> Result<bool, BoxError> {
    let found = gaps::find(settings).await?;
    if found.is_empty() {
        output.line("nothing is missing");
        output.document(&json!({ "gaps": [], "rows": 0, "left": 0 }));
        return Ok(true);
    }
    let mut source = Source::connect(settings).await?;
    // Of what the processor could not process nothing is missing.
    let (kafka, letters) = (settings.kafka.clone(), dead_letter::topic(&settings.pipeline.raw_topic));
    let set_aside = tokio::task::spawn_blocking(move || dlq::open_sources(&kafka, &letters)).await??;
    let raw = scan(settings, &settings.pipeline.raw_topic, &found, set_aside).await?;
    let processed = scan(settings, &settings.pipeline.processed_topic, &found, HashSet::new()).await?;
    let stages = Stages { raw, processed };
    let mut plans = Vec::new();
    for gap in found {
        plans.push(plan(settings, gap, &stages, &mut source).await?);
    }
    print(&plans, output);
    let rows: usize = plans.iter().map(|plan| plan.keys.len()).sum();
    if dry_run {
        output.line(format_args!("{rows} rows would be published again"));
        document(&plans, rows, plans.len(), output);
        return Ok(false);
    }
    for plan in &plans {
        orders::send(&mut source, plan, &stages.raw).await?;
    }
    output.line(format_args!("{rows} rows are to be published again"));
    let left = until_closed(settings, &plans, within, output).await?;
    document(&plans, rows, left, output);
    Ok(left == 0)
}

async fn scan(
    settings: &Settings,
    topic: &str,
    gaps: &[Gap],
    set_aside: HashSet<RecordPosition>,
) -> Result<Records, BoxError> {
    let reader = Reader {
        kafka: settings.kafka.clone(),
        registry: Registry::new(&settings.registry)?,
        runtime: Handle::current(),
        topic: topic.to_owned(),
        gaps: gaps.to_vec(),
        set_aside,
    };
    Ok(tokio::task::spawn_blocking(move || reader.read()).await??)
}

/// Which rows a gap may be about.
async fn plan(settings: &Settings, gap: Gap, stages: &Stages, source: &mut Source) -> Result<Plan, BoxError> {
    let Stages { raw, processed } = stages;
    let own = if gap.topic == settings.pipeline.raw_topic { raw } else { processed };
    let (passed, mut keys) = own.passed(&gap);
    if passed < gap.missing.count() {
        let of_gap = |key: &str| own.partition_of(key) == gap.partition;
        keys.extend(source.differing(raw, of_gap).await?);
        keys.extend(own.torn().filter(|key| of_gap(key)).map(str::to_owned));
        if gap.topic == settings.pipeline.processed_topic {
            keys.extend(raw.ahead_of(processed).filter(|key| of_gap(key)).map(str::to_owned));
        }
    }
    let note_key = own.key_of_nobody(gap.partition);
    Ok(Plan { gap, passed, keys, note_key })
}

/// How many gaps are left after the time.
async fn until_closed(
    settings: &Settings,
    plans: &[Plan],
    within: Duration,
    output: &Output,
) -> Result<usize, BoxError> {
    let begun = Instant::now();
    let still_open = |open: &Vec<Gap>| plans.iter().filter(|plan| open.contains(&plan.gap)).count();
    let closed = |open: &Vec<Gap>| still_open(open) == 0;
    let look = || gaps::find(settings);
    let open =
        wait::until_reached(within, &|text| output.note(text), OffsetsError::is_transient, closed, look)
            .await?;
    let left = still_open(&open);
    if left == 0 {
        output.line(format_args!("nothing is missing any more, {:.1} s", begun.elapsed().as_secs_f32()));
    } else {
        output.line(format_args!(
            "{left} gaps are still open: the records are on their way if relay, stream-processor and \
             cassandra-sink run; `pipeline repair` again shows whether they arrived"
        ));
    }
    Ok(left)
}

fn print(plans: &[Plan], output: &Output) {
    let rows = plans.iter().map(|plan| {
        let missing = plan.gap.missing;
        vec![
            plan.gap.group.clone(),
            format!("{}/{}", plan.gap.topic, plan.gap.partition),
            format!("{}-{}", missing.first, missing.last),
            missing.count().to_string(),
            plan.passed.to_string(),
            plan.keys.len().to_string(),
        ]
    });
    output
        .line(columns(&["reader", "partition", "numbers", "missing", "of them in the topic", "rows"], rows));
}

fn document(plans: &[Plan], rows: usize, left: usize, output: &Output) {
    let gaps: Vec<_> = plans
        .iter()
        .map(|plan| {
            json!({
                "group": plan.gap.group,
                "topic": plan.gap.topic,
                "partition": plan.gap.partition,
                "missing": plan.gap.missing,
                "in_topic": plan.passed,
                "rows": plan.keys.len(),
            })
        })
        .collect();
    output.document(&json!({ "gaps": gaps, "rows": rows, "left": left }));
}
