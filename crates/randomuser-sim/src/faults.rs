//! Faults on request: which requests fail, and how.
//!
//! A plan gives each fault a probability and a seed, so that the same sequence of requests meets the same faults.
//! `next` comes first: it fails the next N requests in a fixed way, for tests that need to know.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::draw::Draw;
use crate::poison::{Poison, PoisonPlan, choose};

/// A way for a request to fail. Names in JSON and on the command line are in snake case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// 429 with `Retry-After` in seconds and a JSON error.
    TooManyRequests,
    /// 500, 502, 503 or 504 with a text body.
    ServerError,
    /// 200 with a JSON body that ends early; the HTTP message is complete.
    Truncated,
    /// 200, but the connection closes within the response.
    Cut,
    /// 200 with an HTML page.
    NotJson,
    /// The connection is reset before a byte of the response.
    Reset,
    /// The right answer after [`FaultPlan::slow_ms`].
    Slow,
    /// 200 with the API's documented `{"error": …}`.
    ErrorEnvelope,
}

impl Fault {
    /// Every kind.
    pub const ALL: [Self; 8] = [
        Self::TooManyRequests,
        Self::ServerError,
        Self::Truncated,
        Self::Cut,
        Self::NotJson,
        Self::Reset,
        Self::Slow,
        Self::ErrorEnvelope,
    ];

    /// The name in JSON, on the command line and in the statistics.
    pub fn name(self) -> &'static str {
        match self {
            Self::TooManyRequests => "too_many_requests",
            Self::ServerError => "server_error",
            Self::Truncated => "truncated",
            Self::Cut => "cut",
            Self::NotJson => "not_json",
            Self::Reset => "reset",
            Self::Slow => "slow",
            Self::ErrorEnvelope => "error_envelope",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A run of requests that all meet the same fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NextFault {
    /// What happens to them.
    pub fault: Fault,
    /// How many requests.
    pub times: u32,
}

/// What goes wrong from now on. The default is: nothing. Setting a plan replaces the one before and starts its
/// random sequence anew.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FaultPlan {
    /// Seed of the draws for faults and poison.
    pub seed: u64,
    /// Probability of each fault per request, 0 to 1; the sum is at most 1.
    pub faults: BTreeMap<Fault, f64>,
    /// Probability of each damage per profile, 0 to 1; the sum is at most 1.
    pub poison: BTreeMap<Poison, f64>,
    /// Faults of the next requests, in order, before any probability counts.
    pub next: Vec<NextFault>,
    /// `Retry-After` of [`Fault::TooManyRequests`], in seconds.
    pub retry_after_s: u32,
    /// Delay of [`Fault::Slow`], in milliseconds; at most 10 minutes.
    pub slow_ms: u64,
}

impl Default for FaultPlan {
    fn default() -> Self {
        Self {
            seed: 0,
            faults: BTreeMap::new(),
            poison: BTreeMap::new(),
            next: Vec::new(),
            retry_after_s: 1,
            slow_ms: 1_000,
        }
    }
}

/// A plan that can't be carried out.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum FaultPlanError {
    /// A probability outside 0 to 1.
    #[error("probability of {kind} is {value}; give a number from 0 to 1")]
    Probability {
        /// The fault's or the damage's name.
        kind: &'static str,
        /// What was given.
        value: f64,
    },
    /// Probabilities that exclude each other add up to more than 1.
    #[error(
        "probabilities in `{group}` add up to {sum}; one request or profile has one {group} at most, so give 1 or less"
    )]
    Sum {
        /// `faults` or `poison`.
        group: &'static str,
        /// What they add up to.
        sum: f64,
    },
    /// More entries than are kept.
    #[error("`next` has {count} entries; give {max} or fewer (each may repeat with `times`)")]
    TooManyNext {
        /// Entries given.
        count: usize,
        /// Entries allowed.
        max: usize,
    },
    /// A delay that no client waits for.
    #[error("`slow_ms` is {given}; give {max} or less")]
    TooSlow {
        /// Milliseconds given.
        given: u64,
        /// Milliseconds allowed.
        max: u64,
    },
}

impl FaultPlan {
    const MAX_NEXT: usize = 1_000;
    const MAX_SLOW_MS: u64 = 600_000;

    /// Checks that the plan can be carried out.
    ///
    /// # Errors
    /// A probability or a sum of them outside 0 to 1, more than 1,000 entries in `next`, a delay above 10 minutes.
    pub fn validate(&self) -> Result<(), FaultPlanError> {
        check("faults", self.faults.iter().map(|(kind, &value)| (kind.name(), value)))?;
        check("poison", self.poison.iter().map(|(kind, &value)| (kind.name(), value)))?;
        if self.next.len() > Self::MAX_NEXT {
            return Err(FaultPlanError::TooManyNext { count: self.next.len(), max: Self::MAX_NEXT });
        }
        if self.slow_ms > Self::MAX_SLOW_MS {
            return Err(FaultPlanError::TooSlow { given: self.slow_ms, max: Self::MAX_SLOW_MS });
        }
        Ok(())
    }
}

fn check(
    group: &'static str,
    probabilities: impl Iterator<Item = (&'static str, f64)>,
) -> Result<(), FaultPlanError> {
    let mut sum = 0.0;
    for (kind, value) in probabilities {
        if !(0.0..=1.0).contains(&value) {
            return Err(FaultPlanError::Probability { kind, value });
        }
        sum += value;
    }
    // Ten times 0.1 is a little more than 1 in binary.
    if sum > 1.0 + 1e-9 { Err(FaultPlanError::Sum { group, sum }) } else { Ok(()) }
}

/// A fault about to happen, with what it needs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Injected {
    pub(crate) fault: Fault,
    pub(crate) retry_after_s: u32,
    pub(crate) slow: Duration,
    /// A draw in 0..10,000 for faults with variants: which status, where to cut.
    pub(crate) variant: u32,
}

/// A plan being carried out.
pub(crate) struct FaultState {
    plan: FaultPlan,
    pending: VecDeque<NextFault>,
    draw: Draw,
}

impl FaultState {
    pub(crate) fn new(plan: FaultPlan) -> Result<Self, FaultPlanError> {
        plan.validate()?;
        let pending = plan.next.iter().copied().filter(|next| next.times > 0).collect();
        Ok(Self { pending, draw: Draw::from_number(plan.seed), plan })
    }

    /// The fate of the next request.
    pub(crate) fn decide(&mut self) -> Option<Injected> {
        let fault = match self.take_pending() {
            Some(fault) => fault,
            None if self.plan.faults.is_empty() => return None,
            None => choose(&self.plan.faults, self.draw.fraction())?,
        };
        Some(Injected {
            fault,
            retry_after_s: self.plan.retry_after_s,
            slow: Duration::from_millis(self.plan.slow_ms),
            variant: self.draw.below(10_000),
        })
    }

    fn take_pending(&mut self) -> Option<Fault> {
        let front = self.pending.front_mut()?;
        front.times -= 1;
        let NextFault { fault, times } = *front;
        if times == 0 {
            self.pending.pop_front();
        }
        Some(fault)
    }

    /// The plan in force, `next` holding what is still to come.
    pub(crate) fn plan(&self) -> FaultPlan {
        FaultPlan { next: self.pending.iter().copied().collect(), ..self.plan.clone() }
    }

    pub(crate) fn poison(&self) -> PoisonPlan {
        PoisonPlan { seed: self.plan.seed, probabilities: self.plan.poison.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(plan: FaultPlan, requests: usize) -> Vec<Option<Fault>> {
        let mut state = FaultState::new(plan).unwrap();
        (0..requests).map(|_| state.decide().map(|injected| injected.fault)).collect()
    }

    #[test]
    fn the_same_seed_gives_the_same_faults_at_the_asked_rate() {
        let plan = |seed| FaultPlan {
            seed,
            faults: BTreeMap::from([(Fault::ServerError, 0.2), (Fault::Reset, 0.05)]),
            ..FaultPlan::default()
        };
        let first = faults(plan(7), 10_000);
        assert_eq!(first, faults(plan(7), 10_000));
        assert_ne!(first, faults(plan(8), 10_000));
        let share = |fault| first.iter().filter(|&&seen| seen == Some(fault)).count() as f64 / 10_000.0;
        assert!((share(Fault::ServerError) - 0.2).abs() < 0.02, "{}", share(Fault::ServerError));
        assert!((share(Fault::Reset) - 0.05).abs() < 0.01, "{}", share(Fault::Reset));
        assert!(share(Fault::Slow) == 0.0);
    }

    #[test]
    fn next_goes_first_and_in_order() {
        let next = vec![
            NextFault { fault: Fault::Reset, times: 2 },
            NextFault { fault: Fault::Slow, times: 0 },
            NextFault { fault: Fault::NotJson, times: 1 },
        ];
        let plan = FaultPlan { next, ..FaultPlan::default() };
        assert_eq!(faults(plan, 4), [Some(Fault::Reset), Some(Fault::Reset), Some(Fault::NotJson), None]);
    }

    #[test]
    fn impossible_plans_are_refused() {
        let with =
            |kind, value| FaultPlan { faults: BTreeMap::from([(kind, value)]), ..FaultPlan::default() };
        assert!(matches!(
            with(Fault::Cut, 1.5).validate(),
            Err(FaultPlanError::Probability { kind: "cut", .. })
        ));
        assert!(matches!(with(Fault::Cut, f64::NAN).validate(), Err(FaultPlanError::Probability { .. })));
        let sum = BTreeMap::from([(Fault::Cut, 0.6), (Fault::Reset, 0.6)]);
        let plan = FaultPlan { faults: sum, ..FaultPlan::default() };
        assert!(matches!(plan.validate(), Err(FaultPlanError::Sum { group: "faults", .. })));
        let tenths = Poison::ALL.into_iter().take(10).map(|kind| (kind, 0.1)).collect();
        assert_eq!(FaultPlan { poison: tenths, ..FaultPlan::default() }.validate(), Ok(()));
        let slow = FaultPlan { slow_ms: u64::MAX, ..FaultPlan::default() };
        assert!(matches!(slow.validate(), Err(FaultPlanError::TooSlow { .. })));
    }

    #[test]
    fn names_are_those_of_json() {
        for fault in Fault::ALL {
            assert_eq!(serde_json::to_value(fault).unwrap(), fault.name());
        }
    }
}
