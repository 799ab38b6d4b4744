//! Time: the clock that ages are computed from, and timestamps as the API writes them.
//!
//! `dob.age` and `registered.age` are the only values of a page that depend on when it is asked for; a fixed
//! clock makes pages equal byte for byte.

use chrono::{DateTime, Datelike, Timelike, Utc};

/// Where "now" comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Clock {
    /// The machine's clock, as the real server does.
    #[default]
    System,
    /// Always this moment, so that ages never change.
    Fixed(DateTime<Utc>),
}

impl Clock {
    pub(crate) fn now(self) -> Stamp {
        Stamp::new(match self {
            Self::System => Utc::now(),
            Self::Fixed(moment) => moment,
        })
    }
}

/// A moment in UTC, taken apart; comparing two compares the moments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Stamp {
    pub(crate) year: i32,
    pub(crate) month: u32,
    pub(crate) day: u32,
    pub(crate) hour: u32,
    pub(crate) minute: u32,
    pub(crate) second: u32,
    pub(crate) millisecond: u32,
}

impl Stamp {
    fn new(moment: DateTime<Utc>) -> Self {
        Self {
            year: moment.year(),
            month: moment.month(),
            day: moment.day(),
            hour: moment.hour(),
            minute: moment.minute(),
            second: moment.second(),
            millisecond: moment.timestamp_subsec_millis(),
        }
    }

    /// The moment `ms` milliseconds after (or before) 1970-01-01T00:00:00Z.
    pub(crate) fn from_epoch_ms(ms: i64) -> Self {
        Self::new(DateTime::from_timestamp_millis(ms).unwrap_or_default())
    }

    /// Full years from `self` to `now`, as an anniversary counts: the year difference, less one before the day.
    pub(crate) fn years_until(&self, now: &Self) -> u32 {
        let anniversary = Self { year: now.year, ..*self };
        let years = now.year - self.year - i32::from(*now < anniversary);
        u32::try_from(years).unwrap_or(0)
    }

    /// The year counted from 1900 as JavaScript's `getYear()` does: 99 for 1999, 101 for 2001.
    pub(crate) fn year_since_1900(&self) -> u32 {
        u32::try_from(self.year - 1900).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(text: &str) -> Stamp {
        Stamp::new(text.parse().unwrap())
    }

    #[test]
    fn an_anniversary_counts_from_its_own_millisecond() {
        let born = stamp("1990-11-23T12:00:00.500Z");
        for (now, age) in [
            ("2026-11-23T12:00:00.499Z", 35),
            ("2026-11-23T12:00:00.500Z", 36),
            ("2027-01-01T00:00:00Z", 36),
            ("1980-01-01T00:00:00Z", 0),
        ] {
            assert_eq!(born.years_until(&stamp(now)), age, "at {now}");
        }
    }

    #[test]
    fn negative_epochs_are_before_1970() {
        let stamp = Stamp::from_epoch_ms(-800_000_000_000);
        assert_eq!((stamp.year, stamp.month, stamp.day, stamp.millisecond), (1944, 8, 25, 0));
    }
}
