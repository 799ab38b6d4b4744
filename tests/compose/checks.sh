# shellcheck shell=bash
# Sourced by test.sh: the steps. A step fails by its exit code; `report` keeps what is worth saying at the end.

report=()
runs=()
# Within which all services must be healthy.
cold_start_seconds=300
# Within which a run that was disturbed must be complete.
recovery_seconds=300
# Large enough to be in flight when something is killed.
run_profiles=30000
max_image_mb=60

step() {
    local title=$1 began=$SECONDS
    shift
    echo "compose-test: $title ..."
    "$@"
    report+=("$(printf '%4d s  %s' "$((SECONDS - began))" "$title")")
    echo "compose-test: ${report[-1]}"
}

fail() {
    echo "compose-test: FAILED: $*" >&2
    exit 1
}

# Prints the value at a path of the JSON document on standard input, such as json .a.0.b
json() {
    python3 -c '
import functools, json, sys
step = lambda value, key: value[int(key)] if isinstance(value, list) else value[key]
print(functools.reduce(step, sys.argv[1].split(".")[1:], json.load(sys.stdin)))' "$1"
}

pipeline() { compose run --rm -T pipeline "$@"; }

check_configuration() {
    local profiles=(--profile sim --profile spark --profile tools)
    compose "${profiles[@]}" config -q
    compose "${profiles[@]}" -f docker-compose.kraft.yml config -q
    local message
    if message=$(docker compose --project-directory "$root" --env-file /dev/null -f docker-compose.yml config -q 2>&1); then
        fail "a configuration without secrets is taken as valid"
    fi
    [[ $(wc -l <<<"$message") -eq 1 && $message == *"run \`make env\`"* ]] || fail "unclear message: $message"
}

check_images() {
    prepare_images
    compose --profile sim --profile tools build
    local image megabytes
    for image in fetcher relay stream-processor cassandra-sink pipeline randomuser-sim; do
        megabytes=$(docker image inspect --format '{{.Size}}' "datastreaming/$image:0.1.0" | awk '{ printf "%.1f", $1 / 1e6 }')
        report+=("          image $image: $megabytes MB")
        awk -v size="$megabytes" -v max="$max_image_mb" 'BEGIN { exit !(size < max) }' || fail "$image has $megabytes MB"
    done
}

# Waits until every container runs and is healthy, or has ended well.
wait_healthy() {
    local deadline=$((SECONDS + $1)) bad
    while true; do
        bad=$(compose ps --all --format '{{.Service}} {{.State}} {{.Health}} {{.ExitCode}}' \
            | grep -v -e ' running healthy ' -e ' running  ' -e ' exited  0$' || true)
        [ -z "$bad" ] && return
        [ "$SECONDS" -lt "$deadline" ] || fail "not healthy after $1 s: $bad"
        sleep 2
    done
}

check_cold_start() {
    local began=$SECONDS
    compose up -d --quiet-pull >"$work/up.log" 2>&1 || { cat "$work/up.log"; fail "up failed"; }
    wait_healthy "$cold_start_seconds"
    report+=("          all healthy $((SECONDS - began)) s after \`up\` (images built)")
}

# All stages of a run are equal, each with so many profiles, and no dead letter.
verify() {
    local run=$1 count=$2 document
    document=$(pipeline verify --run "$run" --wait "${recovery_seconds}s" --json) || fail "run $run: $document"
    python3 - "$count" "$document" <<'PYTHON' || fail "run $run: $document"
import json, sys
count, report = int(sys.argv[1]), json.loads(sys.argv[2])
assert report["equal"] is True
assert len(report["counts"]) == 6 and set(report["counts"].values()) == {count}, report["counts"]
for stage in report["stages"]:
    assert stage["records"] == count and stage["duplicates"] == 0, stage
assert all(letters["records"] == 0 for letters in report["dead_letters"].values()), report["dead_letters"]
PYTHON
}

check_dag_run() {
    local document run
    document=$(pipeline run --count 5000 --json) || fail "the DAG run: $document"
    run=$(json .run_id <<<"$document")
    runs+=("$run 5000")
    verify "$run" 5000
    local counted
    counted=$(compose exec -T cassandra cqlsh -e "SELECT count(*) FROM datastreaming.users_by_run WHERE run_id = '$run'
        AND bucket IN (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)" | awk 'NF == 1 && $1 ~ /^[0-9]+$/ { print $1 }')
    [ "$counted" = 5000 ] || fail "cqlsh counts $counted"
    while read -r line; do report+=("          memory $line"); done < <(
        docker stats --no-stream --format '{{.Name}} {{.MemUsage}}' | sed "s/^$project-//" | sort
    )
}

# Asks the fetcher for a run; returns when its first profiles are in PostgreSQL.
start_run() {
    local run=$1 count=$2 fetched=0 try
    curl -fsS -o /dev/null -H "Authorization: Bearer $FETCHER_TOKEN" -H 'Content-Type: application/json' \
        -d "{\"run_id\": \"$run\", \"count\": $count}" "http://127.0.0.1:8000/runs"
    runs+=("$run $count")
    for try in $(seq 200); do
        fetched=$(curl -fsS "http://127.0.0.1:8000/runs/$run" | json .fetched)
        [ "$fetched" -gt 0 ] && return
        sleep 0.1
    done
    fail "run $run has no profile after $try looks"
}

check_kill() {
    local service=$1 run="kill-$1"
    start_run "$run" "$run_profiles"
    compose kill "$service" >"$work/kill.log" 2>&1
    # Long enough for the others to notice.
    sleep 5
    compose up -d >"$work/up.log" 2>&1 || { cat "$work/up.log"; fail "up failed"; }
    wait_healthy "$recovery_seconds"
    verify "$run" "$run_profiles"
}

check_scale() {
    compose up -d --scale stream-processor=3 --scale cassandra-sink=2 >"$work/up.log" 2>&1 \
        || { cat "$work/up.log"; fail "up failed"; }
    wait_healthy "$recovery_seconds"
    start_run scale "$run_profiles"
    verify scale "$run_profiles"
    local index
    for index in 1 2 3; do check_takes_part stream-processor "$index" 8002; done
    for index in 1 2; do check_takes_part cassandra-sink "$index" 8003; done
}

# A worker shows the lag of the partitions that it has.
check_takes_part() {
    local service=$1 index=$2 address partitions
    address=$(compose port --index "$index" "$service" "$3")
    partitions=$(curl -fsS "http://$address/metrics" | grep -c '^kafka_consumergroup_lag{' || true)
    [ "$partitions" -gt 0 ] || fail "$service $index has no partition"
}

check_down_and_up() {
    compose down --timeout 30 >"$work/down.log" 2>&1
    compose up -d >"$work/up.log" 2>&1 || { cat "$work/up.log"; fail "up failed"; }
    wait_healthy "$recovery_seconds"
    local line
    for line in "${runs[@]}"; do
        # shellcheck disable=SC2086 # A run and its count.
        verify $line
    done
}

check_wrong_value() {
    local output
    output=$(FETCHER_API_URL='not a url' compose run --rm -T --no-deps fetcher 2>&1) && fail "a wrong URL was taken"
    [[ $output == *"fetcher.api_url"* && $output == *"not a url"* ]] || fail "unclear message: $output"
}

# Spark's image is large and of no use to the rest, so it is fetched here.
check_spark() {
    local deadline=$((SECONDS + 60)) master="http://127.0.0.1:${SPARK_MASTER_UI_PORT:-9090}/json/"
    prepare_image "$(sed -n 's/^FROM \(apache\/spark:[^ ]*\) .*/\1/p' docker/Dockerfile)"
    compose --profile spark build --quiet
    # In place of the stream-processor: only one of them may work.
    compose --profile spark up -d --wait --scale stream-processor=0 >"$work/up.log" 2>&1 \
        || { cat "$work/up.log"; fail "up failed"; }
    until [ "$(python3 -c 'import sys, urllib.request as u; print(u.urlopen(sys.argv[1]).read().decode())' "$master" \
        | json .aliveworkers)" = 1 ]; do
        [ "$SECONDS" -lt "$deadline" ] || fail "Spark's master has no worker"
        sleep 1
    done
    start_run spark "$run_profiles"
    verify spark "$run_profiles"
}

check_down_volumes() {
    compose --profile '*' down --volumes --timeout 30 >"$work/down.log" 2>&1
    local left
    left=$(docker volume ls -q --filter "label=com.docker.compose.project=$project")
    [ -z "$left" ] || fail "volumes are left: $left"
}

print_report() {
    printf '%s\n' "" "compose-test: all passed" "${report[@]}"
}
