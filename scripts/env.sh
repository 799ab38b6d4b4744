# shellcheck shell=bash
# Sourced by the other scripts: the root of the project, and cargo on the path.
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit
command -v cargo >/dev/null || PATH="$HOME/.cargo/bin:$PATH"
target="${CARGO_TARGET_DIR:-target}/release"
# A link to the programs that `make run` used last: to $target, or to an unpacked release beside it.
programs="${CARGO_TARGET_DIR:-target}/programs"
export target programs

# Prints the version that Cargo.toml gives the workspace.
workspace_version() { sed -n '/^\[workspace\.package\]/,/^\[w/s/^version = "\(.*\)"/\1/p' Cargo.toml; }
