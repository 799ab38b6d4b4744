//! Injects the faults of a schedule and heals them, and starts again what ended without being told to.

use std::collections::BTreeMap;
use std::time::Duration;

use command_line::Output;
use futures::future::try_join_all;
use local_servers::Error as ServerError;
use serde::Serialize;
use tokio::time::Instant;

use crate::error::ChaosError;
use crate::faults::proxy::Mode;
use crate::faults::schedule::{Fault, Kind, Step};
use crate::setup::{Running, STOP_WITHIN};

/// Within which a process is started again, with all that it needs.
pub(crate) const HEAL_WITHIN: Duration = Duration::from_secs(120);
/// How often processes are looked at.
const LOOK: Duration = Duration::from_millis(250);
/// Between two tries to start a server whose own server is away.
const RETRY_PAUSE: Duration = Duration::from_millis(500);
/// What a panic of Rust begins with in a log.
const PANIC: &str = " panicked at ";

/// A process that did what it must not.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Finding {
    /// Seconds since the first fault's time of peace began.
    pub(crate) seconds: f64,
    pub(crate) process: String,
    pub(crate) what: String,
}

/// Injected faults by target, then by kind.
pub(crate) type Tally = BTreeMap<&'static str, BTreeMap<&'static str, u32>>;

/// A run of faults.
pub(crate) struct Player<'a> {
    running: &'a Running,
    output: &'a Output,
    began: Instant,
    pub(crate) tally: Tally,
    pub(crate) findings: Vec<Finding>,
    /// Of servers: what they did that nobody told them to.
    pub(crate) exits: Vec<Finding>,
}

impl<'a> Player<'a> {
    pub(crate) fn new(running: &'a Running, output: &'a Output) -> Self {
        Self {
            running,
            output,
            began: Instant::now(),
            tally: Tally::new(),
            findings: Vec::new(),
            exits: Vec::new(),
        }
    }

    /// All of them, one step after the other; everything is healed afterwards.
    pub(crate) async fn play(&mut self, schedule: &[Step]) -> Result<(), ChaosError> {
        for step in schedule {
            self.rest(step.peace).await?;
            for fault in &step.faults {
                self.inject(fault).await?;
            }
            self.rest(step.lasting).await?;
            self.heal(&step.faults).await?;
        }
        Ok(())
    }

    /// Lets time pass, and looks at the processes meanwhile.
    async fn rest(&mut self, time: Duration) -> Result<(), ChaosError> {
        let until = Instant::now() + time;
        loop {
            self.look().await?;
            let now = Instant::now();
            if now >= until {
                return Ok(());
            }
            tokio::time::sleep(LOOK.min(until - now)).await;
        }
    }

    /// Notes what has ended by itself, and starts it again.
    pub(crate) async fn look(&mut self) -> Result<(), ChaosError> {
        for (name, how) in self.running.stack.exited() {
            let what = format!("ended by itself ({how}); {}", self.last_words(&name));
            if self.running.services.contains_key(&name) {
                self.find(&name, what);
            } else {
                // A server that can't stand what is done to it is one more fault for the services.
                self.say(format_args!("{name} {what}"));
                self.exits.push(self.finding(&name, what));
            }
            start(self.running, &name).await?;
            self.say(format_args!("{name} runs again"));
        }
        Ok(())
    }

    async fn inject(&mut self, fault: &Fault) -> Result<(), ChaosError> {
        // What has ended before is not ours.
        self.look().await?;
        let (running, name) = (self.running, fault.process());
        match fault.kind {
            Kind::Kill => running.stack.kill(&name).await?,
            Kind::Pause => match running.stack.pause(&name) {
                // It ended by itself just now, which the next look finds.
                Ok(()) | Err(ServerError::NotRunning { .. }) => {}
                Err(error) => return Err(error.into()),
            },
            Kind::Restart => self.stop(&name).await?,
            Kind::Join => start(running, &name).await?,
            Kind::Latency(delay) => self.set(fault, Mode::Latency(delay)),
            Kind::Reset => self.set(fault, Mode::Reset),
            Kind::HalfOpen(direction) => self.set(fault, Mode::Swallow(direction)),
        }
        let target = fault.target;
        match fault.kind {
            Kind::Kill => self.say(format_args!("{name} killed")),
            Kind::Pause => self.say(format_args!("{name} paused")),
            Kind::Restart => self.say(format_args!("{name} stopped to start again")),
            Kind::Join => self.say(format_args!("{name} joins")),
            Kind::Latency(delay) => {
                self.say(format_args!("connections to {target}: {} ms late", delay.as_millis()));
            }
            Kind::Reset => self.say(format_args!("connections to {target}: reset")),
            Kind::HalfOpen(direction) => {
                self.say(format_args!("connections to {target}: swallow {}", direction.name()));
            }
        }
        *self.tally.entry(target).or_default().entry(fault.kind.name()).or_default() += 1;
        Ok(())
    }

    async fn heal(&mut self, faults: &[Fault]) -> Result<(), ChaosError> {
        let mut starts = Vec::new();
        // At once first: what starts may need what is paused.
        for fault in faults {
            let name = fault.process();
            match fault.kind {
                Kind::Kill | Kind::Restart => starts.push(name),
                Kind::Pause => match self.running.stack.resume(&name) {
                    Ok(()) | Err(ServerError::NotRunning { .. }) => {
                        self.say(format_args!("{name} goes on"));
                    }
                    Err(error) => return Err(error.into()),
                },
                Kind::Join => {
                    self.stop(&name).await?;
                    self.say(format_args!("{name} has left"));
                }
                Kind::Latency(_) | Kind::Reset | Kind::HalfOpen(_) => {
                    self.set(fault, Mode::Pass);
                    self.say(format_args!("connections to {}: well again", fault.target));
                }
            }
        }
        try_join_all(starts.iter().map(|name| start(self.running, name))).await?;
        for name in starts {
            self.say(format_args!("{name} runs again"));
        }
        Ok(())
    }

    /// Stops a process in good order; one of ours that has to be killed after all is a finding.
    pub(crate) async fn stop(&mut self, name: &str) -> Result<(), ChaosError> {
        let began = Instant::now();
        self.running.stack.stop(name).await?;
        if self.running.services.contains_key(name) && began.elapsed() >= STOP_WITHIN {
            let words = self.last_words(name);
            self.find(name, format!("did not end within {} s of SIGTERM; {words}", STOP_WITHIN.as_secs()));
        }
        Ok(())
    }

    fn set(&self, fault: &Fault, mode: Mode) {
        if let Some(link) = self.running.links.get(fault.target) {
            link.set(mode);
        }
    }

    /// Looks for panics in the logs of our services.
    pub(crate) fn find_panics(&mut self) -> Result<(), ChaosError> {
        for name in self.running.services.keys() {
            let log = self.running.stack.log(name);
            let mut aside = log.clone().into_os_string();
            aside.push(".1");
            for file in [log, aside.into()] {
                let bytes = match std::fs::read(&file) {
                    Ok(bytes) => bytes,
                    // Those that never joined have none, and few are long enough to be set aside.
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                    Err(error) => return Err(ChaosError::Log { path: file, source: error }),
                };
                let text = String::from_utf8_lossy(&bytes);
                let found = text.lines().filter(|line| line.contains(PANIC));
                let panics: Vec<Finding> = found.map(|line| self.finding(name, line.to_owned())).collect();
                self.findings.extend(panics);
            }
        }
        Ok(())
    }

    /// Where a process has written, and what it has written last.
    fn last_words(&self, name: &str) -> String {
        let log = self.running.stack.log(name);
        let text = std::fs::read(&log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let last = text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("nothing");
        format!("the last line of {}: {last}", log.display())
    }

    pub(crate) fn find(&mut self, process: &str, what: String) {
        self.say(format_args!("FINDING: {process} {what}"));
        self.findings.push(self.finding(process, what));
    }

    fn finding(&self, process: &str, what: String) -> Finding {
        Finding { seconds: self.began.elapsed().as_secs_f64(), process: process.to_owned(), what }
    }

    fn say(&self, what: std::fmt::Arguments<'_>) {
        self.output.line(format_args!("{:7.1} s  {what}", self.began.elapsed().as_secs_f64()));
    }
}

/// Starts a process, whatever it was or is doing; tries again for as long as what it needs may take to be back.
async fn start(running: &Running, name: &str) -> Result<(), ChaosError> {
    let deadline = Instant::now() + HEAL_WITHIN;
    loop {
        let started = match running.services.get(name) {
            Some(service) if service.joins_later() => {
                running.stack.start_service(service.spec.clone(), env!("CARGO_PKG_VERSION")).await
            }
            _ => running.stack.restart(name).await,
        };
        match started {
            Ok(()) => return Ok(()),
            Err(error) if Instant::now() > deadline => return Err(error.into()),
            Err(_) => tokio::time::sleep(RETRY_PAUSE).await,
        }
    }
}
