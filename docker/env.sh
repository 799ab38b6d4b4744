#!/bin/sh
# Makes .env (or the file that is named) from .env.example, with a random value for every secret. A file that is there
# keeps its values and gets the settings that it lacks.
# The next line has to work with CRLF, too: the comment at its end takes the CR.
if cd "$(dirname "$0")/.." && grep -q "$(printf '\r')" docker/env.sh .env.example docker/Dockerfile scripts/*.sh; then printf '%s\n' 'env: this checkout has Windows line endings (CRLF), which containers cannot read.' 'env: Repair it, on Windows within WSL: git rm -rq --cached . && git reset --hard   (changes that are not committed are lost)' >&2; exit 1; fi #
set -eu
file=${1:-.env}

# The first version of Compose that understands docker-compose.kraft.yml (`!override`).
needed=2.24.4
number() { echo "$1" | tr -c '0-9\n' ' ' | awk '{ print $1 * 1000000 + $2 * 1000 + $3 }'; }
if version=$(docker compose version --short 2>/dev/null); then
    if [ "$(number "${version#v}")" -lt "$(number $needed)" ]; then
        echo "env: Docker Compose is version $version; $needed or newer is needed: update Docker" >&2
        exit 1
    fi
fi

# 24 bytes as hexadecimal: safe in URLs and JSON.
random() { od -An -v -tx1 -N24 /dev/urandom | tr -d ' \n'; }
# A Fernet key: 32 bytes as URL-safe base64 (https://github.com/fernet/spec).
fernet() { head -c 32 /dev/urandom | base64 | tr '+/' '-_'; }
# Copies settings from standard input; a secret without a value gets a random one.
fill() {
    while IFS= read -r line; do
        case $line in
            AIRFLOW_FERNET_KEY=) echo "$line$(fernet)" ;;
            *_PASSWORD= | *_TOKEN= | *_SECRET=) echo "$line$(random)" ;;
            *) echo "$line" ;;
        esac
    done
}

umask 077
if [ -e "$file" ]; then
    known=$(mktemp)
    sed -n 's/^\([A-Z_]*=\).*/^\1/p' "$file" >"$known"
    # awk ends a last line that has no end.
    { awk 1 "$file"; grep '^[A-Z_]*=' .env.example | grep -v -f "$known" || true; } | fill >"$file.new"
    rm "$known"
    if cmp -s "$file" "$file.new"; then
        rm "$file.new"
        echo "env: $file is there already and has every setting: it stays as it is"
    else
        mv "$file.new" "$file"
        echo "env: $file keeps its values and got the settings that it lacked"
    fi
else
    fill <.env.example >"$file.new"
    mv "$file.new" "$file"
    echo "env: wrote $file; the password of Airflow's user admin is AIRFLOW_ADMIN_PASSWORD in it"
fi
