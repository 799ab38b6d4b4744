//! What a process takes: CPU time and resident memory, its children with it.

use std::collections::HashMap;
use std::fs;

/// CPU seconds and peak of resident bytes of some processes.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Usage {
    /// User and system time, that of children which have ended and were waited for with it.
    pub(crate) cpu_seconds: f64,
    /// Sum of the peaks of resident memory (`VmHWM`).
    pub(crate) peak_bytes: u64,
}

impl Usage {
    /// Of processes, each with its descendants that live, since each began.
    pub(crate) fn of_each(roots: &[u32]) -> Vec<Self> {
        let children = children();
        roots
            .iter()
            .map(|root| {
                let mut total = Self::default();
                for pid in family(*root, &children) {
                    total.cpu_seconds += cpu_seconds(pid).unwrap_or_default();
                    total.peak_bytes += peak_bytes(pid).unwrap_or_default();
                }
                total
            })
            .collect()
    }

    /// Of a process and its descendants.
    pub(crate) fn of(pid: u32) -> Self {
        Self::of_each(&[pid]).pop().unwrap_or_default()
    }
}

/// CPU time of all children of this process that have ended and were waited for.
pub(crate) fn reaped_cpu_seconds() -> f64 {
    ticks(std::process::id(), &[13, 14]).unwrap_or_default()
}

/// Every process by its parent.
fn children() -> HashMap<u32, Vec<u32>> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        if let Some(parent) = stat(pid).and_then(|fields| fields.get(1)?.parse().ok()) {
            children.entry(parent).or_default().push(pid);
        }
    }
    children
}

/// The process and all below it.
fn family(root: u32, children: &HashMap<u32, Vec<u32>>) -> Vec<u32> {
    let mut family = vec![root];
    let mut next = 0;
    while let Some(pid) = family.get(next) {
        let below = children.get(pid).cloned().unwrap_or_default();
        family.extend(below);
        next += 1;
    }
    family
}

/// The fields of `/proc/PID/stat` after the command, which may have blanks: state, parent and so on (proc(5)).
fn stat(pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(") ")?;
    Some(rest.split(' ').map(str::to_owned).collect())
}

fn cpu_seconds(pid: u32) -> Option<f64> {
    // utime, stime, cutime, cstime
    ticks(pid, &[11, 12, 13, 14])
}

/// Seconds in these fields of [`stat`].
fn ticks(pid: u32, fields: &[usize]) -> Option<f64> {
    /// `USER_HZ`, which is 100 on every Linux that Rust supports.
    const PER_SECOND: f64 = 100.0;
    let stat = stat(pid)?;
    let values = fields.iter().map(|index| stat.get(*index)?.parse::<f64>().ok());
    values.sum::<Option<f64>>().map(|ticks| ticks / PER_SECOND)
}

fn peak_bytes(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

/// Median, least and greatest.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub(crate) struct Spread {
    /// The middle one; between the two middle ones of an even number.
    pub(crate) median: f64,
    /// The least.
    pub(crate) min: f64,
    /// The greatest.
    pub(crate) max: f64,
}

impl Spread {
    /// Of some values; `None` of none.
    pub(crate) fn of(values: &[f64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        Some(Self { median: quantile(&sorted, 0.5)?, min, max })
    }
}

/// A quantile of sorted values, between two of them by their distance; `None` of none.
pub(crate) fn quantile(sorted: &[f64], at: f64) -> Option<f64> {
    let position = at * (sorted.len().checked_sub(1)? as f64);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index of the slice")]
    let below = position.floor() as usize;
    let low = *sorted.get(below)?;
    let high = *sorted.get(below + 1).unwrap_or(&low);
    Some(low + (high - low) * position.fract())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_takes_something() {
        let began = Usage::of(std::process::id());
        assert!(began.peak_bytes > 100_000);
        let mut sum = 0_u64;
        while Usage::of(std::process::id()).cpu_seconds < began.cpu_seconds + 0.02 {
            sum = std::hint::black_box(sum + 1);
        }
    }

    #[test]
    fn what_an_ended_child_took_is_not_lost() {
        let began = reaped_cpu_seconds();
        let script = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done";
        assert!(std::process::Command::new("sh").args(["-c", script]).status().unwrap().success());
        assert!(reaped_cpu_seconds() > began);
    }

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(Spread::of(&[]), None);
        assert_eq!(Spread::of(&[3.0, 1.0, 2.0]), Some(Spread { median: 2.0, min: 1.0, max: 3.0 }));
        assert_eq!(Spread::of(&[4.0, 1.0]), Some(Spread { median: 2.5, min: 1.0, max: 4.0 }));
        assert_eq!(quantile(&[0.0, 10.0, 20.0, 30.0, 40.0], 0.99), Some(39.6));
    }
}
