#!/usr/bin/env bash
# docker-compose.yml, unchanged, from nothing to profiles in Cassandra, through kills, scaling, restarts, other passwords,
# Spark and KRaft. Needs a Docker engine, or root on Debian to install and start some (engine.sh); exit code 3 if there
# can be none. ONLY=configuration needs no engine and takes seconds, ONLY=images stops after the images are built. KEEP=1 leaves the containers up at the end. DOCKERS and WORK
# choose the engines and where their data is kept.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
cd "$root"
keep_work=${WORK:+1}
work=${WORK:-$(mktemp -d)}
mkdir -p "$work"
# What the tested commands see: the checkout of somebody who lets nobody else read it.
checkout=$work/checkout
project=datastreaming-test
variants=()
stand_in_files=()

# shellcheck source=scripts/env.sh
source scripts/env.sh
# shellcheck source=tests/compose/engine.sh
source "$here/engine.sh"
# shellcheck source=tests/compose/stand-ins.sh
source "$here/stand-ins.sh"
# shellcheck source=tests/compose/checks.sh
source "$here/checks.sh"
# shellcheck source=tests/compose/variants.sh
source "$here/variants.sh"

# With the files of the variants that are on, such as `variants=(kraft)`.
compose() {
    local files=(-f docker-compose.yml) variant
    for variant in "${variants[@]}"; do files+=(-f "docker-compose.$variant.yml"); done
    (cd "$checkout" && docker compose --project-name "$project" --env-file "$work/.env" "${files[@]}" "${stand_in_files[@]}" "$@")
}

clean_up() {
    local status=$?
    trap - EXIT
    if [ "$status" -ne 0 ] && [ -e "$work/.env" ] && [ "${ONLY:-}" != configuration ]; then
        compose ps --all || true
        compose logs --tail 20 --no-color || true
    fi
    if [ "${KEEP:-0}" != 1 ]; then
        if [ -e "$work/.env" ] && [ "${ONLY:-}" != configuration ]; then remove_all || true; fi
        stop_engine
        [ -n "$keep_work" ] || rm -rf "$work"
    fi
    exit "$status"
}
trap clean_up EXIT

dockers=$(choose_dockers)
for name in $dockers; do
    with_spark=yes
    if [ "$name" = debian ] || [ -n "${ONLY:-}" ]; then with_spark=; fi
    report+=("$name:")
    start_engine "$name"
    report+=("          $(docker version --format 'Docker {{.Client.Version}}'), Compose $(docker compose version --short)")
    step "a checkout that only its owner reads" make_checkout
    step "configuration, and what is said of a wrong one" check_configuration
    [ "${ONLY:-}" != configuration ] || break
    take_stand_ins
    step "images, built from an empty cache at once" check_images
    [ "${ONLY:-}" != images ] || break
    if [ "$name" != current ]; then
        step "cold start: every service is healthy" check_cold_start
        step "a DAG run brings 5,000 profiles to Cassandra" check_dag_run
        for service in fetcher relay stream-processor cassandra-sink broker postgres cassandra schema-registry; do
            step "$service is killed while a run is in flight" check_kill "$service"
        done
        step "three stream processors and two sinks share the work" check_scale
        step "down and up keeps all data" check_down_and_up
        step "a wrong value in .env has one clear message" check_wrong_value
        step "the broker is found at the host that is advertised" check_advertised_host
    fi
    if [ "$name" = machine ]; then step "down -v removes the data" check_down_volumes; fi
    if [ "$name" != debian ]; then
        step "a first start that was interrupted twice, on an older volume" check_interrupted_first_start
        step "a DAG run brings 5,000 profiles to Cassandra" check_dag_run
        step "other passwords in .env count at the next up" check_other_passwords
        step "Spark does the stream-processor's work, and gives it back" check_spark
        step "KRaft beside the data of ZooKeeper's mode" check_kraft
    fi
    step "down -v removes the data" check_down_volumes
    [[ $dockers == *"$name" ]] || leave_stand_ins
    stop_engine
done
print_report
