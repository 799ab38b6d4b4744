//! The API's own limit, kept on this side: so many users in a window of time.
//!
//! A sliding window over what was asked for. It is forgotten with the process; a restarted fetcher that asks too
//! early gets a 429, which is waited out.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Shared by all runs of a process. Holds one entry for each request of the last window.
#[derive(Debug)]
pub struct RateLimit {
    users: u64,
    window: Duration,
    asked: Mutex<VecDeque<(Instant, u64)>>,
}

impl RateLimit {
    /// At most `users` in any `window`; 0 users for no limit.
    #[must_use]
    pub const fn new(users: u64, window: Duration) -> Self {
        Self { users, window, asked: Mutex::new(VecDeque::new()) }
    }

    /// Takes room for `users` more at `now`.
    ///
    /// # Errors
    /// How long to wait before asking again, if there is no room.
    pub fn take(&self, users: u64, now: Instant) -> Result<(), Duration> {
        if self.users == 0 {
            return Ok(());
        }
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        while asked.front().is_some_and(|(at, _)| now.duration_since(*at) >= self.window) {
            asked.pop_front();
        }
        let mut used: u64 = asked.iter().map(|(_, users)| users).sum();
        for (at, gone) in asked.iter() {
            if used + users <= self.users {
                break;
            }
            used -= gone;
            if used == 0 || used + users <= self.users {
                return Err((*at + self.window).duration_since(now));
            }
        }
        asked.push_back((now, users));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(300);

    #[test]
    fn waits_for_the_oldest_to_leave_the_window() {
        let limit = RateLimit::new(20_000, WINDOW);
        let start = Instant::now();
        for second in 0..4 {
            limit.take(5_000, start + Duration::from_secs(second)).unwrap();
        }
        let now = start + Duration::from_secs(10);
        assert_eq!(limit.take(5_000, now), Err(Duration::from_secs(290)));
        assert_eq!(limit.take(10_000, now), Err(Duration::from_secs(291)), "two of them must leave");
        limit.take(5_000, start + WINDOW).unwrap();
        assert_eq!(limit.take(5_000, start + WINDOW), Err(Duration::from_secs(1)));
    }

    #[test]
    fn never_more_than_the_limit_in_any_window() {
        let limit = RateLimit::new(1_000, Duration::from_secs(10));
        let start = Instant::now();
        let mut taken = Vec::new();
        let mut now = start;
        for round in 0..200_u64 {
            let users = 1 + round * 37 % 500;
            while let Err(wait) = limit.take(users, now) {
                assert!(!wait.is_zero());
                now += wait;
            }
            taken.push((now, users));
            now += Duration::from_millis(round % 700);
        }
        for (at, _) in &taken {
            let window = taken.iter().filter(|(t, _)| t >= at && *t < *at + Duration::from_secs(10));
            let users: u64 = window.map(|(_, users)| users).sum();
            assert!(users <= 1_000, "{users}");
        }
    }

    #[test]
    fn zero_is_no_limit() {
        let limit = RateLimit::new(0, WINDOW);
        assert_eq!((0..1_000).filter(|_| limit.take(5_000, Instant::now()).is_err()).count(), 0);
    }
}
