#!/usr/bin/env bash
# Fuzzes what reads foreign bytes, a minute each: SECONDS_EACH=600 TARGET=pgoutput make fuzz. An input that breaks one is
# kept in target/fuzz/TARGET/ and named.
set -euo pipefail
source "$(dirname "$0")/env.sh"

scripts/setup.sh
host=$(rustc -vV | sed -n 's/^host: //p')
folder="${CARGO_TARGET_DIR:-target}/fuzz"
# What libFuzzer needs to see which branches an input takes. With --target, so that no build script is compiled so.
coverage="--cfg fuzzing -Cpasses=sancov-module -Ccodegen-units=1"
for option in level=4 inline-8bit-counters pc-table trace-compares; do
    coverage+=" -Cllvm-args=-sanitizer-coverage-$option"
done
RUSTFLAGS=$coverage cargo build --profile fuzz --target "$host" --target-dir "$folder" --package fuzz \
    --features libfuzzer --bins
for target in ${TARGET:-avro copy pgoutput registry sequence}; do
    mkdir -p "$folder/$target/corpus"
    echo "fuzz: $target"
    "$folder/$host/fuzz/fuzz-$target" -max_total_time="${SECONDS_EACH:-60}" -timeout=10 -rss_limit_mb=2048 \
        -print_final_stats=1 -verbosity=0 -artifact_prefix="$folder/$target/" "$folder/$target/corpus"
done
