#!/usr/bin/env bash
# Whether cargo can work on the files that .dockerignore leaves for the images: each package that it does not leave out
# has to be there with its manifest and sources.
set -euo pipefail
source "$(dirname "$0")/env.sh"

context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT
sed -n 's/^!//p' .dockerignore | xargs git ls-files -z --cached --others --exclude-standard -- |
    tar --null -T - --ignore-failed-read -c | tar -C "$context" -x
cargo metadata --format-version 1 --no-deps --locked --manifest-path "$context/Cargo.toml" >/dev/null || {
    echo "context_check: the images can't be built from what .dockerignore leaves: name the missing files there" >&2
    exit 1
}
