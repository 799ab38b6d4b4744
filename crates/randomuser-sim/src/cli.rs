//! The command line of `randomuser-sim`.

use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use chrono::{DateTime, Utc};
use clap::Parser;
use randomuser_sim::{Clock, Fault, FaultPlan, NextFault, Poison, RateLimit, SimConfig};
use serde::Deserialize;
use serde::de::value::{Error as NameError, StrDeserializer};

/// Simulates the randomuser.me API 1.4: same parameters and quirks, and faults on request.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Cli {
    /// Address to listen on; port 0 takes a free one, which is printed
    #[arg(long, default_value = "127.0.0.1:8010")]
    listen: SocketAddr,
    /// Limit the users a client may fetch per window, as the real server does (20000 unless given)
    #[arg(long, value_name = "USERS", num_args = 0..=1, default_missing_value = "20000")]
    rate_limit: Option<u64>,
    /// Length of the rate limit's window in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = RateLimit::REAL.window.as_secs())]
    rate_window_s: u64,
    /// Stop the clock that ages are computed from, e.g. 2026-01-01T00:00:00Z
    #[arg(long, value_name = "TIME")]
    now: Option<DateTime<Utc>>,
    /// Begin the series of seeds for requests without one here, so that they repeat from run to run
    #[arg(long, value_name = "NUMBER")]
    first_seed: Option<u32>,
    /// Seconds until a request is reset that the real server never answers
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    hang_s: u64,
    /// Probability of a fault per request, e.g. server_error=0.05; repeatable. Kinds: too_many_requests,
    /// server_error, truncated, cut, not_json, reset, slow, error_envelope
    #[arg(long, value_name = "KIND=P", value_parser = pair::<Fault, f64>)]
    fault: Vec<(Fault, f64)>,
    /// Fault of the next N requests, e.g. reset=3; repeatable, in order
    #[arg(long, value_name = "KIND=N", value_parser = pair::<Fault, u32>)]
    next: Vec<(Fault, u32)>,
    /// Probability of a damaged profile, e.g. missing_uuid=0.001; repeatable. Kinds: missing_uuid, invalid_uuid,
    /// impossible_date, postcode_object, latitude_text, latitude_range, missing_name, null_email, unknown_gender,
    /// unknown_nationality, not_an_object
    #[arg(long, value_name = "KIND=P", value_parser = pair::<Poison, f64>)]
    poison: Vec<(Poison, f64)>,
    /// Seed of the draws for faults and damaged profiles
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    fault_seed: u64,
    /// Retry-After of too_many_requests in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 1)]
    retry_after_s: u32,
    /// Delay of slow in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 1_000)]
    slow_ms: u64,
}

impl From<Cli> for SimConfig {
    fn from(cli: Cli) -> Self {
        let window = Duration::from_secs(cli.rate_window_s);
        Self {
            listen: cli.listen,
            clock: cli.now.map_or(Clock::System, Clock::Fixed),
            rate_limit: cli.rate_limit.map(|users| RateLimit { users, window }),
            faults: FaultPlan {
                seed: cli.fault_seed,
                faults: cli.fault.into_iter().collect(),
                poison: cli.poison.into_iter().collect(),
                next: cli.next.into_iter().map(|(fault, times)| NextFault { fault, times }).collect(),
                retry_after_s: cli.retry_after_s,
                slow_ms: cli.slow_ms,
            },
            hang: Duration::from_secs(cli.hang_s),
            first_seed: cli.first_seed,
            ..Self::default()
        }
    }
}

/// Reads `KIND=VALUE`; an unknown kind's message lists the known ones.
fn pair<K, V>(text: &str) -> Result<(K, V), String>
where
    K: for<'de> Deserialize<'de>,
    V: FromStr<Err: std::fmt::Display>,
{
    let (kind, value) = text.split_once('=').ok_or("write KIND=VALUE")?;
    let kind =
        K::deserialize(StrDeserializer::<NameError>::new(kind)).map_err(|problem| problem.to_string())?;
    let value = value.parse().map_err(|problem| format!("{value:?} is no number: {problem}"))?;
    Ok((kind, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_reach_the_configuration() {
        let cli = Cli::try_parse_from([
            "randomuser-sim",
            "--rate-limit",
            "--fault=server_error=0.1",
            "--fault=reset=0.2",
            "--next=slow=2",
            "--poison=missing_uuid=1",
            "--now=2026-01-01T00:00:00Z",
        ]);
        let config = SimConfig::from(cli.unwrap());
        assert_eq!(config.rate_limit, Some(RateLimit::REAL));
        assert_eq!(config.faults.faults, [(Fault::ServerError, 0.1), (Fault::Reset, 0.2)].into());
        assert_eq!(config.faults.next, [NextFault { fault: Fault::Slow, times: 2 }]);
        assert_eq!(config.faults.poison, [(Poison::MissingUuid, 1.0)].into());
        assert!(matches!(config.clock, Clock::Fixed(_)));
    }

    #[test]
    fn an_unknown_kind_is_answered_with_the_known_ones() {
        for (argument, says) in [
            ("--fault=sloow=1", "error_envelope"),
            ("--fault=slow", "KIND=VALUE"),
            ("--next=slow=x", "no number"),
        ] {
            let problem = Cli::try_parse_from(["randomuser-sim", argument]).unwrap_err().to_string();
            assert!(problem.contains(says), "{problem}");
        }
    }
}
