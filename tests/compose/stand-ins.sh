# shellcheck shell=bash
# Sourced by test.sh: the upstream images. Those that can be pulled are; for the others a stand-in of the same name and
# tag is built from packages (stand-ins/), labelled `stand-in`.

stand_ins=()

# Where `local-servers fetch` keeps a server's programs; as in crates/local-servers/src/artifacts/cache.rs.
cached() {
    local folder
    for folder in "${PIPELINE_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/rust-datastreaming}" /var/cache/rust-datastreaming; do
        [ -d "$folder/$1" ] && echo "$folder/$1" && return
    done
    echo "compose-test: $1 is not in the cache" >&2
    exit 1
}

# Builds a stand-in. Usage: build FOLDER TAG [SOURCE NAME]... - each source is in the build's context under its name.
build() {
    local folder=$1 tag=$2 context=$work/context
    shift 2
    rm -rf "$context"
    cp -r "$here/stand-ins/$folder" "$context"
    while [ "$#" -gt 0 ]; do
        # Hard links where the file system has them: nothing is copied but to the engine.
        cp -alL "$1" "$context/$2" 2>/dev/null || cp -rL "$1" "$context/$2"
        shift 2
    done
    DOCKER_BUILDKIT=1 docker build -q -t "$tag" "$context" >/dev/null
}

# The servers' programs, once.
fetch_programs() {
    [ -z "${fetched:-}" ] || return 0
    # shellcheck disable=SC2154 # Set by scripts/env.sh.
    [ -x "$target/local-servers" ] || cargo build --release --workspace --bins
    "$target/local-servers" fetch
    fetched=yes
}

# The layers that stand-ins share, once.
build_base() {
    docker image inspect stand-in/java >/dev/null 2>&1 && return
    if ! docker image inspect stand-in/debian:bookworm >/dev/null 2>&1; then
        local root=$work/debian
        debootstrap --variant=minbase bookworm "$root" >"$work/debootstrap.log"
        tar -C "$root" -c . | docker import - stand-in/debian:bookworm >/dev/null
        rm -rf "$root"
    fi
    build base stand-in/base /etc/ssl/certs/ca-certificates.crt machine-certificates.crt
    build java stand-in/java
}

build_stand_in() {
    local image=$1
    build_base
    fetch_programs
    case $image in
        rust:*) build_rust "$image" ;;
        confluentinc/cp-zookeeper:* | confluentinc/cp-server:*) build kafka "$image" "$(cached kafka-3.9.1)/libs" libs ;;
        confluentinc/cp-schema-registry:*)
            build schema-registry "$image" "$(cached schema-registry-2.5.11.Final)" registry
            ;;
        cassandra:*) build cassandra "$image" "$(cached cassandra-5.0.5)/libs" libs ;;
        postgres:*) build postgres "$image" "$(cached postgresql-17.6)" postgresql ;;
        apache/airflow:*) build airflow "$image" "$root/airflow/requirements.txt" requirements.txt ;;
        apache/spark:*) build spark "$image" ;;
        *) echo "compose-test: $image can't be pulled and has no stand-in" >&2 && exit 1 ;;
    esac
    stand_ins+=("$image")
}

# This machine's toolchain without its documentation.
build_rust() {
    local sysroot toolchain=$work/toolchain
    sysroot=$(rustc --print sysroot)
    rm -rf "$toolchain"
    mkdir -p "$toolchain"
    cp -r "$sysroot/bin" "$sysroot/lib" "$toolchain/"
    build rust "$1" "$toolchain" toolchain
    rm -rf "$toolchain"
}

# Every upstream image of docker-compose.yml, as far as the test starts it, and of our Dockerfiles.
upstream_images() {
    compose --profile sim config --images | grep -v -e '^datastreaming/' -e control-center
    sed -n 's/^FROM \([^ ]*:[^ ]*\).*/\1/p' "$root"/docker/Dockerfile "$root"/docker/airflow/Dockerfile
}

prepare_image() {
    local image=$1
    if docker image inspect "$image" >/dev/null 2>&1; then
        if [ "$(docker image inspect --format '{{index .Config.Labels "stand-in"}}' "$image")" = true ]; then
            stand_ins+=("$image")
        fi
    elif ! timeout 600 docker pull -q "$image" >/dev/null 2>&1; then
        echo "compose-test: $image can't be pulled: building a stand-in"
        build_stand_in "$image"
    fi
}

prepare_images() {
    local image
    for image in $(upstream_images | sort -u); do
        prepare_image "$image"
    done
    if [ "${#stand_ins[@]}" -gt 0 ]; then
        printf 'compose-test: stand-in for %s\n' "${stand_ins[@]}"
        echo "compose-test: control-center is left out: it is closed source, so nothing can stand in for it"
        compose_files+=(-f "$here/stand-ins.yml")
    fi
}
