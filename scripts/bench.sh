#!/usr/bin/env bash
# The pipeline beside its peers: `make bench`, QUICK=1 for a short form. Arguments go to target/release/bench.
# Micro-benchmarks of the hot paths are `cargo bench --workspace --benches`.
set -euo pipefail
source "$(dirname "$0")/env.sh"

scripts/setup.sh
# The peers' own programs: what the pipeline itself can do without.
for need in javac:openjdk-17-jdk-headless pg_recvlogical:postgresql-client; do
    command -v "${need%%:*}" >/dev/null || {
        echo "bench: ${need%%:*} is missing: install the package ${need#*:}" >&2
        exit 1
    }
done
# With the tests, as `make test` does: one set of features, so that nothing is built twice. --lib for the one that
# Spark loads, which no program links.
cargo build --release --workspace --lib --bins --tests
exec "$target/bench" ${QUICK:+--quick} "$@"
