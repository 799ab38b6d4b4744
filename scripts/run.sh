#!/usr/bin/env bash
# Everything, from nothing: builds, starts the servers and services, runs the DAG, shows what arrived.
# COUNT, SOURCE (auto, live or sim), KRAFT=1 and SPARK=1 change what is run.
set -euo pipefail
source "$(dirname "$0")/env.sh"

scripts/setup.sh
cargo build --release --workspace --bins ${SPARK:+--lib}
"$target/pipeline" up --source "${SOURCE:-auto}" ${KRAFT:+--kraft} ${SPARK:+--spark}
"$target/pipeline" run --count "${COUNT:-5000}" --show-rows 5
