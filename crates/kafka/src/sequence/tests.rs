use proptest::prelude::*;
use rdkafka::message::{Header, Headers as _, OwnedHeaders};

use super::*;

fn number(number: u64) -> Sequence {
    Sequence { stream: 7, source: 2, number }
}

fn missing(first: u64, last: u64) -> Missing {
    Missing { stream: 7, source: 2, first, last, wide: false }
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
    assert_eq!(seen.missing().last(), Some(&Missing { wide: true, ..missing(32, 1998) }));
}

#[test]
fn sources_that_take_turns_do_not_make_ranges_without_bound() {
    let mut seen = Seen::default();
    for n in 0..1000 {
        for source in 0..2 {
            seen.take(Sequence { source, ..number(n * 2 + 1) });
        }
    }
    assert_eq!(seen.missing().len(), MAX_MISSING);
    let last = |source| seen.missing().iter().rfind(|gap| gap.source == source).unwrap().last;
    assert_eq!([last(0), last(1)], [1998; 2]);
}

#[test]
fn a_repeat_in_a_wide_range_is_none_that_came_late() {
    let mut seen = seen((0..1000).map(|n| n * 2 + 1));
    assert_eq!(seen.take(number(501)), Verdict::Repeat);
    assert_eq!(seen.missing().len(), MAX_MISSING, "the alarm stays until the repair");
    assert_eq!(seen.take(number(4)), Verdict::Next, "a range that is not wide");
}

#[test]
fn a_record_of_the_stream_before_is_a_repeat() {
    let mut seen = seen([1, 2, 5]);
    let new = |number| Sequence { stream: 9, source: 2, number };
    assert_eq!(seen.take(new(1)), Verdict::Next);
    for repeated in [1, 2, 5] {
        assert_eq!(seen.take(number(repeated)), Verdict::Repeat);
    }
    assert_eq!(seen.take(number(4)), Verdict::Next, "it was missing");
    assert_eq!(seen.take(new(2)), Verdict::Next, "the count goes on");
    assert_eq!(seen.missing(), [missing(3, 3)]);
    // A clock was set back: it is a new count all the same.
    let back = |number| Sequence { stream: 8, source: 2, number };
    assert_eq!([1, 2].map(|n| seen.take(back(n))), [Verdict::Next; 2]);
    assert_eq!(seen.take(new(2)), Verdict::Repeat);
}

#[test]
fn a_ledger_is_kept_as_metadata() {
    let mut sent = Sent { stream: 9, ..Sent::default() };
    assert_eq!(sent.next(4, 0), Sequence { stream: 9, source: 4, number: 1 });
    assert_eq!(sent.next(4, 0).number, 2);
    let ledger = Ledger { seen: seen([1, 3]), sent: Some(sent), snapshot: None };
    let metadata = ledger.to_metadata();
    assert_eq!(
        metadata,
        r#"{"seen":{"last":{"2":[7,3]},"missing":[{"stream":7,"source":2,"first":2,"last":2}]},"sent":{"stream":9,"last":{"0":2}}}"#
    );
    assert_eq!(Ledger::parse(&metadata), ledger);
    assert_eq!(Ledger::parse("somebody else's"), Ledger::default());
}

#[test]
fn what_does_not_fit_is_never_forgotten_without_a_word() {
    let of = |sources: i32, gaps: u64| {
        let mut seen = Seen::default();
        for source in 0..sources {
            (0..=gaps).for_each(|n| _ = seen.take(Sequence { source, ..number(n * 2 + 1_000_000) }));
        }
        Ledger { seen, ..Ledger::default() }
    };
    let fits = of(20, 30);
    let kept = Ledger::parse(&fits.to_metadata());
    assert!(fits.fits() && !kept.seen.is_forgotten());
    assert_eq!(kept.seen.last, fits.seen.last);
    let ends = |ledger: &Ledger| ledger.seen.missing().iter().map(|gap| gap.last).max();
    assert_eq!(ends(&kept), ends(&fits));
    for too_much in [of(400, 0), of(100, 1)] {
        assert!(!too_much.fits());
        assert!(Ledger::parse(&too_much.to_metadata()).seen.is_forgotten());
    }
    let sent = Sent { stream: 9, last: (0..1000).map(|partition| (partition, 1)).collect() };
    let writes = Ledger { sent: Some(sent), ..Ledger::default() };
    assert!(!writes.fits());
    let kept = Ledger::parse(&writes.to_metadata());
    assert!(kept.seen.is_forgotten() && kept.sent.is_none());
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
