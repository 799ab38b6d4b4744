#!/usr/bin/env bash
# Stops everything that `make run` started; the data stays.
set -euo pipefail
source "$(dirname "$0")/env.sh"

if [ ! -x "$target/pipeline" ]; then
    echo "stop: nothing was built here, so nothing was started from here"
    exit 0
fi
"$target/pipeline" down
