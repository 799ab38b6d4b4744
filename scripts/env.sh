# shellcheck shell=bash
# Sourced by the other scripts: the root of the project, and cargo on the path.
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit
command -v cargo >/dev/null || PATH="$HOME/.cargo/bin:$PATH"
target="${CARGO_TARGET_DIR:-target}/release"
export target
