#!/usr/bin/env bash
# Stops everything that `make run` started; the data stays.
set -euo pipefail
source "$(dirname "$0")/env.sh"

# $target for who built and started without `make run`.
for folder in "$programs" "$target"; do
    if [ -x "$folder/pipeline" ]; then
        exec "$folder/pipeline" down
    fi
done
echo "stop: nothing was built or fetched here, so nothing was started from here"
