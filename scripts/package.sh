#!/usr/bin/env bash
# Packs a release's archive, datastreaming-VERSION-ARCH.tar.gz, and prints its line of SHA256SUMS. The same programs of
# the same commit give the same bytes, so anybody can compare an archive with one of their own.
# Usage: scripts/package.sh PROGRAMS_FOLDER OUTPUT_FOLDER [ARCH]
set -euo pipefail
if [ "$#" -lt 2 ]; then
    echo "usage: scripts/package.sh PROGRAMS_FOLDER OUTPUT_FOLDER [ARCH]" >&2
    exit 1
fi
# Before env.sh changes the working directory.
from=$(realpath "$1")
to=$(realpath -m "$2")
source "$(dirname "$0")/env.sh"

name=datastreaming-$(workspace_version)-${3:-$(uname -m)}
time=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

install -d -m 755 "$work/$name"
for program in fetcher relay stream-processor cassandra-sink pipeline randomuser-sim; do
    if [ ! -f "$from/$program" ]; then
        echo "package: $from/$program does not exist: a release has all six programs" >&2
        exit 1
    fi
    install -m 755 "$from/$program" "$work/$name/"
done
texts=$from/THIRD_PARTY_LICENSES.txt
if [ ! -f "$texts" ]; then
    echo "package: $texts does not exist: python3 scripts/licences.py --texts $texts" >&2
    exit 1
fi
install -m 644 LICENSE THIRD_PARTY.md "$texts" "$work/$name/"

mkdir -p "$to"
# Order, owners and times do not come from the machine that packs.
tar --sort=name --format=ustar --owner=0 --group=0 --numeric-owner --mtime="@$time" -C "$work" -c "$name" |
    gzip -9 -n >"$work/$name.tar.gz"
mv "$work/$name.tar.gz" "$to/"
chmod 644 "$to/$name.tar.gz"
cd "$to"
sha256sum "$name.tar.gz"
