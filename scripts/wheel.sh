#!/usr/bin/env bash
# Builds the Python wheel of crates/spark-module into target/wheels: what Spark's driver and workers need besides
# pyarrow. It fits the machine it is built on, and those with the same or a newer C library and OpenSSL 3.
set -euo pipefail
source "$(dirname "$0")/env.sh"

maturin_version=1.16.0

folder="${CARGO_TARGET_DIR:-target}"
python3 -m venv "$folder/wheel-tools"
"$folder/wheel-tools/bin/pip" install -q "maturin==$maturin_version"
# Of this crate alone, so with fewer features than `make test` builds: dependencies may be built once more.
"$folder/wheel-tools/bin/maturin" build --release --locked --manifest-path crates/spark-module/Cargo.toml \
    --compatibility linux --auditwheel skip --out "$folder/wheels" "$@"
