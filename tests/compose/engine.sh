# shellcheck shell=bash
# Sourced by test.sh: Docker engines with Compose. The machine's own where one answers; else two of Debian's packages,
# one after the other: `current` has the containerd image store and a current Compose, which builds all images at once with
# Bake; `debian` is as old as may be (Docker 20.10, Compose 2.26). What is started here is stopped here.

compose_module=github.com/docker/compose/v5
compose_version=v5.6.0
buildx_module=github.com/docker/buildx
buildx_version=v0.38.2
# Compose v2, Buildx and a newer engine are in no Debian 12 package: those of Debian 13 run there.
newer_release=trixie

tools=${PIPELINE_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/rust-datastreaming}/compose-test
engine_pid=
own_path=$PATH

# Prints the Dockers to test with; ends the test with 3 if there is none.
choose_dockers() {
    if [ -n "${DOCKERS:-}" ]; then
        echo "$DOCKERS"
    elif docker info >/dev/null 2>&1 || { [ "${ONLY:-}" = configuration ] && docker compose version >/dev/null 2>&1; }; then
        echo machine
    elif [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
        if [ -n "${ONLY:-}" ]; then
            echo debian
        elif command -v go >/dev/null; then
            echo current debian
        else
            echo "compose-test: LEFT OUT: a current Compose, which only Go can build here" >&2
            echo debian
        fi
    else
        echo "compose-test: no Docker engine answers, and only root on Debian can install one: start it" >&2
        exit 3
    fi
}

install_packages() {
    local package missing=()
    for package in "$@"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
    done
    [ "${#missing[@]}" -gt 0 ] || return 0
    echo "compose-test: installing ${missing[*]}"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null 2>&1
}

# Unpacks packages of a newer Debian into a folder; the machine's package sources stay as they are.
unpack_newer() {
    local folder=$1 lists mirror package
    shift
    lists=$(mktemp -d)
    mkdir -p "$lists/lists/partial" "$lists/cache/archives/partial" "$lists/parts"
    # Where this machine's own packages come from.
    # shellcheck disable=SC2016 # The names are apt's.
    mirror=$(apt-get indextargets --format '$(REPO_URI) $(CODENAME)' 'Created-By: Packages' 'Origin: Debian' \
        | awk -v "codename=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)" '$2 == codename { print $1; exit }')
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $newer_release main" >"$lists/sources.list"
    local options=(-qq -o "Dir::Etc::sourcelist=$lists/sources.list" -o "Dir::Etc::sourceparts=$lists/parts"
        -o "Dir::Etc::preferencesparts=$lists/parts" -o "Dir::State::lists=$lists/lists" -o "Dir::Cache=$lists/cache"
        -o APT::Sandbox::User=root)
    apt-get "${options[@]}" update
    (cd "$lists" && apt-get "${options[@]}" download "$@")
    for package in "$lists"/*.deb; do dpkg -x "$package" "$folder"; done
    rm -rf "$lists"
}

# Builds a plugin of the Docker client from its Go module. Its module may want a newer Go, which Go then fetches.
build_plugin() {
    local module=$1 version=$2 package=$3 variable=$4 file=$5 folder
    export GOTOOLCHAIN=auto
    folder=$(go mod download -json "$module@$version" | json .Dir)
    (cd "$folder" && go build -mod=mod -trimpath -ldflags "-s -w -X $module/$variable=$version" -o "$file" "$package")
}

# Fills $tools/NAME: bin has the programs, config the client's plugins. A folder that is there is complete.
install_docker() {
    local name=$1 folder=$tools/$1.new
    install_packages docker.io iptables debootstrap
    [ -d "$tools/$name" ] && return
    rm -rf "$folder"
    mkdir -p "$folder/bin" "$folder/config/cli-plugins"
    case $name in
        debian)
            echo "compose-test: installing Compose and Buildx of Debian's $newer_release"
            unpack_newer "$folder/root" docker-compose docker-buildx
            cp "$folder"/root/usr/libexec/docker/cli-plugins/* "$folder/config/cli-plugins/"
            ln -s /usr/bin/docker /usr/sbin/dockerd "$folder/bin/"
            ;;
        current)
            echo "compose-test: installing the engine of Debian's $newer_release, building Compose $compose_version and Buildx $buildx_version"
            unpack_newer "$folder/root" docker.io docker-cli containerd tini
            mv "$folder"/root/usr/bin/* "$folder"/root/usr/sbin/* "$folder/bin/"
            build_plugin "$compose_module" "$compose_version" ./cmd internal.Version \
                "$folder/config/cli-plugins/docker-compose"
            build_plugin "$buildx_module" "$buildx_version" ./cmd/buildx version.Version \
                "$folder/config/cli-plugins/docker-buildx"
            ;;
    esac
    chmod +x "$folder"/config/cli-plugins/*
    rm -rf "$folder/root"
    mv "$folder" "$tools/$name"
}

# Makes `docker` one of those that choose_dockers names.
start_engine() {
    local name=$1 try folder=$work/$1 options=()
    if [ "$name" = machine ]; then
        return
    fi
    install_docker "$name"
    export PATH=$tools/$name/bin:$own_path DOCKER_CONFIG=$tools/$name/config DOCKER_HOST=unix://$folder/docker.sock
    [ "${ONLY:-}" != configuration ] || return 0
    mkdir -p "$folder"
    echo '{}' >"$folder/daemon.json"
    [ "$name" = debian ] || echo '{"features": {"containerd-snapshotter": true}}' >"$folder/daemon.json"
    options=(--host "unix://$folder/docker.sock" --data-root "$folder/data" --exec-root "$folder/exec"
        --pidfile "$folder/docker.pid" --config-file "$folder/daemon.json")
    echo "compose-test: starting dockerd of \`$name\`"
    dockerd "${options[@]}" >"$folder/dockerd.log" 2>&1 &
    engine_pid=$!
    for try in $(seq 120); do
        docker info >/dev/null 2>&1 && return
        kill -0 "$engine_pid" 2>/dev/null || break
        sleep 0.5
    done
    echo "compose-test: dockerd did not start (looked $try times); its last words:" >&2
    tail -n 5 "$folder/dockerd.log" >&2
    exit 3
}

stop_engine() {
    [ -n "$engine_pid" ] || return 0
    kill "$engine_pid" || true
    wait "$engine_pid" || true
    engine_pid=
}
