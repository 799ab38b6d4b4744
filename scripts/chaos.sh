#!/usr/bin/env bash
# Kills and stops services and servers at random for a while, then compares every stage. A seed gives the same faults:
# CHAOS_SECONDS=1800 CHAOS_SEED=7 make chaos
set -euo pipefail
source "$(dirname "$0")/env.sh"

scripts/setup.sh
cargo build --release --workspace --all-targets
cargo test --release --workspace --test suite -- --ignored --nocapture chaos::
