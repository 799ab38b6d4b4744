//! Which transactions a PostgreSQL snapshot sees.
//!
//! A snapshot is `xmin:xmax:xip,…` as `pg_current_snapshot()` writes it
//! (<https://www.postgresql.org/docs/17/functions-info.html#FUNCTIONS-INFO-SNAPSHOT>), with 64-bit transaction ids.
//! The replication stream has their low 32 bits.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The transactions whose changes a snapshot contains.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct XidSnapshot {
    /// Every transaction below has ended.
    xmin: u64,
    /// No transaction from here on has ended.
    xmax: u64,
    /// Those between that still ran, in ascending order.
    running: Vec<u64>,
}

/// A text that is no snapshot.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is not a snapshot of the form xmin:xmax:xip,…")]
pub struct NotASnapshot(String);

impl XidSnapshot {
    /// Whether the changes of a committed transaction are in the snapshot.
    ///
    /// `xid` has the low 32 bits of an id that is less than 2³¹ away from this snapshot, as those of a stream that
    /// begins near it are.
    #[must_use]
    pub fn sees(&self, xid: u32) -> bool {
        let xid = self.widen(xid);
        xid < self.xmin || (xid < self.xmax && self.running.binary_search(&xid).is_err())
    }

    /// The 64-bit id nearest to this snapshot's that has these low bits.
    fn widen(&self, xid: u32) -> u64 {
        let [low, high] = [self.xmax & 0xffff_ffff, self.xmax >> 32];
        let xid = u64::from(xid);
        let epoch = if xid > low && xid - low > 1 << 31 {
            high.saturating_sub(1)
        } else if low > xid && low - xid > 1 << 31 {
            high + 1
        } else {
            high
        };
        epoch << 32 | xid
    }
}

impl FromStr for XidSnapshot {
    type Err = NotASnapshot;

    fn from_str(text: &str) -> Result<Self, NotASnapshot> {
        let parse = || {
            let mut parts = text.split(':');
            let xmin = parts.next()?.parse().ok()?;
            let xmax = parts.next()?.parse().ok()?;
            let ids = parts.next()?.split(',').filter(|id| !id.is_empty());
            let mut running = ids.map(|id| id.parse().ok()).collect::<Option<Vec<u64>>>()?;
            running.sort_unstable();
            parts.next().is_none().then_some(Self { xmin, xmax, running })
        };
        parse().ok_or_else(|| NotASnapshot(text.to_owned()))
    }
}

impl TryFrom<String> for XidSnapshot {
    type Error = NotASnapshot;

    fn try_from(text: String) -> Result<Self, NotASnapshot> {
        text.parse()
    }
}

impl From<XidSnapshot> for String {
    fn from(snapshot: XidSnapshot) -> Self {
        snapshot.to_string()
    }
}

impl fmt::Display for XidSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:", self.xmin, self.xmax)?;
        for (index, id) in self.running.iter().enumerate() {
            write!(f, "{}{id}", if index == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sees_what_had_committed() {
        let snapshot: XidSnapshot = "10:20:12,15".parse().unwrap();
        let seen: Vec<u32> = (8..23).filter(|xid| snapshot.sees(*xid)).collect();
        assert_eq!(seen, [8, 9, 10, 11, 13, 14, 16, 17, 18, 19]);
        assert_eq!("5:5:".parse::<XidSnapshot>().unwrap().to_string(), "5:5:");
    }

    #[test]
    fn ids_wrap_around() {
        let epoch = 3_u64 << 32;
        // The snapshot is just after the wrap, the transaction just before, and the other way round.
        let after = XidSnapshot { xmin: epoch + 5, xmax: epoch + 5, running: vec![] };
        assert!(after.sees(u32::MAX) && after.sees(4) && !after.sees(5) && !after.sees(1 << 30));
        let before = XidSnapshot { xmin: epoch - 5, xmax: epoch - 5, running: vec![] };
        assert!(before.sees(u32::MAX - 10) && !before.sees(u32::MAX - 1) && !before.sees(3));
    }

    #[test]
    fn other_texts_are_errors() {
        for text in ["", "1:2", "1:2:3:4", "a:2:", "1:2:x", "1:2:-3"] {
            assert_eq!(text.parse::<XidSnapshot>(), Err(NotASnapshot(text.to_owned())));
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_definition(base in 0_u64..1 << 40, span in 0_u64..50, running in any::<u64>(), ahead in -60_i64..60) {
            let ids: Vec<u64> = (0..span).filter(|bit| running >> bit & 1 == 1).map(|bit| base + 100 + bit).collect();
            let snapshot = XidSnapshot { xmin: base + 100, xmax: base + 100 + span, running: ids.clone() };
            let xid = (base + 100).checked_add_signed(ahead).unwrap();
            let low = u32::try_from(xid & 0xffff_ffff).unwrap();
            let ended = xid < base + 100 + span && !ids.contains(&xid);
            prop_assert_eq!(snapshot.sees(low), ended);
            prop_assert_eq!(snapshot.to_string().parse::<XidSnapshot>().unwrap(), snapshot);
        }
    }
}
