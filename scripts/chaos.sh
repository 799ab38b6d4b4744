#!/usr/bin/env bash
# Breaks services, servers and connections at random for a while, then compares every stage. A seed gives the same
# faults: MINUTES=10 SEED=7 RATE=20 make chaos
set -euo pipefail
source "$(dirname "$0")/env.sh"

scripts/setup.sh
cargo build --release --workspace --bins
"$target/chaos" --minutes "${MINUTES:-30}" --seed "${SEED:-1}" --rate "${RATE:-80}" "$@"
