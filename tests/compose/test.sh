#!/usr/bin/env bash
# docker-compose.yml, unchanged, from nothing to profiles in Cassandra, through kills, scaling and restarts.
# Needs a Docker engine, or root on Debian to install and start one; exit code 3 if there can be none. ONLY=images stops
# after the images are built. KEEP=1 leaves the containers up at the end.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
cd "$root"
work=$(mktemp -d)
project=datastreaming-test
compose_files=(-f docker-compose.yml)

# shellcheck source=scripts/env.sh
source scripts/env.sh
# shellcheck source=tests/compose/engine.sh
source "$here/engine.sh"
# shellcheck source=tests/compose/stand-ins.sh
source "$here/stand-ins.sh"
# shellcheck source=tests/compose/checks.sh
source "$here/checks.sh"

compose() { docker compose --project-directory "$root" --project-name "$project" --env-file "$work/.env" "${compose_files[@]}" "$@"; }

clean_up() {
    local status=$?
    if [ "$status" -ne 0 ] && [ -e "$work/.env" ]; then
        compose ps --all || true
        compose logs --tail 20 --no-color || true
    fi
    if [ "${KEEP:-0}" != 1 ]; then
        [ -e "$work/.env" ] && compose --profile '*' down --volumes --remove-orphans --timeout 20 >"$work/down.log" 2>&1
        stop_engine
        rm -rf "$work"
    fi
    exit "$status"
}
trap clean_up EXIT

start_engine
sh docker/env.sh "$work/.env" >/dev/null
# The public API may be out of reach, and a test must not depend on what it returns today.
cat >>"$work/.env" <<'ENV'
COMPOSE_PROFILES=sim
FETCHER_API_URL=http://randomuser-sim:8010/api/1.4/
FETCHER_USERS_PER_WINDOW=0
ENV
# shellcheck source=/dev/null
source "$work/.env"

step "configuration is valid, and a missing value has one clear message" check_configuration
step "images" check_images
if [ "${ONLY:-}" = images ]; then
    print_report
    exit 0
fi
step "cold start: every service is healthy" check_cold_start
step "a DAG run brings 5,000 profiles to Cassandra" check_dag_run
for service in fetcher relay stream-processor cassandra-sink broker postgres cassandra schema-registry; do
    step "$service is killed while a run is in flight" check_kill "$service"
done
step "three stream processors and two sinks share the work" check_scale
step "down and up keeps all data" check_down_and_up
step "a wrong value in .env has one clear message" check_wrong_value
step "Spark does the stream-processor's work" check_spark
step "down -v removes the data" check_down_volumes
print_report
