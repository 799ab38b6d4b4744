//! Cost of a page from the API's answer to the bytes of its COPY: check, parse, sort, write.
#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark")]

#[path = "../../domain/benches/common/mod.rs"]
mod common;

use std::hint::black_box;

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use fetcher::page::{PageRequest, parse};

/// Profiles of the page: what is counted of it is divided by this.
const PROFILES: usize = 5000;

#[global_allocator]
static ALLOCATIONS: divan::AllocProfiler = divan::AllocProfiler::system();

fn main() {
    divan::main();
}

#[divan::bench]
fn page_of_5000(bencher: Bencher<'_, '_>) {
    // A function of its own can be told apart by scripts/instructions.sh.
    #[inline(never)]
    fn hot_path(body: &[u8], request: &PageRequest) {
        drop(black_box(parse(black_box(body), true, request).unwrap()));
    }
    let request = PageRequest {
        seed: "bench".to_owned(),
        number: 1,
        users: PROFILES.try_into().unwrap(),
        nationalities: Vec::new(),
    };
    let body = body();
    bencher
        .counter(ItemsCount::new(PROFILES))
        .counter(BytesCount::new(body.len()))
        .bench_local(|| hot_path(&body, &request));
}

/// The profiles over and over, each time under ids of their own: the page leaves out whom it has already.
fn body() -> Vec<u8> {
    let texts = common::texts();
    let profiles = common::profiles();
    let copy = |number: usize| {
        let (text, profile) = (texts[number % texts.len()], &profiles[number % texts.len()]);
        let id = profile.id.to_string();
        text.replacen(&id, &format!("{:08x}{}", number, &id[8..]), 1)
    };
    let results: Vec<String> = (0..PROFILES).map(copy).collect();
    let info = format!(r#"{{"seed":"bench","results":{PROFILES},"page":1,"version":"1.4"}}"#);
    format!(r#"{{"results":[{}],"info":{info}}}"#, results.join(",")).into_bytes()
}
