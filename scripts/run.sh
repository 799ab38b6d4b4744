#!/usr/bin/env bash
# Everything, from nothing: builds, or fetches the programs where the checkout is a release's; starts the servers and
# services, runs the DAG, shows what arrived. COUNT, SOURCE (auto, live or sim), KRAFT=1 and SPARK=1 change what is run;
# BUILD=1 builds in any checkout.
set -euo pipefail
source "$(dirname "$0")/env.sh"
source scripts/release.sh

reason=$(why_build)
if [ -z "$reason" ]; then
    scripts/setup.sh servers
    fetch_release
    reason=$why_not
fi
used=$release
if [ -n "$reason" ]; then
    echo "building: $reason"
    scripts/setup.sh
    # The servers are fetched while the compiler is at work; what fails here, `pipeline up` says.
    cargo build --release --workspace --bin local-servers
    "$target/local-servers" fetch ${KRAFT:+--kraft} --only "postgres,kafka,registry,cassandra,airflow${SPARK:+,spark}" >/dev/null 2>&1 &
    cargo build --release --workspace --bins ${SPARK:+--lib}
    used=$target
fi
# Both are beside the link, which has to hold wherever the target folder is seen from.
ln -sfn "${used##*/}" "$programs"

"$programs/pipeline" up --source "${SOURCE:-auto}" ${KRAFT:+--kraft} ${SPARK:+--spark}
"$programs/pipeline" run --count "${COUNT:-5000}" --show-rows 5
