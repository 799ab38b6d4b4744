# shellcheck shell=bash
# Sourced by test.sh: the steps for first starts that fail half-way, and for the variants of the stack.

# Waits until a command succeeds; fails after so many seconds. Usage: until_true SECONDS COMMAND...
until_true() {
    local deadline=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$deadline" ] || fail "not within the time: $*"
    done
}

# PostgreSQL's first start, killed within initdb: before the server has run in its volume.
interrupt_initdb() {
    local try
    for try in $(seq 5); do
        up postgres
        until_true 60 compose exec -T postgres test -e /var/lib/postgresql/data/PG_VERSION
        compose kill postgres >"$work/kill.log" 2>&1
        compose run --rm -T --no-deps --entrypoint test postgres ! -e /var/lib/postgresql/data/postmaster.opts \
            2>"$work/run.log" && return
        compose down --volumes >"$work/down.log" 2>&1
    done
    fail "initdb was too fast to be killed, $try times"
}

check_interrupted_first_start() {
    local password=$POSTGRES_PASSWORD
    # An older volume has another password, and no role or database of Airflow's.
    export POSTGRES_PASSWORD=of-an-older-volume
    interrupt_initdb
    up --wait postgres
    compose logs postgres >"$work/postgres.log" 2>&1
    grep -q 'removing what an interrupted initdb has left' "$work/postgres.log" || fail "initdb was not interrupted"
    compose down >"$work/down.log" 2>&1
    export POSTGRES_PASSWORD=$password
    # Everything is killed while Airflow and `migrate` make their tables.
    compose up -d >"$work/up.log" 2>&1 &
    until_true 240 is_running airflow-init
    sleep 3
    pkill -KILL -f "project-name $project .* up "
    wait "$!" || true
    compose kill >"$work/kill.log" 2>&1
    report+=("          killed in the first start: $(compose ps --all --format '{{.Service}}' | wc -l) containers")
    compose down >"$work/down.log" 2>&1
    check_cold_start
}

is_running() { [ "$(compose ps --format '{{.State}}' "$1")" = running ]; }

# Of every role, of Airflow's user and of the fetcher.
check_other_passwords() {
    sed -i 's/^\([A-Z_]*_PASSWORD\|FETCHER_TOKEN\)=\(.*\)/\1=other\2/' "$work/.env"
    # shellcheck source=/dev/null
    source "$work/.env"
    up --wait
    local document
    document=$(pipeline run --count 1000 --json) || fail "the DAG run: $document"
    verify "$(json .run_id <<<"$document")" 1000
}

# Clients ask the broker where it is and go there.
check_advertised_host() {
    KAFKA_ADVERTISED_HOST=127.0.0.2 BIND_ADDRESS=127.0.0.2 up --wait broker
    # Metadata, version 0, of no topic: length, API key 3, version, correlation id 7, no client id, an empty array. The
    # answer has 18 bytes before the host, and four of the port behind it.
    local answer
    answer=$(exec 3<>/dev/tcp/127.0.0.2/9092 && printf '\0\0\0\x0e\0\x03\0\0\0\0\0\x07\xff\xff\0\0\0\0' >&3 \
        && timeout 10 head -c 31 <&3 | tr -c '0-9.\n' ' ')
    [[ $answer == *" 127.0.0.2 "* ]] || fail "the broker says that it is at: $answer"
    up --wait
}

# Spark's containers are those of docker-compose.spark.yml; the stream-processor's must be gone at every `up`.
check_spark() {
    local document engine
    variants=(spark)
    up --wait
    up --wait
    engine=$(compose ps --all --services | grep -x -e stream-processor -e 'spark-.*' | sort | xargs)
    [ "$engine" = "spark-job spark-master spark-worker" ] || fail "these transform: $engine"
    until_true 60 has_worker
    document=$(pipeline run --count 5000 --json) || fail "the DAG run: $document"
    verify "$(json .run_id <<<"$document")" 5000
    report_memory spark
    start_run "spark-$RANDOM" "$run_profiles"
    verify "${runs[-1]% *}" "$run_profiles"
    # The way back of docs/docker.md.
    variants=()
    compose --profile spark rm --stop --force spark-job spark-worker spark-master >"$work/rm.log" 2>&1
    up --wait
    document=$(pipeline run --count 1000 --json) || fail "the DAG run: $document"
    verify "$(json .run_id <<<"$document")" 1000
}

has_worker() {
    [ "$(curl -fsS "http://127.0.0.1:${SPARK_MASTER_UI_PORT:-9090}/json/" | json .aliveworkers)" = 1 ]
}

# In a project of its own, beside the volumes of the other; without commercial parts, too.
check_kraft() {
    local name document outer=$project
    compose stop >"$work/down.log" 2>&1
    # By `COMPOSE_FILE` in .env.
    { cat "$work/.env" && echo COMPOSE_FILE=docker-compose.yml:docker-compose.kraft.yml; } >"$work/kraft.env"
    name=$(cd "$checkout" && docker compose --env-file "$work/kraft.env" config | sed -n 's/^name: //p')
    [ "$name" = datastreaming-kraft ] || fail "KRaft's project is $name: it would share volumes with ZooKeeper's mode"
    project+=-kraft
    variants=(kraft community)
    up --wait
    if compose ps --all --services | grep -x -e zookeeper -e control-center; then fail "ZooKeeper or Control Center runs"; fi
    document=$(pipeline run --count 5000 --json) || fail "the DAG run: $document"
    verify "$(json .run_id <<<"$document")" 5000
    check_down_volumes
    project=$outer
    variants=()
    up --wait
    verify "${runs[0]% *}" "${runs[0]#* }"
}
