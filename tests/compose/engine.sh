# shellcheck shell=bash
# Sourced by test.sh: a Docker engine with Compose, from Debian's packages where there is none. What it starts it stops.

# Compose v2 and Buildx are in no Debian 12 package: those of Debian 13 run there.
plugins_release=trixie
engine_pid=

install_engine() {
    local missing=()
    command -v dockerd >/dev/null || missing+=(docker.io)
    command -v iptables >/dev/null || missing+=(iptables)
    command -v debootstrap >/dev/null || missing+=(debootstrap)
    if [ "${#missing[@]}" -gt 0 ]; then
        echo "compose-test: installing ${missing[*]}"
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null 2>&1
    fi
    if ! docker compose version >/dev/null 2>&1 || ! docker buildx version >/dev/null 2>&1; then
        echo "compose-test: installing Compose and Buildx"
        install_plugins
    fi
}

# Leaves the package sources of the machine as they are.
install_plugins() {
    local folder
    folder=$(mktemp -d)
    mkdir -p "$folder/lists/partial" "$folder/cache/archives/partial" "$folder/parts"
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian $plugins_release main" \
        >"$folder/sources.list"
    local options=(-qq -o "Dir::Etc::sourcelist=$folder/sources.list" -o "Dir::Etc::sourceparts=$folder/parts"
        -o "Dir::Etc::preferencesparts=$folder/parts" -o "Dir::State::lists=$folder/lists" -o "Dir::Cache=$folder/cache"
        -o APT::Sandbox::User=root)
    apt-get "${options[@]}" update
    (cd "$folder" && apt-get "${options[@]}" download docker-compose docker-buildx)
    local package
    for package in "$folder"/*.deb; do dpkg -x "$package" "$folder/root"; done
    install -D -t "$HOME/.docker/cli-plugins" -m 755 "$folder"/root/usr/libexec/docker/cli-plugins/*
    rm -rf "$folder"
}

start_engine() {
    if docker info >/dev/null 2>&1; then
        return
    fi
    if [ "$(id -u)" -ne 0 ]; then
        echo "compose-test: no Docker engine answers, and only root can start one: start it, or run this as root" >&2
        exit 3
    fi
    install_engine
    echo "compose-test: starting dockerd"
    dockerd >"$work/dockerd.log" 2>&1 &
    engine_pid=$!
    local try
    for try in $(seq 60); do
        docker info >/dev/null 2>&1 && return
        kill -0 "$engine_pid" 2>/dev/null || break
        sleep 0.5
    done
    echo "compose-test: dockerd did not start (looked $try times); its last words:" >&2
    tail -n 5 "$work/dockerd.log" >&2
    exit 3
}

stop_engine() {
    [ -n "$engine_pid" ] || return 0
    kill "$engine_pid"
    wait "$engine_pid" || true
}
