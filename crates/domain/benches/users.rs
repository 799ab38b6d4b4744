//! Cost of a profile: parsing the API's JSON, and transforming its row with and without a PII policy.
#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark")]

mod common;

use divan::Bencher;
use domain::pii::{PiiPolicy, Rules, TextRule};
use domain::{profile, transform};
use std::hint::black_box;

#[global_allocator]
static ALLOCATIONS: divan::AllocProfiler = divan::AllocProfiler::system();

fn main() {
    divan::main();
}

#[divan::bench]
fn parse_profile(bencher: Bencher<'_, '_>) {
    // A function of its own can be told apart by scripts/instructions.sh.
    #[inline(never)]
    fn hot_path(text: &str) {
        drop(black_box(profile::parse(black_box(text)).unwrap()));
    }
    let texts = common::texts();
    let mut next = common::endless(&texts);
    bencher.bench_local(|| hot_path(next()));
}

fn bench_transform(bencher: Bencher<'_, '_>, policy: &PiiPolicy) {
    #[inline(never)]
    fn hot_path(row: &domain::RawUser<'_>, policy: &PiiPolicy) {
        drop(black_box(transform(black_box(row), policy).unwrap()));
    }
    let profiles = common::profiles();
    let ids: Vec<_> = profiles.iter().map(|profile| profile.id.to_string()).collect();
    let rows: Vec<_> = profiles.iter().zip(&ids).map(|(profile, id)| common::row(profile, id)).collect();
    let mut next = common::endless(&rows);
    bencher.bench_local(|| hot_path(next(), policy));
}

#[divan::bench]
fn transform_row(bencher: Bencher<'_, '_>) {
    bench_transform(bencher, &PiiPolicy::keep_all());
}

#[divan::bench]
fn transform_row_with_one_hmac(bencher: Bencher<'_, '_>) {
    let rules = Rules { first_name: TextRule::Mask, email: TextRule::Hmac, ..Rules::default() };
    bench_transform(bencher, &PiiPolicy::new(rules, Some(b"0123456789abcdef")).unwrap());
}
