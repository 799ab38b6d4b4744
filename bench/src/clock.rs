//! One run of a tool: when its first and last records were there, and what it and the servers took until then.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::Result;
use crate::measure::Usage;
use crate::report::{
    CASSANDRA_CPU, CPU, KAFKA_CPU, PEAK, PER_CPU, PER_CPU_STARTED, POSTGRES_CPU, RATE, Sample, WALL,
};
use crate::topics;
use crate::world::World;

/// How long a tool may take for its records.
const DEADLINE: Duration = Duration::from_secs(900);

/// How often a tool is asked how far it is.
const ASK_EVERY: Duration = Duration::from_millis(50);

/// The servers whose CPU time is noted, and under which name.
const SERVERS: [(&str, &str); 3] =
    [("postgres", POSTGRES_CPU), ("kafka", KAFKA_CPU), ("cassandra", CASSANDRA_CPU)];

/// What must be in a topic at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keys {
    /// A record, or more, of each row.
    OneEach,
    /// As many records as rows.
    Any,
}

/// A moment of a run.
#[derive(Debug, Clone)]
pub(crate) struct Moment {
    /// Seconds since the tool was started.
    seconds: f64,
    /// How much was there.
    count: f64,
    /// Of the servers, then of the tool.
    usage: Vec<Usage>,
}

/// Started just before the tool.
#[derive(Debug, Clone)]
pub(crate) struct Clock {
    servers: Vec<u32>,
    before: Vec<Usage>,
    began: Instant,
    /// Of the tool, in bytes; kept here because a program that has ended has none.
    peak: Arc<AtomicU64>,
}

impl Clock {
    /// Now.
    pub(crate) fn start(world: &World) -> Result<Self> {
        let servers = SERVERS.iter().map(|(name, _)| world.pid(name)).collect::<Result<Vec<u32>>>()?;
        let before = Usage::of_each(&servers);
        Ok(Self { servers, before, began: Instant::now(), peak: Arc::default() })
    }

    /// This moment, when there is so much.
    pub(crate) fn moment(&self, pid: u32, count: f64) -> Moment {
        let seconds = self.began.elapsed().as_secs_f64();
        let pids: Vec<u32> = self.servers.iter().copied().chain([pid]).collect();
        let usage = Usage::of_each(&pids);
        let peak = usage.last().map_or(0, |usage| usage.peak_bytes);
        self.peak.fetch_max(peak, Ordering::Relaxed);
        Moment { seconds, count, usage }
    }

    /// The moment when `count` gives so much or more.
    pub(crate) async fn reached(
        &self,
        pid: u32,
        enough: f64,
        mut count: impl AsyncFnMut() -> Result<f64>,
    ) -> Result<Moment> {
        let mut looks = 0_u32;
        loop {
            let found = count().await?;
            if looks.is_multiple_of(4) {
                self.moment(pid, found);
            }
            looks += 1;
            if found >= enough {
                return Ok(self.moment(pid, found));
            }
            if self.began.elapsed() > DEADLINE {
                return Err(format!("{found} of {enough} after {DEADLINE:?}").into());
            }
            tokio::time::sleep(ASK_EVERY).await;
        }
    }

    /// Follows the tool until its topic has all rows, and checks that each is there.
    pub(crate) async fn follow(
        self,
        world: &World,
        pid: u32,
        topic: &str,
        rows: u64,
        keyed: Keys,
    ) -> Result<Sample> {
        let bootstrap = world.stack.kafka_bootstrap();
        let (watched, name, clock) = (bootstrap.clone(), topic.to_owned(), self.clone());
        let watch =
            move || topics::watch(&watched, &name, rows, DEADLINE, |offsets| clock.moment(pid, offsets));
        let (first, last) = tokio::task::spawn_blocking(watch).await??;
        let (records, keys) = topics::count(&bootstrap, topic).await?;
        if records < rows || (keyed == Keys::OneEach && keys != rows) {
            return Err(format!("{records} records of {keys} keys, not of {rows}").into());
        }
        Ok(self.sample(rows as f64, &first, &last))
    }

    /// Rates between two moments, and what was taken until the last.
    ///
    /// Where hardly anything came after the first records, they count from the tool's start on.
    pub(crate) fn sample(&self, rows: f64, first: &Moment, last: &Moment) -> Sample {
        /// The least share of the records between the two moments that says how fast they came.
        const ENOUGH: f64 = 0.5;
        let start = Moment { seconds: 0.0, count: 0.0, usage: Vec::new() };
        let first = if first.count > last.count * (1.0 - ENOUGH) { &start } else { first };
        // Of a topic the counts are offsets, and have the markers of transactions among them, a few per thousand.
        let rest = rows * (last.count - first.count) / last.count;
        let tool = self.servers.len();
        let cpu = |at: &Moment, index: usize| at.usage.get(index).map_or(0.0, |usage| usage.cpu_seconds);
        let mut sample = Sample::from([
            (RATE, rest / (last.seconds - first.seconds)),
            (WALL, last.seconds),
            (CPU, cpu(last, tool)),
            (PER_CPU, rows / cpu(last, tool)),
            (PER_CPU_STARTED, rest / (cpu(last, tool) - cpu(first, tool))),
            (PEAK, self.peak.load(Ordering::Relaxed) as f64 / 1e6),
        ]);
        for (index, ((_, metric), before)) in SERVERS.iter().zip(&self.before).enumerate() {
            sample.insert(metric, cpu(last, index) - before.cpu_seconds);
        }
        sample
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_that_between_the_first_and_the_last_record() {
        let peak = Arc::new(AtomicU64::new(5_000_000));
        let clock = Clock { servers: Vec::new(), before: Vec::new(), began: Instant::now(), peak };
        let at = |seconds, count, cpu_seconds| Moment {
            seconds,
            count,
            usage: vec![Usage { cpu_seconds, peak_bytes: 0 }],
        };
        let sample = clock.sample(1000.0, &at(2.0, 200.0, 1.0), &at(4.0, 1000.0, 3.0));
        assert_eq!((sample[RATE], sample[WALL], sample[PEAK]), (400.0, 4.0, 5.0));
        assert_eq!((sample[CPU], sample[PER_CPU_STARTED]), (3.0, 400.0));
        let all_at_once = at(4.0, 1000.0, 2.0);
        let sample = clock.sample(1000.0, &all_at_once, &all_at_once);
        assert_eq!((sample[RATE], sample[PER_CPU_STARTED]), (250.0, 500.0));
    }
}
