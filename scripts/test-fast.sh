#!/usr/bin/env bash
# The tests that need no server. Arguments go to cargo-nextest.
set -euo pipefail
source "$(dirname "$0")/env.sh"
source scripts/nextest.sh

scripts/setup.sh
tests/release/test.sh
# As `make test` builds it, so that nothing is compiled twice.
cargo build --release --workspace --lib --bins --tests
nextest run --release --workspace --lib --bins --tests --profile fast "$@"
