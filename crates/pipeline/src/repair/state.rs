//! What a topic says of one key, and what who has read all of it has made of that.

use events::meta::Op;
use serde_json::{Map, Value};

/// A record's fields by their names.
pub(super) type Fields = Map<String, Value>;

/// Identities of one row that are remembered. Of a row that has moved more often the oldest are forgotten.
const MAX_IDENTITIES: usize = 256;

/// A record, with what a repair has to know of it.
pub(super) struct Change<'a> {
    pub(super) fields: Fields,
    /// The fields that say where the row is downstream.
    pub(super) identity: &'a [String],
    /// Nothing was made of it: it is an open dead letter.
    pub(super) set_aside: bool,
}

/// A key after its last record.
#[derive(Debug, Default)]
pub(super) struct State {
    lsn: i64,
    /// LSN of the last change that was not set aside, and of the one before it.
    forwarded: (i64, i64),
    /// The last value; `None` if it was a delete.
    pub(super) fields: Option<Fields>,
    /// Every identity that the row has had, each once, the newest last.
    identities: Vec<Fields>,
    /// The rows that are there downstream after all of these changes.
    standing: Vec<Standing>,
}

/// A row downstream.
#[derive(Debug)]
struct Standing {
    identity: Fields,
    /// It was made upon another one, whose values stay where it has none.
    has_leftovers: bool,
}

impl State {
    pub(super) fn take(&mut self, change: Change<'_>) {
        let Change { fields, identity: columns, set_aside } = change;
        let lsn = fields.get("__lsn").and_then(Value::as_i64).unwrap_or_default();
        if !set_aside && lsn > self.forwarded.0 {
            self.forwarded = (lsn, self.forwarded.0);
        } else if set_aside && lsn == self.forwarded.0 {
            // It was redriven, and has failed again.
            self.forwarded = (self.forwarded.1, self.forwarded.1);
        }
        let identity = identity(&fields, columns);
        let before = fields.get("__before").and_then(Value::as_object).cloned();
        before.iter().for_each(|before| self.remember(before));
        self.remember(&identity);
        // What is redriven comes after later changes, which it does not take back.
        if lsn <= self.lsn {
            return;
        }
        self.lsn = lsn;
        let op = fields.get("__op").and_then(Value::as_str);
        self.stand(op, &identity, before.as_ref());
        self.fields = (op != Some(Op::Delete.as_str())).then_some(fields);
    }

    fn remember(&mut self, identity: &Fields) {
        self.identities.retain(|known| known != identity);
        if self.identities.len() >= MAX_IDENTITIES {
            self.identities.remove(0);
        }
        self.identities.push(identity.clone());
    }

    /// Does what the sink does.
    fn stand(&mut self, op: Option<&str>, identity: &Fields, before: Option<&Fields>) {
        let is_delete = op == Some(Op::Delete.as_str());
        self.standing
            .retain(|row| Some(&row.identity) != before && !(is_delete && row.identity == *identity));
        if is_delete {
            return;
        }
        match self.standing.iter_mut().find(|row| row.identity == *identity) {
            // Nulls are written by updates alone.
            Some(row) if op == Some(Op::Update.as_str()) => row.has_leftovers = false,
            Some(row) => row.has_leftovers |= op == Some(Op::Create.as_str()),
            None => {
                if self.standing.len() >= MAX_IDENTITIES {
                    self.standing.remove(0);
                }
                self.standing.push(Standing { identity: identity.clone(), has_leftovers: false });
            }
        }
    }

    /// Whether a change is missing between those that are there: downstream are other rows than the last one.
    pub(super) fn is_torn(&self) -> bool {
        match (&self.fields, self.standing.as_slice()) {
            (None, []) => false,
            (Some(_), [row]) => row.has_leftovers,
            _ => true,
        }
    }

    /// Whether this has a later change than `there`, besides those that were set aside.
    pub(super) fn is_ahead_of(&self, there: Option<&Self>) -> bool {
        self.forwarded.0 > there.map_or(0, |there| there.lsn)
    }

    /// Everything that a reader may have made a row of.
    pub(super) fn identities(&self) -> &[Fields] {
        &self.identities
    }
}

pub(super) fn identity(fields: &Fields, columns: &[String]) -> Fields {
    let of = |name: &String| Some((name.clone(), fields.get(name)?.clone()));
    columns.iter().filter_map(of).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Changes by kind, identity before and identity, one LSN after the other.
    fn state(changes: &[(&str, Option<&str>, &str)]) -> State {
        let mut state = State::default();
        for (lsn, (op, before, nat)) in (1..).zip(changes) {
            take(&mut state, op, *before, nat, lsn, false);
        }
        state
    }

    fn take(state: &mut State, op: &str, before: Option<&str>, nat: &str, lsn: i64, set_aside: bool) {
        let columns = ["id".to_owned(), "nat".to_owned()];
        let before = before.map(|nat| json!({"id": "1", "nat": nat}));
        let value =
            json!({"id": "1", "nat": nat, "email": "e", "__before": before, "__op": op, "__lsn": lsn});
        let Value::Object(fields) = value else { panic!() };
        state.take(Change { fields, identity: &columns, set_aside });
    }

    #[test]
    fn what_follows_from_the_state_before_it_is_whole() {
        for changes in [
            &[("c", None, "A"), ("u", None, "A"), ("u", Some("A"), "B"), ("d", None, "B")][..],
            &[("r", None, "A"), ("r", None, "A"), ("u", Some("A"), "B")],
            &[("c", None, "A"), ("d", None, "A"), ("c", None, "A")],
            // The first records of a topic are older than its retention.
            &[("u", Some("A"), "B")],
            &[("d", None, "A")],
            // There and back in between: nothing is left anywhere.
            &[("c", None, "A"), ("u", Some("B"), "A")],
        ] {
            assert!(!state(changes).is_torn(), "{changes:?}");
        }
    }

    #[test]
    fn a_lost_change_before_another_one_leaves_a_row_that_nobody_takes_away() {
        for changes in [
            &[("c", None, "A"), ("u", Some("B"), "C")][..],
            &[("c", None, "A"), ("u", None, "B")],
            &[("c", None, "A"), ("c", None, "B")],
            &[("c", None, "A"), ("d", None, "B")],
            // Values of the row that is gone show through where the new one has none.
            &[("c", None, "A"), ("c", None, "A")],
        ] {
            let torn = state(changes);
            assert!(torn.is_torn(), "{changes:?}");
            // As the relay repairs it: once for each identity.
            let mut repaired = torn;
            let living = repaired.fields.clone();
            for old in repaired.identities().to_vec() {
                let old = old["nat"].as_str().unwrap();
                let lsn = repaired.lsn + 1;
                match &living {
                    Some(fields) => {
                        let new = fields["nat"].as_str().unwrap();
                        take(&mut repaired, "u", Some(old).filter(|old| *old != new), new, lsn, false);
                    }
                    None => take(&mut repaired, "d", None, old, lsn, false),
                }
            }
            assert!(!repaired.is_torn(), "{changes:?}");
        }
    }

    #[test]
    fn an_identity_is_not_forgotten_however_many_changes_keep_it() {
        let mut changes = vec![("c", None, "A"), ("u", Some("A"), "B")];
        changes.extend([("u", None, "B"); 1_000]);
        let state = state(&changes);
        let nats: Vec<&Value> = state.identities().iter().map(|identity| &identity["nat"]).collect();
        assert_eq!(nats, ["A", "B"]);
    }

    #[test]
    fn what_was_set_aside_is_not_expected_downstream() {
        let there = state(&[("c", None, "A")]);
        let mut here = state(&[("c", None, "A")]);
        assert!(here.is_ahead_of(None) && !here.is_ahead_of(Some(&there)));
        take(&mut here, "u", None, "A", 2, true);
        assert!(!here.is_ahead_of(Some(&there)), "an open dead letter");
        take(&mut here, "u", None, "A", 3, false);
        assert!(here.is_ahead_of(Some(&there)), "a later change of its key");
        take(&mut here, "u", None, "A", 3, true);
        assert!(!here.is_ahead_of(Some(&there)), "which failed when it was redriven");
    }

    #[test]
    fn what_is_redriven_takes_later_changes_not_back() {
        let mut state = state(&[("c", None, "A"), ("u", Some("A"), "B")]);
        take(&mut state, "c", None, "A", 1, false);
        assert!(!state.is_torn());
        assert_eq!(state.fields.as_ref().unwrap()["nat"], "B");
    }
}
