#!/usr/bin/env bash
# Installs what is missing on Debian: Java, Maven, Python with venv, and what a build needs: compilers, headers, Rust.
# `setup.sh servers` leaves out the build, for programs that come from a release. Safe to repeat; does nothing, at once,
# where all is there.
set -euo pipefail

purpose=${1:-build}
need=()
has_package() { dpkg-query -W -f '${Status}' "$1" 2>/dev/null | grep -q 'ok installed'; }
want_package() { has_package "$1" || need+=("$1"); }
want_command() { command -v "$1" >/dev/null || need+=("$2"); }

if [ "$purpose" != servers ]; then
    want_command cc build-essential
    want_command c++ build-essential
    want_command make make
    want_command pkg-config pkg-config
    want_command perl perl
    want_package libssl-dev
    want_package zlib1g-dev
fi
want_command curl curl
want_command git git
want_command xz xz-utils
want_command mvn maven
want_command java openjdk-17-jre-headless
want_package ca-certificates
python3 -c 'import ensurepip, venv' 2>/dev/null || need+=(python3 python3-venv)

if [ "${#need[@]}" -gt 0 ]; then
    if ! command -v apt-get >/dev/null; then
        echo "setup: missing: ${need[*]}; there is no apt-get here, so install them with your package manager" >&2
        exit 1
    fi
    as_root=()
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null || { echo "setup: run as root, or install sudo, to install: ${need[*]}" >&2; exit 1; }
        as_root=(sudo)
    fi
    echo "setup: installing ${need[*]}"
    "${as_root[@]}" apt-get update -qq
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${need[@]}" >/dev/null
fi

java_major=$(java -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p' | head -n 1)
if [ "${java_major:-0}" -lt 17 ]; then
    echo "setup: java is version ${java_major:-unknown}, 17 or newer is needed: install openjdk-17-jre-headless" >&2
    exit 1
fi

if [ "$purpose" != servers ] && ! command -v cargo >/dev/null && [ ! -x "$HOME/.cargo/bin/cargo" ]; then
    echo "setup: installing Rust with rustup"
    curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y --profile minimal --default-toolchain none
fi
