use proptest::prelude::*;
use rdkafka::message::{Header, Headers as _, OwnedHeaders};

use super::*;

fn number(number: u64) -> Sequence {
    Sequence { stream: 7, source: 2, number }
}

fn missing(first: u64, last: u64) -> Missing {
    Missing { stream: 7, source: 2, first, last }
}

fn seen(numbers: impl IntoIterator<Item = u64>) -> Seen {
    let mut seen = Seen::default();
    numbers.into_iter().for_each(|n| _ = seen.take(number(n)));
    seen
}

#[test]
fn a_reader_begins_anywhere_and_then_counts() {
    let mut seen = Seen::default();
    let verdicts = [41, 42, 42, 41, 43, 46].map(|n| seen.take(number(n)));
    let repeat = Verdict::Repeat;
    let next = Verdict::Next;
    assert_eq!(verdicts, [next, next, repeat, repeat, next, Verdict::Gap(missing(44, 45))]);
    assert_eq!(seen.missing(), [missing(44, 45)]);
}

#[test]
fn what_comes_late_is_missing_no_longer() {
    let mut seen = seen([1, 6]);
    assert_eq!(seen.take(number(4)), Verdict::Next);
    assert_eq!(seen.missing(), [missing(2, 3), missing(5, 5)]);
    assert_eq!(seen.take(number(4)), Verdict::Repeat);
    for late in [2, 3, 5] {
        assert_eq!(seen.take(number(late)), Verdict::Next);
    }
    assert_eq!(seen.missing(), []);
}

#[test]
fn a_new_stream_begins_with_one() {
    let mut seen = seen([5]);
    assert_eq!(seen.take(Sequence { stream: 8, ..number(1) }), Verdict::Next);
    let gap = Missing { stream: 9, ..missing(1, 2) };
    assert_eq!(seen.take(Sequence { stream: 9, ..number(3) }), Verdict::Gap(gap));
    assert_eq!(seen.take(Sequence { source: 3, ..number(100) }), Verdict::Next, "another source");
}

#[test]
fn a_repair_ends_what_it_names() {
    let mut seen = seen([1, 4, 6]);
    assert!(!seen.repair(&missing(2, 3).repaired("t", 1), "t", 0));
    assert!(seen.repair(&missing(2, 3).repaired("t", 0), "t", 0));
    assert_eq!(seen.missing(), [missing(5, 5)]);
}

#[test]
fn many_gaps_are_told_apart_only_up_to_a_bound() {
    let seen = seen((0..1000).map(|n| n * 2 + 1));
    assert_eq!(seen.missing().len(), MAX_MISSING);
    assert_eq!(seen.missing().last(), Some(&missing(32, 1998)));
}

#[test]
fn a_ledger_is_kept_as_metadata() {
    let mut sent = Sent { stream: 9, ..Sent::default() };
    assert_eq!(sent.next(4, 0), Sequence { stream: 9, source: 4, number: 1 });
    assert_eq!(sent.next(4, 0).number, 2);
    let ledger = Ledger { seen: seen([1, 3]), sent: Some(sent) };
    let metadata = ledger.to_metadata();
    assert_eq!(
        metadata,
        r#"{"seen":{"last":{"2":[7,3]},"missing":[{"stream":7,"source":2,"first":2,"last":2}]},"sent":{"stream":9,"last":{"0":2}}}"#
    );
    assert_eq!(Ledger::parse(&metadata), ledger);
    assert_eq!(Ledger::parse("somebody else's"), Ledger::default());
    let sent = Sent { stream: 9, last: (0..1000).map(|partition| (partition, 1)).collect() };
    assert_eq!(Ledger { sent: Some(sent), ..Ledger::default() }.to_metadata(), "");
}

#[test]
fn headers_are_read_and_stamped() {
    let headers = OwnedHeaders::new()
        .insert(Header { key: "traceparent", value: Some("00") })
        .insert(Header { key: HEADER, value: Some("7/2/5") })
        .insert(Header { key: REPAIRED, value: Some("t/0/7/2/1-1") });
    let mark = read(Some(&headers));
    assert_eq!(mark, Mark { sequence: Some(number(5)), repaired: vec!["t/0/7/2/1-1".to_owned()] });
    let stamped = stamped(Some(&headers), number(6));
    assert_eq!(stamped.count(), 3);
    assert_eq!(read(Some(&stamped)).sequence, Some(number(6)));
    assert_eq!(read::<OwnedHeaders>(None), Mark::default());
    for wrong in ["", "1/2", "1/2/3/4", "1/x/3", "1/2/-3"] {
        assert!(wrong.parse::<Sequence>().is_err(), "{wrong}");
    }
}

proptest! {
    /// Whatever is lost, repeated or late: what never came is missing in the end, and nothing else.
    #[test]
    fn what_is_missing_is_what_never_came(kept in proptest::collection::vec(0_u64..30, 1..40)) {
        let mut seen = Seen::default();
        seen.take(number(0));
        kept.iter().for_each(|n| _ = seen.take(number(*n)));
        let top = kept.iter().copied().max().unwrap_or(0);
        let never: Vec<u64> = (1..=top).filter(|n| !kept.contains(n)).collect();
        let mut missing: Vec<u64> = seen.missing().iter().flat_map(|gap| gap.first..=gap.last).collect();
        missing.sort_unstable();
        prop_assert_eq!(missing, never);
    }
}
