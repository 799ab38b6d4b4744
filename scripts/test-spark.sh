#!/usr/bin/env bash
# Spark in place of the stream-processor, on a real cluster of this machine: conformance, kills, and what is refused.
# Arguments go to the test binary, such as the name of one test.
set -euo pipefail
source "$(dirname "$0")/env.sh"

scripts/setup.sh
# As `make test` builds it, so that nothing is compiled twice.
cargo build --release --workspace --lib --bins --tests
cargo test --release --workspace --test suite -- --ignored --test-threads 1 --nocapture spark:: "$@"
