#!/usr/bin/env bash
# Every test but the slow ones, against real servers, which all of them share. Arguments go to cargo-nextest, such as
# the name of a test.
set -euo pipefail
source "$(dirname "$0")/env.sh"
source scripts/nextest.sh

scripts/setup.sh
# Seconds, without servers.
tests/release/test.sh

tests_root=${TMPDIR:-/tmp}/rust-datastreaming-tests
rm -rf "$tests_root"
mkdir -p "$tests_root"
servers_log=$tests_root/servers.log

# The servers start while the compiler is at work.
cargo build --release --workspace --bin local-servers
"$target/local-servers" up --root "$tests_root/servers" --free-ports >"$servers_log" 2>&1 &
servers=$!
trap 'kill "$servers" 2>/dev/null; wait "$servers" || true' EXIT

# By one command, with one set of features, so that nothing is compiled twice. --lib for the one that Spark loads.
cargo build --release --workspace --lib --bins --tests
until grep -q '^ready' "$servers_log"; do
    kill -0 "$servers" 2>/dev/null || { echo "test: the servers did not start:" >&2; tail -n 20 "$servers_log" >&2; exit 1; }
    sleep 0.2
done
TEST_SERVERS=$tests_root/servers nextest run --release --workspace --lib --bins --tests "$@"
