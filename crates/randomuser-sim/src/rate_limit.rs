//! The real server's rate limit: users per client address, all counts cleared together at the end of a window.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::config::RateLimit;

/// Addresses remembered; the table is cleared early when it is full.
const MAX_CLIENTS: usize = 10_000;

pub(crate) struct Limiter {
    limit: RateLimit,
    window: Mutex<Window>,
}

struct Window {
    began: Instant,
    users: HashMap<IpAddr, u64>,
}

impl Limiter {
    pub(crate) fn new(limit: RateLimit) -> Self {
        Self { limit, window: Mutex::new(Window { began: Instant::now(), users: HashMap::new() }) }
    }

    /// Counts a request for `users` at `now`; the client's count so far as the error where it has had enough.
    pub(crate) fn admit(&self, client: IpAddr, users: u32, now: Instant) -> Result<(), u64> {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        let full = window.users.len() >= MAX_CLIENTS && !window.users.contains_key(&client);
        if full || now.duration_since(window.began) >= self.limit.window {
            *window = Window { began: now, users: HashMap::new() };
        }
        let count = window.users.entry(client).or_insert(0);
        if *count >= self.limit.users {
            return Err(*count);
        }
        *count += u64::from(users);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_last_request_may_go_over_and_the_window_ends_for_all() {
        let limiter = Limiter::new(RateLimit { users: 100, window: Duration::from_secs(300) });
        let client = IpAddr::from(Ipv4Addr::LOCALHOST);
        let start = Instant::now();
        assert_eq!(limiter.admit(client, 99, start), Ok(()));
        assert_eq!(limiter.admit(client, 5_000, start), Ok(()));
        assert_eq!(limiter.admit(client, 1, start), Err(5_099));
        assert_eq!(limiter.admit(IpAddr::from([127, 0, 0, 2]), 1, start), Ok(()));
        assert_eq!(limiter.admit(client, 1, start + Duration::from_secs(300)), Ok(()));
    }
}
