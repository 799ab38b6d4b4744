//! `randomuser-sim`: the simulator as a process. SIGTERM or Ctrl-C ends it after the requests under way.

mod cli;

use std::error::Error;
use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use randomuser_sim::{SimError, Simulator};
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main]
async fn main() -> ExitCode {
    match run(cli::Cli::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let mut message = error.to_string();
            let mut source = error.source();
            while let Some(cause) = source {
                message.push_str(&format!(": {cause}"));
                source = cause.source();
            }
            // Where standard error is closed there is nobody left to tell.
            let _ = writeln!(std::io::stderr(), "randomuser-sim: {message}");
            // As for a bad option: what was asked for is impossible, and trying again won't help.
            let misused = matches!(error.downcast_ref(), Some(SimError::Faults(_)));
            ExitCode::from(if misused { 2 } else { 1 })
        }
    }
}

async fn run(cli: cli::Cli) -> Result<(), Box<dyn Error>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let simulator = Simulator::bind(cli.into()).await?;
    // A closed standard output is no reason not to serve.
    let _ = writeln!(std::io::stdout(), "randomuser-sim: serving simulated users on {}", simulator.url());
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(simulator.shutdown().await?)
}
