#!/usr/bin/env bash
# Micro-benchmarks of the hot paths.
set -euo pipefail
source "$(dirname "$0")/env.sh"

cargo bench --workspace --benches "$@"
