use std::collections::BTreeMap;

use kafka::dead_letter;
use operate::dlq::RecordPosition;
use uuid::Uuid;

use super::dead::{BySource, Letters};
use super::history::{Change, Histories};
use super::runs::Run;
use super::stage::{Differences, Stage};
use super::state::{State, States};
use super::{dead, history, runs, tables};
use crate::load::fetching::PROFILES;

const KEY: Uuid = Uuid::from_u128(7);

fn state(email: &str) -> State {
    State {
        run_id: "r".to_owned(),
        country: "DK".to_owned(),
        registered_at: 1_000_001,
        email: Some(email.to_owned()),
        username: Some("u".to_owned()),
        document_name: Some("CPR".to_owned()),
        document_value: None,
    }
}

/// A topic with these changes of one key, by LSN and kind; each has the email of its LSN.
fn topic(changes: &[(i64, u8)]) -> Histories {
    let mut histories = Histories::default();
    let history = histories.by_key.entry(KEY).or_default();
    for (lsn, op) in changes.iter().copied() {
        history.tombstones += u64::from(op == b'd');
        history.add(Change { op, lsn, state: (op != b'd').then(|| state(&lsn.to_string())) });
    }
    histories
}

const SOUND: [(i64, u8); 3] = [(1, b'c'), (2, b'u'), (3, b'u')];

fn rows() -> States {
    BTreeMap::from([(KEY, state("3"))])
}

/// The first topic against PostgreSQL, and the second one against a sound first one.
fn stages(found: &Histories) -> [(Stage, Differences); 2] {
    let changes = BTreeMap::from([(KEY, b"cuu".to_vec())]);
    let (mut of_raw, mut of_processed) = (Differences::default(), Differences::default());
    let raw = history::with_changes("raw", found, &changes, &rows(), &mut of_raw);
    let processed = history::with_source("processed", found, &topic(&SOUND), &rows(), &mut of_processed);
    [(raw, of_raw), (processed, of_processed)]
}

/// What both stages count of a topic with these changes: lost, unexpected, repeated, out of order, different.
#[track_caller]
fn counts(found: &Histories, expected: [[u64; 5]; 2]) {
    let found = stages(found);
    for ((stage, differences), expected) in found.into_iter().zip(expected) {
        let Stage { lost, unexpected, repeated, out_of_order, different, .. } = stage;
        assert_eq!([lost, unexpected, repeated, out_of_order, different], expected, "{}", stage.name);
        assert_eq!(stage.equal(), differences.count == 0, "{differences:?}");
    }
}

#[test]
fn sound_topics_are_equal() {
    counts(&topic(&SOUND), [[0; 5]; 2]);
}

#[test]
fn a_lost_record_is_found() {
    counts(&topic(&[(1, b'c'), (3, b'u')]), [[1, 0, 0, 0, 0]; 2]);
    // The last one, too: the key ends in another state.
    counts(&topic(&[(1, b'c'), (2, b'u')]), [[1, 0, 0, 0, 1]; 2]);
    counts(&Histories::default(), [[3, 0, 0, 0, 1]; 2]);
}

#[test]
fn a_record_that_nobody_made_is_found() {
    counts(&topic(&[(1, b'c'), (2, b'u'), (3, b'u'), (4, b'u')]), [[0, 1, 0, 0, 1]; 2]);
    let mut foreign = topic(&SOUND);
    foreign.foreign.push(RecordPosition { partition: 0, offset: 4 });
    counts(&foreign, [[0, 1, 0, 0, 0]; 2]);
}

#[test]
fn a_repeated_record_is_found() {
    counts(&topic(&[(1, b'c'), (2, b'u'), (3, b'u'), (3, b'u')]), [[0, 0, 1, 0, 0]; 2]);
    // Repeated after a later one, it takes that back.
    counts(&topic(&[(1, b'c'), (2, b'u'), (3, b'u'), (2, b'u')]), [[0, 0, 1, 0, 1]; 2]);
}

#[test]
fn a_late_record_is_found() {
    counts(&topic(&[(1, b'c'), (3, b'u'), (2, b'u')]), [[0, 0, 0, 1, 1]; 2]);
    counts(&topic(&[(2, b'u'), (1, b'c'), (3, b'u')]), [[0, 0, 0, 1, 0]; 2]);
}

#[test]
fn a_different_record_is_found() {
    // Another kind of change.
    counts(&topic(&[(1, b'c'), (2, b'c'), (3, b'u')]), [[0, 0, 0, 0, 1]; 2]);
    // A delete without its tombstone.
    let mut bare = topic(&[(1, b'c'), (2, b'd'), (3, b'u')]);
    if let Some(history) = bare.by_key.get_mut(&KEY) {
        history.tombstones = 0;
    }
    counts(&bare, [[0, 0, 0, 0, 2]; 2]);
}

/// One state for each column that differs.
fn others() -> [State; 7] {
    let sound = state("3");
    [
        State { run_id: "s".to_owned(), ..sound.clone() },
        State { country: "SE".to_owned(), ..sound.clone() },
        State { registered_at: 2_000_001, ..sound.clone() },
        State { email: None, ..sound.clone() },
        State { username: Some("v".to_owned()), ..sound.clone() },
        State { document_name: None, ..sound.clone() },
        State { document_value: Some("1".to_owned()), ..sound },
    ]
}

#[test]
fn a_record_that_differs_in_any_column_is_found() {
    let below_a_milli = State { registered_at: 1_000_002, ..state("3") };
    for other in others().into_iter().chain([below_a_milli]) {
        let mut found = topic(&SOUND[..2]);
        let history = found.by_key.entry(KEY).or_default();
        history.add(Change { op: b'u', lsn: 3, state: Some(other) });
        counts(&found, [[0, 0, 0, 0, 1]; 2]);
    }
}

/// Lost and unexpected rows of a table.
fn table(is_whole: bool, rows_found: Vec<(Uuid, State)>) -> [u64; 2] {
    let mut differences = Differences::default();
    let stage = tables::compare("t", is_whole, rows_found, &rows(), &mut differences);
    assert_eq!(stage.equal(), differences.count == 0, "{differences:?}");
    [stage.lost, stage.unexpected]
}

#[test]
fn a_row_that_is_missing_left_behind_or_different_is_found_in_every_table() {
    // Cassandra has milliseconds.
    let whole = State { registered_at: 1_000_000, ..state("3") };
    let part = State { username: None, document_name: None, document_value: None, ..whole.clone() };
    for (is_whole, sound, columns) in [(true, whole, 7), (false, part, 4)] {
        assert_eq!(table(is_whole, vec![(KEY, sound.clone())]), [0, 0]);
        assert_eq!(table(is_whole, vec![]), [1, 0]);
        let elsewhere = State { country: "SE".to_owned(), ..sound.clone() };
        assert_eq!(table(is_whole, vec![(KEY, sound.clone()), (KEY, elsewhere)]), [0, 1]);
        assert_eq!(table(is_whole, vec![(KEY, sound.clone()), (Uuid::nil(), sound.clone())]), [0, 1]);
        for other in others().into_iter().take(columns) {
            let registered_at = other.registered_at - 1;
            let other = if is_whole { other } else { only_common(other) };
            assert_eq!(table(is_whole, vec![(KEY, State { registered_at, ..other })]), [1, 1]);
        }
    }
}

fn only_common(state: State) -> State {
    State { username: None, document_name: None, document_value: None, ..state }
}

/// Missing, repeated and unexpected dead letters.
fn letters(poison: &[i64], letters: &[(i64, u64)]) -> [u64; 3] {
    let at = |offset| RecordPosition { partition: 1, offset };
    let histories = Histories { poison: poison.iter().copied().map(at).collect(), ..Histories::default() };
    let letter = |count| Letters { count, kind: "not_avro".to_owned(), why: "k: w".to_owned() };
    let found: BySource = letters.iter().map(|(offset, count)| (at(*offset), letter(*count))).collect();
    let mut differences = Differences::default();
    let report = dead::compare("t", found, &histories, &mut differences);
    assert_eq!(report.topic, dead_letter::topic("t"));
    assert_eq!(report.equal(), differences.count == 0 && report.repeated == 0, "{differences:?}");
    assert_eq!(report.equal(), [report.missing, report.repeated, report.unexpected] == [0; 3]);
    [report.missing, report.repeated, report.unexpected]
}

#[test]
fn a_missing_repeated_or_unexpected_dead_letter_is_found() {
    assert_eq!(letters(&[1, 2], &[(1, 1), (2, 1)]), [0, 0, 0]);
    assert_eq!(letters(&[1, 2], &[(1, 1)]), [1, 0, 0]);
    assert_eq!(letters(&[1, 2], &[(1, 1), (2, 3)]), [0, 2, 0]);
    assert_eq!(letters(&[1], &[(1, 1), (9, 1)]), [0, 0, 1]);
}

#[test]
fn a_run_that_did_not_store_what_it_was_asked_for_is_found() {
    let profiles = i64::from(PROFILES);
    let run = |status: &str, stored, users| Run { status: status.to_owned(), stored, users };
    let differ = |runs: &[Run], asked| {
        let mut differences = Differences::default();
        let runs = runs.iter().enumerate().map(|(number, run)| (number.to_string(), run.clone())).collect();
        runs::judge(&runs, asked, &mut differences);
        differences.count
    };
    let sound = run("succeeded", profiles, profiles);
    assert_eq!(differ(std::slice::from_ref(&sound), 1), 0);
    assert_eq!(differ(&[sound], 2), 1);
    assert_eq!(differ(&[run("failed", profiles, profiles)], 1), 1);
    assert_eq!(differ(&[run("succeeded", profiles - 1, profiles)], 1), 1);
    assert_eq!(differ(&[run("succeeded", profiles, profiles + 1)], 1), 1);
}
