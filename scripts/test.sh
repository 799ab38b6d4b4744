#!/usr/bin/env bash
# Every test. The black-box suite starts the real servers once and finds our binaries beside itself, so the binaries
# and the tests are built by one command, with one set of features.
set -euo pipefail
source "$(dirname "$0")/env.sh"

scripts/setup.sh
# Seconds, without servers.
tests/release/test.sh
cargo build --release --workspace --all-targets
cargo test --release --workspace --all-targets "$@"
