//! What the relay has published, as it stands in the offsets topic.
//!
//! A change is at a [`Place`]: its transaction's commit LSN and its number in the transaction. Concurrent
//! transactions interleave in the WAL, so the change's own LSN would not say which changes come before it in the
//! stream. A [`Progress`] commits in the same Kafka transaction as the records it is about.

use std::collections::BTreeMap;

use kafka::sequence::Sent;
use pgwire_replication::Lsn;
use serde::{Deserialize, Serialize};

use crate::order::KeyOrder;
use crate::preflight::Server;
use crate::visibility::XidSnapshot;

/// Where a change is in the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct Place {
    /// Where its transaction's commit is in the WAL.
    #[serde(with = "text_lsn")]
    pub commit_lsn: Lsn,
    /// Which change of the transaction it is, from 1; 0 is the transaction's begin.
    pub ordinal: u64,
}

/// The value of the slot's record in the offsets topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// The cluster whose WAL the positions are in (`system_identifier`).
    pub system_id: String,
    /// The slot's database.
    pub database: String,
    /// The last sequence numbers, by topic.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sent: BTreeMap<String, Sent>,
    /// How far it is.
    #[serde(flatten)]
    pub phase: Phase,
}

impl Progress {
    /// Of a relay of this server, before it has sent anything.
    #[must_use]
    pub fn of(server: &Server, phase: Phase) -> Self {
        let (system_id, database) = (server.system_id.clone(), server.database.clone());
        Self { system_id, database, sent: BTreeMap::new(), phase }
    }
}

/// How far the relay is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "snake_case")]
pub enum Phase {
    /// The slot is about to be made; nothing is published.
    Creating,
    /// The rows that were there before the slot are being published.
    Snapshot {
        /// From where the slot streams.
        #[serde(with = "text_lsn")]
        slot_lsn: Lsn,
        /// Below every streamed change: the `__lsn` of the snapshot's records.
        #[serde(with = "text_lsn")]
        first_lsn: Lsn,
        /// What is published.
        coverage: Coverage,
    },
    /// Changes are being published.
    Streaming {
        /// The last change published.
        #[serde(flatten)]
        place: Place,
        /// End of the last transaction published as a whole, or seen to have no changes: PostgreSQL need not send
        /// anything before it again.
        #[serde(with = "text_lsn")]
        end_lsn: Lsn,
        /// Set until the stream has left the snapshot behind.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        handover: Option<Handover>,
    },
}

/// Which rows were published under which snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Coverage {
    /// A new one after each restart.
    pub snapshots: Vec<XidSnapshot>,
    /// By table, in ascending order of the keys. A table is finished if its last range has no end.
    pub tables: BTreeMap<String, Vec<KeyRange>>,
}

/// The keys after those of the range before, up to and with `up_to`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRange {
    /// Index into [`Coverage::snapshots`].
    pub snapshot: usize,
    /// The last key, as the text of its values; `None`: to the end of the table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub up_to: Option<Vec<String>>,
}

/// Rule for the changes whose transactions may be in the snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handover {
    /// Transactions that commit from here on are in no snapshot.
    #[serde(with = "text_lsn")]
    pub until: Lsn,
    /// What the snapshots published.
    #[serde(flatten)]
    pub coverage: Coverage,
}

/// A key that has no place in the order of the snapshot.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "a key of {table} can't be compared with the snapshot's: the table's key was altered during the snapshot; \
     drop the slot and the record in the offsets topic, and start again"
)]
pub struct NotComparable {
    table: String,
}

impl Coverage {
    /// Whether a change is in a row that was published already: its transaction is visible in the snapshot that
    /// covered the key.
    ///
    /// # Errors
    /// The key is not of the shape that the snapshot knew.
    pub fn contains<T: AsRef<[u8]>>(
        &self,
        table: &str,
        order: &KeyOrder,
        key: &[T],
        xid: u32,
    ) -> Result<bool, NotComparable> {
        if !self.snapshots.iter().any(|snapshot| snapshot.sees(xid)) {
            return Ok(false);
        }
        let not_comparable = || NotComparable { table: table.to_owned() };
        for range in self.tables.get(table).into_iter().flatten() {
            let inside = match &range.up_to {
                None => true,
                Some(up_to) => {
                    let up_to = order.rank(up_to).ok_or_else(not_comparable)?;
                    order.rank(key).ok_or_else(not_comparable)? <= up_to
                }
            };
            if inside {
                return Ok(self.snapshots.get(range.snapshot).is_some_and(|snapshot| snapshot.sees(xid)));
            }
        }
        Ok(false)
    }

    /// The last key published of a table that is not finished; `None` if nothing is.
    #[must_use]
    pub fn last_key(&self, table: &str) -> Option<&[String]> {
        self.tables.get(table)?.last()?.up_to.as_deref()
    }

    /// Whether every row of the table is published.
    #[must_use]
    pub fn is_finished(&self, table: &str) -> bool {
        self.tables.get(table).and_then(|ranges| ranges.last()).is_some_and(|last| last.up_to.is_none())
    }

    /// The table is published up to this key, or to its end, under the newest snapshot.
    pub fn advance(&mut self, table: &str, up_to: Option<Vec<String>>) {
        let snapshot = self.snapshots.len().saturating_sub(1);
        let ranges = self.tables.entry(table.to_owned()).or_default();
        match ranges.last_mut() {
            Some(last) if last.snapshot == snapshot => last.up_to = up_to,
            _ => ranges.push(KeyRange { snapshot, up_to }),
        }
    }
}

/// LSNs as PostgreSQL writes them, `16/B374D848`.
mod text_lsn {
    use pgwire_replication::Lsn;
    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
    pub(super) fn serialize<S: Serializer>(lsn: &Lsn, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(lsn)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Lsn, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::pgoutput::{RelationColumn, RelationMessage, ReplicaIdentity};
    use crate::table::Table;
    use crate::value::ColumnType;

    fn by_number() -> KeyOrder {
        let relation = RelationMessage {
            id: 1,
            schema: "public".to_owned(),
            table: "t".to_owned(),
            replica_identity: ReplicaIdentity::Default,
            columns: vec![RelationColumn { name: "id".to_owned(), type_id: 0, identity: true }],
        };
        KeyOrder::new(&Table::new(&relation, &[ColumnType::Int8], &["id".to_owned()], true).unwrap())
    }

    #[test]
    fn places_order_by_commit_and_then_by_ordinal() {
        let place = |commit, ordinal| Place { commit_lsn: Lsn(commit), ordinal };
        assert!(place(5, 900) < place(6, 0));
        assert!(place(6, 1) < place(6, 2));
        assert!(Place::default() < place(1, 0));
    }

    #[test]
    fn json_keeps_its_shape() {
        let mut coverage = Coverage { snapshots: vec!["5:9:6,7".parse().unwrap()], ..Coverage::default() };
        coverage.advance("public.users", Some(vec!["ab".to_owned()]));
        let snapshot = Progress {
            system_id: "74".to_owned(),
            database: "d".to_owned(),
            sent: BTreeMap::new(),
            phase: Phase::Snapshot { slot_lsn: Lsn(0x20), first_lsn: Lsn(0x10), coverage: coverage.clone() },
        };
        let json = serde_json::to_string(&snapshot).unwrap();
        assert_eq!(
            json,
            r#"{"system_id":"74","database":"d","phase":"snapshot","slot_lsn":"0/20","first_lsn":"0/10","coverage":{"snapshots":["5:9:6,7"],"tables":{"public.users":[{"snapshot":0,"up_to":["ab"]}]}}}"#
        );
        assert_eq!(serde_json::from_str::<Progress>(&json).unwrap(), snapshot);
        let place = Place { commit_lsn: Lsn(0x1_0000_0000), ordinal: 3 };
        for handover in [None, Some(Handover { until: Lsn(9), coverage })] {
            let phase = Phase::Streaming { place, end_lsn: Lsn(7), handover };
            let mut sent = Sent::begin();
            sent.next(0, 3);
            let streaming = Progress { phase, sent: [("t".to_owned(), sent)].into(), ..snapshot.clone() };
            let json = serde_json::to_string(&streaming).unwrap();
            assert!(json.contains(r#""phase":"streaming","commit_lsn":"1/0","ordinal":3,"end_lsn":"0/7""#));
            assert_eq!(serde_json::from_str::<Progress>(&json).unwrap(), streaming);
        }
    }

    #[test]
    fn a_range_ends_where_the_next_begins() {
        let order = by_number();
        let mut coverage = Coverage { snapshots: vec!["10:10:".parse().unwrap()], ..Coverage::default() };
        coverage.advance("t", Some(vec!["5".to_owned()]));
        coverage.advance("t", Some(vec!["9".to_owned()]));
        assert_eq!(coverage.last_key("t"), Some(&["9".to_owned()][..]));
        coverage.snapshots.push("20:20:".parse().unwrap());
        assert!(!coverage.is_finished("t"));
        coverage.advance("t", None);
        assert!(coverage.is_finished("t") && !coverage.is_finished("u"));
        assert_eq!(coverage.tables["t"].len(), 2);
        let contains = |key: &str, xid| coverage.contains("t", &order, &[key], xid).unwrap();
        // Transaction 15 is in the second snapshot alone, which covers the keys from 10 on.
        assert!(!contains("9", 15) && contains("10", 15) && contains("10000", 15));
        assert!(contains("9", 9) && contains("-3", 9) && !contains("10", 20));
        assert!(!coverage.contains("u", &order, &["1"], 1).unwrap());
        assert!(coverage.contains("t", &order, &["x"], 1).is_err());
    }

    proptest! {
        /// A table read in pieces, with a new snapshot after each kill, while transactions change it: the snapshot's
        /// rows and the streamed changes that are not in them make every change count exactly once.
        #[test]
        fn every_change_counts_once(
            changes in proptest::collection::vec((0_i64..12, 0_usize..4), 0..40),
            cuts in proptest::collection::btree_set(0_i64..12, 0..4),
        ) {
            let order = by_number();
            let mut coverage = Coverage::default();
            let pieces: Vec<Option<i64>> = cuts.iter().map(|cut| Some(*cut)).chain([None]).collect();
            // Change n is made by transaction n + 3 and commits just before the piece that it names is read.
            let mut seen_by_piece = Vec::new();
            for (piece, up_to) in pieces.iter().enumerate() {
                let committed: Vec<bool> = changes.iter().map(|(_, before)| *before <= piece).collect();
                let running: Vec<String> = committed.iter().enumerate()
                    .filter(|(_, committed)| !**committed)
                    .map(|(change, _)| (change + 3).to_string())
                    .collect();
                let text = format!("3:{}:{}", changes.len() + 3, running.join(","));
                coverage.snapshots.push(text.parse().unwrap());
                coverage.advance("t", up_to.map(|key| vec![key.to_string()]));
                seen_by_piece.push(committed);
            }
            for (change, (key, _)) in changes.iter().enumerate() {
                let piece = pieces.iter().position(|up_to| up_to.is_none_or(|up_to| *key <= up_to)).unwrap();
                let in_snapshot = seen_by_piece[piece][change];
                let xid = u32::try_from(change + 3).unwrap();
                let skipped = coverage.contains("t", &order, &[key.to_string()], xid).unwrap();
                prop_assert_eq!(in_snapshot, skipped, "change {} of key {}", change, key);
            }
        }
    }
}
