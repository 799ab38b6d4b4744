//! Which faults, when, and for how long: all drawn before the run begins, from the seed alone.
//!
//! Every fault of every target is dealt from a shuffled deck, so that each comes about before one comes again.

use std::time::Duration;

use rand::seq::SliceRandom as _;
use rand::{RngExt as _, SeedableRng as _};
// A stream of numbers that stays the same from release to release, unlike that of `StdRng`.
use rand_pcg::Pcg64Mcg;

use super::proxy::Direction;

/// Instances of each service but the fetcher: a standby relay, and groups of two.
pub(crate) const INSTANCES: u8 = 2;
pub(crate) const RELAY: &str = "relay";
/// One is enough: a run belongs to one fetcher at a time.
pub(crate) const FETCHER: &str = "fetcher";
/// The services that share their work with those that join.
pub(crate) const GROUPS: [&str; 2] = ["stream-processor", "cassandra-sink"];
/// Servers by the name of their process, with how long each takes to be back, in milliseconds.
const SERVERS: [(&str, u64); 5] =
    [("postgres", 2_000), ("zookeeper", 3_000), ("kafka", 8_000), ("registry", 8_000), ("cassandra", 12_000)];
/// The same of a service.
const SERVICE_MS: u64 = 500;
/// The servers that services connect to, each through a proxy of ours.
pub(crate) const LINKS: [&str; 4] = ["postgres", "kafka", "registry", "cassandra"];

/// How long a fault lasts.
const LASTING_MS: std::ops::Range<u64> = 200..12_000;
/// Between two faults.
const PEACE_MS: std::ops::Range<u64> = 500..8_000;
const LATENCY_MS: std::ops::Range<u64> = 50..800;
/// How often two faults last at once.
const TWO_AT_ONCE: f64 = 0.3;

/// What is done to a target, and undone at the end of the fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// SIGKILL; started again.
    Kill,
    /// SIGSTOP; SIGCONT.
    Pause,
    /// SIGTERM, or what the server takes for it; started again.
    Restart,
    /// One more of a service joins; it leaves.
    Join,
    /// Everything on the way to the server comes late, and so does what comes back.
    Latency(Duration),
    /// All connections to the server are reset, new ones too.
    Reset,
    /// Bytes are swallowed and the connections stay open. New ones work afterwards; those that lost bytes never do.
    HalfOpen(Direction),
}

impl Kind {
    /// Names of all kinds, in the order of the report's columns.
    pub(crate) const NAMES: [&'static str; 7] =
        ["kill", "pause", "restart", "join", "latency", "reset", "half-open"];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Pause => "pause",
            Self::Restart => "restart",
            Self::Join => "join",
            Self::Latency(_) => "latency",
            Self::Reset => "reset",
            Self::HalfOpen(_) => "half-open",
        }
    }
}

/// One fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fault {
    /// A service or a server.
    pub(crate) target: &'static str,
    /// Which one of a service, from 1; 0 for a server.
    pub(crate) number: u8,
    pub(crate) kind: Kind,
}

impl Fault {
    /// Name of the process.
    pub(crate) fn process(&self) -> String {
        if self.number == 0 { self.target.to_owned() } else { process(self.target, self.number) }
    }

    /// How long it takes until all is well again, roughly.
    fn recovery_ms(&self) -> u64 {
        let server = SERVERS.iter().find(|(name, _)| *name == self.target).map(|(_, ms)| *ms);
        match self.kind {
            Kind::Kill | Kind::Restart => server.unwrap_or(SERVICE_MS),
            Kind::Join => SERVICE_MS,
            Kind::Pause | Kind::Latency(_) | Kind::Reset | Kind::HalfOpen(_) => 0,
        }
    }
}

/// The services and how many there are of each from the beginning.
pub(crate) fn instances() -> impl Iterator<Item = (&'static str, u8)> {
    [(FETCHER, 1), (RELAY, INSTANCES)].into_iter().chain(GROUPS.map(|service| (service, INSTANCES)))
}

/// Name of the process of an instance of a service.
pub(crate) fn process(service: &str, number: u8) -> String {
    format!("{service}-{number}")
}

/// Faults that begin and end together, after a time of peace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) peace: Duration,
    /// One or two, of different targets.
    pub(crate) faults: Vec<Fault>,
    pub(crate) lasting: Duration,
}

/// All of a run that takes about as long as `within`.
pub(crate) fn schedule(seed: u64, within: Duration) -> Vec<Step> {
    let mut random = Pcg64Mcg::seed_from_u64(seed);
    let mut deck = Vec::new();
    let mut steps = Vec::new();
    let mut elapsed = Duration::ZERO;
    while elapsed < within {
        let peace = Duration::from_millis(random.random_range(PEACE_MS));
        let lasting = Duration::from_millis(random.random_range(LASTING_MS));
        let at_once = if random.random_bool(TWO_AT_ONCE) { 2 } else { 1 };
        let mut faults: Vec<Fault> = Vec::new();
        while faults.len() < at_once {
            let Some(next) = deck.pop() else {
                deck = all(&mut random);
                continue;
            };
            if faults.iter().any(|fault| fault.target == next.target) {
                deck.push(next);
                break;
            }
            faults.push(next);
        }
        let recovery = faults.iter().map(Fault::recovery_ms).max().unwrap_or(0);
        elapsed += peace + lasting + Duration::from_millis(recovery);
        steps.push(Step { peace, faults, lasting });
    }
    steps
}

/// Every fault of every target once, shuffled.
fn all(random: &mut Pcg64Mcg) -> Vec<Fault> {
    let mut all = Vec::new();
    for (target, count) in instances() {
        for number in 1..=count {
            for kind in [Kind::Kill, Kind::Pause, Kind::Restart] {
                all.push(Fault { target, number, kind });
            }
        }
    }
    for target in GROUPS {
        all.push(Fault { target, number: INSTANCES + 1, kind: Kind::Join });
    }
    for (target, _) in SERVERS {
        for kind in [Kind::Kill, Kind::Pause, Kind::Restart] {
            all.push(Fault { target, number: 0, kind });
        }
    }
    for target in LINKS {
        let latency = Duration::from_millis(random.random_range(LATENCY_MS));
        let half_open = [Direction::ToServer, Direction::FromServer, Direction::Both].map(Kind::HalfOpen);
        for kind in [Kind::Latency(latency), Kind::Reset].into_iter().chain(half_open) {
            all.push(Fault { target, number: 0, kind });
        }
    }
    all.shuffle(random);
    all
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const HALF_AN_HOUR: Duration = Duration::from_secs(1800);

    #[test]
    fn a_seed_gives_the_same_faults_and_a_longer_run_begins_with_those_of_a_shorter_one() {
        let steps = schedule(7, HALF_AN_HOUR);
        assert_eq!(steps, schedule(7, HALF_AN_HOUR));
        assert_ne!(steps, schedule(8, HALF_AN_HOUR));
        assert!(steps.starts_with(&schedule(7, HALF_AN_HOUR / 10)));
    }

    #[test]
    fn half_an_hour_has_every_fault_of_every_target() {
        let steps = schedule(1, HALF_AN_HOUR);
        let faults: Vec<Fault> = steps.iter().flat_map(|step| step.faults.clone()).collect();
        let wanted = all(&mut Pcg64Mcg::seed_from_u64(1));
        for fault in wanted {
            let same =
                |other: &&Fault| other.process() == fault.process() && other.kind.name() == fault.kind.name();
            assert!(faults.iter().find(same).is_some(), "{fault:?}");
        }
        for step in steps {
            let targets: BTreeSet<&str> = step.faults.iter().map(|fault| fault.target).collect();
            assert!(!targets.is_empty() && targets.len() == step.faults.len(), "{step:?}");
        }
    }
}
