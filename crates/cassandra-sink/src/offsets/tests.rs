use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn positions(of: &[Position]) -> Vec<(i32, i64)> {
    of.iter().map(|position| (position.partition, position.next)).collect()
}

proptest! {
    /// Whatever the order in which records end: the position never passes an unfinished record, and it is right
    /// behind the last one when all are finished.
    #[test]
    fn the_position_is_contiguous(
        gaps in prop::collection::vec(1_i64..4, 1..60),
        order in any::<prop::sample::Index>(),
        swaps in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 0..80),
    ) {
        let offsets = Offsets::default();
        offsets.assign([7]);
        let mut next = 0;
        let mut tickets = Vec::new();
        for gap in gaps {
            next += gap;
            tickets.push((next, offsets.read(7, next, None, Mark::default()).unwrap().0));
        }
        let all: Vec<i64> = tickets.iter().map(|(offset, _)| *offset).collect();
        let turn = order.index(tickets.len());
        tickets.rotate_left(turn);
        for (a, b) in swaps {
            let (a, b) = (a.index(tickets.len()), b.index(tickets.len()));
            tickets.swap(a, b);
        }
        let mut done = std::collections::BTreeSet::new();
        for (offset, ticket) in tickets {
            prop_assert!(offsets.begin(&ticket));
            offsets.end(&ticket, End::Done);
            done.insert(offset);
            let contiguous = all.iter().take_while(|offset| done.contains(offset)).last().map(|last| last + 1);
            prop_assert_eq!(offsets.partitions(), vec![(7, contiguous, None)]);
        }
        prop_assert_eq!(positions(&offsets.to_commit()), vec![(7, next + 1)]);
    }
}

#[test]
fn only_what_is_new_is_committed() {
    let offsets = Offsets::default();
    offsets.assign([0, 1]);
    for partition in [0, 1] {
        let ticket = offsets.read(partition, 5, Some(1000), Mark::default()).unwrap().0;
        assert!(offsets.begin(&ticket));
        offsets.end(&ticket, End::Done);
    }
    assert_eq!(positions(&offsets.to_commit()), [(0, 6), (1, 6)]);
    offsets.committed(0, 6);
    assert_eq!(positions(&offsets.to_commit()), [(1, 6)]);
}

#[test]
fn markers_are_passed_only_when_nothing_is_unfinished() {
    let offsets = Offsets::default();
    offsets.assign([0]);
    let ticket = offsets.read(0, 5, Some(1000), Mark::default()).unwrap().0;
    assert!(offsets.begin(&ticket));
    offsets.settle(0, 7);
    assert_eq!(offsets.partitions(), [(0, None, Some(1000))]);
    offsets.end(&ticket, End::Done);
    offsets.settle(0, 7);
    assert_eq!(offsets.partitions(), [(0, Some(7), None)]);
    offsets.settle(0, 6);
    assert_eq!(offsets.partitions(), [(0, Some(7), None)]);
}

#[test]
fn an_abandoned_record_holds_the_position() {
    let offsets = Offsets::default();
    offsets.assign([0]);
    let tickets = [0, 1].map(|offset| offsets.read(0, offset, None, Mark::default()).unwrap().0);
    for (ticket, end) in tickets.iter().zip([End::Abandoned, End::Done]) {
        assert!(offsets.begin(ticket));
        offsets.end(ticket, end);
    }
    assert_eq!(offsets.give_up(&[0], Duration::ZERO), []);
}

#[test]
fn giving_up_waits_for_what_has_begun_and_begins_nothing_more() {
    let offsets = Arc::new(Offsets::default());
    offsets.assign([0]);
    let [begun, queued] = [0, 1].map(|offset| offsets.read(0, offset, None, Mark::default()).unwrap().0);
    assert!(offsets.begin(&begun));
    let giver = {
        let offsets = Arc::clone(&offsets);
        std::thread::spawn(move || offsets.give_up(&[0], Duration::from_secs(60)))
    };
    while offsets.is_wanted(&begun) {
        std::thread::yield_now();
    }
    assert!(!offsets.begin(&queued));
    offsets.end(&begun, End::Done);
    assert_eq!(positions(&giver.join().unwrap()), [(0, 1)]);
    assert_eq!(offsets.read(0, 2, None, Mark::default()), None);
}

#[test]
fn a_ticket_of_an_earlier_assignment_counts_for_nothing() {
    let offsets = Offsets::default();
    offsets.assign([0]);
    let stale = offsets.read(0, 0, None, Mark::default()).unwrap().0;
    assert!(offsets.begin(&stale));
    assert_eq!(offsets.give_up(&[0], Duration::ZERO), []);
    offsets.assign([0]);
    let fresh = offsets.read(0, 0, None, Mark::default()).unwrap().0;
    offsets.end(&stale, End::Done);
    assert!(!offsets.is_wanted(&stale));
    assert_eq!(positions(&offsets.to_commit()), []);
    assert!(offsets.begin(&fresh));
    offsets.end(&fresh, End::Done);
    assert_eq!(positions(&offsets.to_commit()), [(0, 1)]);
}

#[test]
fn what_was_seen_is_committed_with_the_position_that_it_belongs_to() {
    let offsets = Offsets::new("t");
    offsets.assign([0]);
    assert_eq!(offsets.unknown(), [0]);
    offsets.begin_after(0, Seen::default(), Snapshot::Past);
    assert!(offsets.unknown().is_empty());
    let number = |number| Mark { sequence: format!("7/0/{number}").parse().ok(), repaired: Vec::new() };
    let read = |offset, mark| offsets.read(0, offset, None, mark);
    let (first, _) = read(10, number(1)).unwrap();
    let (second, verdict) = read(11, number(4)).unwrap();
    assert!(matches!(verdict, Verdict::Gap(_)));
    assert_eq!(read(11, number(4)), None, "handed out again");
    let (third, verdict) = read(12, number(4)).unwrap();
    assert_eq!(verdict, Verdict::Repeat);
    let finish = |ticket: &Ticket| {
        assert!(offsets.begin(ticket));
        offsets.end(ticket, End::Done);
        offsets.to_commit().pop().map(|position| position.ledger.seen.missing().to_vec())
    };
    assert_eq!(finish(&second), None);
    assert_eq!(finish(&first).unwrap().len(), 1, "both are done");
    assert_eq!(finish(&third).unwrap().len(), 1);
    let gap = offsets.seen()[0].1.missing()[0];
    let end = Mark { sequence: None, repaired: vec![gap.repaired("t", 0)] };
    let (repair, verdict) = read(13, end).unwrap();
    assert_eq!(verdict, Verdict::Next);
    assert_eq!(finish(&repair).unwrap(), []);
}

#[test]
fn only_the_snapshot_that_a_group_begins_with_finds_empty_tables() {
    let offsets = Offsets::default();
    let read = |partition, offset| offsets.read(partition, offset, None, Mark::default()).unwrap().0;
    offsets.assign([0, 1, 2]);
    for (partition, snapshot) in [(0, Snapshot::Awaited), (1, Snapshot::At(7)), (2, Snapshot::Past)] {
        offsets.begin_after(partition, Seen::default(), snapshot);
    }
    let [first, second] = [read(0, 0), read(0, 1)];
    assert!(!offsets.is_first_snapshot(&second, Some(7)), "the first record has not told yet");
    assert!(offsets.is_first_snapshot(&first, Some(7)));
    assert!(offsets.is_first_snapshot(&second, Some(7)));
    assert!(!offsets.is_first_snapshot(&second, Some(9)), "rows that were read once more");
    assert!(!offsets.is_first_snapshot(&second, None), "another change");
    assert!(offsets.begin(&first));
    offsets.end(&first, End::Done);
    assert_eq!(offsets.to_commit()[0].ledger.snapshot, Some(7), "kept with the position");
    assert!(offsets.is_first_snapshot(&read(1, 0), Some(7)));
    assert!(!offsets.is_first_snapshot(&read(2, 0), Some(7)));

    offsets.assign([3]);
    offsets.begin_after(3, Seen::default(), Snapshot::Awaited);
    assert!(!offsets.is_first_snapshot(&read(3, 0), None), "the group begins with a change");
    assert!(!offsets.is_first_snapshot(&read(3, 1), Some(9)));
    assert_eq!(offsets.unfinished(), 5);
}
