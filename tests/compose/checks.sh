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
# CONTROL_CENTER_MEMORY of .env.example.
control_center_mb=3221

# Runs a step, and says how long it took and what it found.
step() {
    local title=$1 began=$SECONDS said=${#report[@]}
    shift
    echo "compose-test: $title ..."
    "$@"
    report+=("$(printf '%4d s  %s' "$((SECONDS - began))" "$title")")
    printf 'compose-test: %s\n' "${report[@]:said}"
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

# Starts what is missing, or the services that are named.
up() { compose up -d --quiet-pull "$@" >"$work/up.log" 2>&1 || { cat "$work/up.log"; fail "up failed"; }; }

# The files that git knows or would add, with the modes that a umask of 077 gives them; and .env beside them.
make_checkout() {
    rm -rf "$checkout"
    (
        umask 077
        mkdir "$checkout"
        git -C "$root" ls-files -z --cached --others --exclude-standard \
            | tar -C "$root" --ignore-failed-read --null -T - -c 2>/dev/null | tar -C "$checkout" --no-same-permissions -x
    )
    [ -z "$(find "$checkout" -perm /077)" ] || fail "others may read the checkout"
    rm -f "$work/.env"
    (cd "$checkout" && sh docker/env.sh "$work/.env" >/dev/null)
    # The public API may be out of reach, and a test must not depend on what it returns today.
    sed -i -e 's/^COMPOSE_PROFILES=.*/COMPOSE_PROFILES=sim/' -e 's/^FETCHER_USERS_PER_WINDOW=.*/FETCHER_USERS_PER_WINDOW=0/' \
        -e 's|^FETCHER_API_URL=.*|FETCHER_API_URL=http://randomuser-sim:8010/api/1.4/|' "$work/.env"
    # shellcheck source=/dev/null
    source "$work/.env"
}

check_configuration() {
    local profiles=(--profile sim --profile spark --profile tools) variant message
    for variant in "" kraft spark without-control-center community "kraft spark community"; do
        # shellcheck disable=SC2206 # One or more, or none.
        variants=($variant)
        compose "${profiles[@]}" config -q
    done
    variants=(community)
    if compose config | grep -i -e cp-server -e control-center: -e confluent_ -e ConfluentMetrics; then
        fail "the community variant has commercial parts"
    fi
    variants=()
    if message=$(cd "$checkout" && docker compose --env-file /dev/null -f docker-compose.yml config -q 2>&1); then
        fail "a configuration without secrets is taken as valid"
    fi
    # Newer versions of Compose have a line for each place.
    if grep -v "required variable [A-Z_]* is missing a value: is not set - run \`make env\`" <<<"$message"; then
        fail "unclear message: $message"
    fi
    check_env_script
    check_windows_checkout
}

# `make env` keeps what is there, gives what lacks, and refuses a Compose that can't read the files.
check_env_script() {
    local file=$work/partial.env message
    grep -v -e ^KAFKA_ADVERTISED_HOST= -e ^AIRFLOW_JWT_SECRET= "$work/.env" >"$file"
    echo 'FETCHER_TOKEN=' >>"$file"
    (cd "$checkout" && sh docker/env.sh "$file" >/dev/null)
    [ -z "$(comm -23 <(grep -v -e ^FETCHER_TOKEN= -e ^AIRFLOW_JWT_SECRET= "$work/.env" | sort) <(sort "$file"))" ] \
        || fail "docker/env.sh lost a setting"
    if grep -q '_\(PASSWORD\|TOKEN\|SECRET\|KEY\)=$' "$file"; then fail "docker/env.sh left a secret empty"; fi
    grep -q '^AIRFLOW_JWT_SECRET=.' "$file" || fail "docker/env.sh did not add a secret"
    mkdir -p "$work/old-compose"
    printf '#!/bin/sh\necho 2.24.3\n' >"$work/old-compose/docker"
    chmod +x "$work/old-compose/docker"
    message=$(cd "$checkout" && PATH=$work/old-compose:$PATH sh docker/env.sh "$work/none.env" 2>&1) && fail "Compose 2.24.3 is taken"
    [[ $message == *"2.24.3"*"2.24.4 or newer"* ]] || fail "unclear message: $message"
}

# As git writes it on Windows where the project's attributes are not known yet.
check_windows_checkout() {
    local folder=$work/windows message advice
    rm -rf "$folder"
    cp -r "$checkout" "$folder"
    git -C "$folder" init -q
    git -C "$folder" add -A
    git -C "$folder" -c user.name=test -c user.email=test@localhost commit -q -m test
    echo '* text eol=crlf' >"$folder/.git/info/attributes"
    (cd "$folder" && git rm -rq --cached . && git reset -q --hard)
    message=$(cd "$folder" && sh docker/env.sh "$work/none.env" 2>&1) && fail "a checkout with CRLF is taken"
    [[ $message == *CRLF* && ! -e $work/none.env ]] || fail "unclear message: $message"
    rm "$folder/.git/info/attributes"
    advice=$(sed -n 's/.*: \(git .* --hard\) .*/\1/p' <<<"$message")
    (cd "$folder" && eval "$advice" >/dev/null && sh docker/env.sh "$work/windows.env" >/dev/null) \
        || fail "this does not repair a checkout with CRLF: $advice"
    rm -rf "$folder"
}

# Spark's image only where it is started: its base is not to be had everywhere.
check_images() {
    local profiles=(--profile sim --profile tools) image megabytes began
    [ -z "$with_spark" ] || profiles+=(--profile spark)
    prepare_images
    began=$SECONDS
    compose "${profiles[@]}" build >"$work/build.log" 2>&1 || { tail -n 60 "$work/build.log"; fail "build failed"; }
    report+=("          built in $((SECONDS - began)) s")
    for image in $(compose "${profiles[@]}" config --images | grep '^datastreaming/' | sort -u); do
        megabytes=$(docker image inspect --format '{{.Size}}' "$image" | awk '{ printf "%.1f", $1 / 1e6 }')
        report+=("          image $image: $megabytes MB")
        case $image in
            */airflow:* | */spark:*) ;;
            *) awk -v size="$megabytes" -v max="$max_image_mb" 'BEGIN { exit !(size < max) }' || fail "$image has $megabytes MB" ;;
        esac
    done
}

# `up --wait` ends well, though Control Center's stand-in never does.
check_cold_start() {
    local began=$SECONDS up
    compose up -d --wait --quiet-pull >"$work/up.log" 2>&1 &
    up=$!
    report_health "$up" "$began"
    wait "$up" || { cat "$work/up.log"; fail "up failed"; }
    report+=("          \`up --wait\` took $((SECONDS - began)) s")
    [ $((SECONDS - began)) -lt "$cold_start_seconds" ] || fail "the stack needs more than $cold_start_seconds s"
}

# When each service turns healthy, as long as a process runs. Usage: report_health PROCESS BEGAN
report_health() {
    local -A seen=()
    local service line=
    while kill -0 "$1" 2>/dev/null; do
        while read -r service; do
            [ -n "${seen[$service]:-}" ] && continue
            seen[$service]=1
            line+="$service $((SECONDS - $2)) s, "
        done < <(compose ps --format '{{.Service}} {{.Health}}' 2>/dev/null | sed -n 's/ healthy$//p')
        sleep 1
    done
    report+=("          healthy after: ${line%, }")
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
    runs=("$run 5000")
    verify "$run" 5000
    local counted
    counted=$(compose exec -T cassandra cqlsh -e "SELECT count(*) FROM datastreaming.users_by_run WHERE run_id = '$run'
        AND bucket IN (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)" | awk 'NF == 1 && $1 ~ /^[0-9]+$/ { print $1 }')
    [ "$counted" = 5000 ] || fail "cqlsh counts $counted"
    report_memory
    local megabytes=$memory_mb
    # A stand-in takes nothing: its limit is counted.
    if [[ " ${stand_ins[*]} " == *control-center* ]]; then megabytes=$((memory_mb + control_center_mb)); fi
    report+=("          memory: $memory_mb MB in all, $megabytes MB with Control Center at its limit")
    [ "$megabytes" -lt 10000 ] || fail "the stack takes $megabytes MB: docs/docker.md says 10 GB"
}

# What the containers take, those whose name has a word or all; the sum is memory_mb.
report_memory() {
    local line
    memory_mb=0
    while read -r line; do
        report+=("          memory: ${line% *}")
        memory_mb=$((memory_mb + ${line##* }))
    done < <(docker stats --no-stream --format '{{.Name}} {{.MemUsage}}' | grep "^$project-.*${1:-}" | sort | python3 -c '
import re, sys
units = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
for line in sys.stdin:
    name, used, _, limit = line.split()
    number, unit = re.match(r"([0-9.]+)(\w+)", used).groups()
    print(name.removeprefix(sys.argv[1] + "-"), used, "of", limit, round(float(number) * units[unit] / 1e6))' "$project")
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
    # Long enough for the others to notice, and for what waits for it to fail some health checks.
    sleep 30
    up --wait
    verify "$run" "$run_profiles"
}

check_scale() {
    up --wait --scale stream-processor=3 --scale cassandra-sink=2
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

# And what docs/docker.md tells after an update.
check_down_and_up() {
    compose down --timeout 30 >"$work/down.log" 2>&1
    (cd "$checkout" && sh docker/env.sh "$work/.env" >/dev/null)
    up --wait --build
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

check_down_volumes() {
    remove_all
    local left
    left=$(docker volume ls -q --filter "label=com.docker.compose.project=$project")
    [ -z "$left" ] || fail "volumes are left: $left"
}

remove_all() { compose --profile '*' down --volumes --remove-orphans --timeout 30 >"$work/down.log" 2>&1; }

print_report() {
    printf '%s\n' "" "compose-test: all passed" "${report[@]}"
}
