//! A run from its beginning to its report.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use command_line::Output;
use operate::config::Settings;
use operate::local::Root;
use service::cli::CommonArgs;
use service::{BoxError, error_chain};
use tokio::time::Instant;

use crate::check::{self, Comparison};
use crate::cli::Request;
use crate::error::ChaosError;
use crate::faults::schedule::{RELAY, schedule};
use crate::leaders;
use crate::load::{self, Done, Load};
use crate::player::{HEAL_WITHIN, Player};
use crate::report::Report;
use crate::setup::{Plan, Running};

/// Within which every stage catches up once everything is healed.
const QUIET_WITHIN: Duration = Duration::from_secs(240);
/// Between two comparisons.
const PAUSE: Duration = Duration::from_secs(1);

/// Breaks and compares; whether nothing was lost, repeated or out of order, and no service ended by itself.
///
/// # Errors
/// The run could not be carried out, or was broken off.
pub(crate) async fn run(
    folder: &Path,
    args: &CommonArgs,
    request: Request,
    output: &Output,
) -> Result<bool, BoxError> {
    let root = Root::new(&folder.join(format!("chaos-{}", request.seed)))?;
    let plan = Plan::new(root, args)?;
    let settings = plan.settings.clone();
    let logs = plan.root.path().join("logs");
    // Whatever ends this, the stack goes with it.
    let report = tokio::select! {
        report = Box::pin(carry_out(plan, &settings, request, output)) => report?,
        _ = tokio::signal::ctrl_c() => return Err("broken off".into()),
    };
    report.print(output);
    if !report.is_clean() {
        let Request { minutes, seed, rate } = request;
        output.note(format_args!(
            "the same faults again: chaos --minutes {minutes} --seed {seed} --rate {rate}; logs are in {}",
            logs.display()
        ));
    }
    Ok(report.is_clean())
}

async fn carry_out(
    plan: Plan,
    settings: &Settings,
    request: Request,
    output: &Output,
) -> Result<Report, ChaosError> {
    let steps = schedule(request.seed, Duration::from_secs(60) * request.minutes);
    let running = plan.start(output, async |settings| load::prepare(settings).await).await?;
    let faults: usize = steps.iter().map(|step| step.faults.len()).sum();
    output.note(format_args!("{faults} faults are to come"));
    let load = Load::start(settings, running.fetching(), request).await?;
    let ended = Arc::new(AtomicBool::new(false));
    let relays = tokio::spawn(leaders::watch(running.addresses(RELAY), Arc::clone(&ended)));
    let began = Instant::now();
    let mut player = Player::new(&running, output);
    player.play(&steps).await?;
    let lasted = began.elapsed();
    let done = load.finish().await?;
    output.note("everything is healed: waiting until every stage is equal");
    let healed = Instant::now();
    let comparison = quiet(&mut player, settings, &done).await?;
    let caught_up = healed.elapsed();
    let waiting = unready(&running, &mut player).await?;
    ended.store(true, Ordering::Relaxed);
    let both = relays.await.map_err(ChaosError::Cancelled)?;
    if both > leaders::AT_MOST {
        player.find(RELAY, format!("two were ready at once for {:.0} s", both.as_secs_f64()));
    }
    player.find_panics()?;
    for name in running.services.keys() {
        if running.stack.status().iter().any(|process| process.record.name == *name) {
            player.stop(name).await?;
        }
    }
    let report = Report {
        request,
        seconds: lasted.as_secs_f64(),
        caught_up_seconds: caught_up.as_secs_f64(),
        load: done,
        faults: player.tally,
        findings: player.findings,
        exits: player.exits,
        waiting,
        comparison,
    };
    running.stack.shutdown().await?;
    Ok(report)
}

/// Compares until every stage is equal, can't become it, or the time is over.
async fn quiet(player: &mut Player<'_>, settings: &Settings, done: &Done) -> Result<Comparison, ChaosError> {
    let deadline = Instant::now() + QUIET_WITHIN;
    loop {
        player.look().await?;
        let overdue = Instant::now() > deadline;
        match check::compare(settings, done).await {
            Ok(comparison) if overdue || comparison.is_final() => return Ok(comparison),
            // A server that was just started may not answer yet.
            Err(error) if overdue => return Err(error),
            Err(error) => tracing::info!(error = error_chain(&error), "not comparable yet"),
            Ok(_) => {}
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Services that are not ready although everything is: all but the one relay that stands by, which must not be.
async fn unready(running: &Running, player: &mut Player<'_>) -> Result<Vec<String>, ChaosError> {
    let deadline = Instant::now() + HEAL_WITHIN;
    loop {
        player.look().await?;
        let waiting = running.waiting().await;
        let (relays, others): (Vec<String>, Vec<String>) =
            waiting.into_iter().partition(|waiting| waiting.starts_with(RELAY));
        let left: Vec<String> = match relays.len() {
            0 => [vec!["two relays are ready".to_owned()], others].concat(),
            1 => others,
            _ => [relays, others].concat(),
        };
        if left.is_empty() || Instant::now() > deadline {
            return Ok(left);
        }
        tokio::time::sleep(PAUSE).await;
    }
}
