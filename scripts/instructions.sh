#!/usr/bin/env bash
# Instructions per record of each hot path, counted by valgrind: a report that hardly depends on the machine, beside
# the times and allocations of `cargo bench`. It judges nothing: what is too much is for whoever reads it.
set -euo pipefail
source "$(dirname "$0")/env.sh"

if ! command -v valgrind >/dev/null; then
    echo "instructions: SKIPPED: valgrind is not installed"
    exit 0
fi

# package, bench, function, iterations, records of an iteration
hot_paths="fetcher page page_of_5000 2 5000
domain users parse_profile 2000 1
relay change change_to_record 2000 1
stream-processor engine process_record 2000 1
cassandra-sink record record_to_statement 2000 1"

benches=()
while read -r _ bench _; do benches+=(--bench "$bench"); done <<<"$hot_paths"
# With the whole workspace's features, as everything else is built.
built=$(cargo bench --workspace "${benches[@]}" --no-run 2>&1) || { echo "$built" >&2; exit 1; }

printf '%-18s %-22s %12s\n' crate 'hot path' 'instructions'
while read -r package bench function iterations records; do
    program=$(sed -n "s|.* benches/$bench.rs (\(.*\))|\1|p" <<<"$built" | head -n 1)
    # Only what runs in the function `hot_path` of the benchmark counts.
    counted=$(valgrind --tool=callgrind --callgrind-out-file=/dev/null --toggle-collect='*::hot_path*' "$program" \
        --bench --sample-count 1 --sample-size "$iterations" "$function\$" 2>&1 >/dev/null |
        sed -n 's/.*Collected : *\([0-9]*\).*/\1/p') || counted=""
    printf '%-18s %-22s %12s\n' "$package" "$function" "${counted:+$((counted / iterations / records))}"
done <<<"$hot_paths"
