#!/usr/bin/env bash
# Prints the notes of a release: the section of its version in CHANGELOG.md. Fails if the tag, or a file that repeats
# the version, is not of the version in Cargo.toml. Usage: scripts/release-notes.sh TAG
set -euo pipefail
source "$(dirname "$0")/env.sh"

tag=${1:?usage: scripts/release-notes.sh TAG}
version=$(workspace_version)
wrong() { echo "release: $1" >&2; exit 1; }

[ "$tag" = "v$version" ] || wrong "the tag is $tag, but Cargo.toml has version $version"

# The labels of our images, their tags, and the version of the module that Spark's job expects.
other=$(grep -noE 'image\.version="[^"]*"|image: datastreaming/[^:]*:[^ ]*|^MODULE_VERSION = "[^"]*"' \
    docker/Dockerfile docker-compose.yml spark/users_job.py | grep -vE "[:\"]${version//./\\.}\"?\$" || true)
[ -z "$other" ] || wrong "Cargo.toml has version $version, but:"$'\n'"$other"

notes=$(awk -v heading="## $version" '
    /^## / { on = $0 == heading || index($0, heading " ") == 1; next }
    on' CHANGELOG.md)
[ -n "$notes" ] || wrong "CHANGELOG.md has no section \"## $version\""
echo "$notes"
