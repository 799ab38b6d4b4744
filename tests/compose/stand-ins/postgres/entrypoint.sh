#!/bin/bash
# POSTGRES_USER, POSTGRES_PASSWORD, PGDATA and /docker-entrypoint-initdb.d as in the image.
set -eu
export PATH=/opt/postgresql/bin:$PATH
mkdir -p "$PGDATA"
chown postgres "$PGDATA"
chmod 700 "$PGDATA"
as_postgres=(setpriv --reuid=postgres --regid=postgres --clear-groups)

if [ ! -e "$PGDATA/PG_VERSION" ]; then
    password=$(mktemp)
    printf '%s\n' "$POSTGRES_PASSWORD" >"$password"
    chown postgres "$password"
    "${as_postgres[@]}" initdb --pgdata="$PGDATA" --username="${POSTGRES_USER:-postgres}" --encoding=UTF8 --locale=C.UTF-8 \
        --auth-local=trust --auth-host=scram-sha-256 --pwfile="$password" >/dev/null
    rm "$password"
    echo "host all all all scram-sha-256" >>"$PGDATA/pg_hba.conf"
    "${as_postgres[@]}" pg_ctl --pgdata="$PGDATA" --wait --options="-c listen_addresses='' -k /tmp" start >/dev/null
    for script in /docker-entrypoint-initdb.d/*.sh; do
        [ -e "$script" ] && PGHOST=/tmp "${as_postgres[@]}" "$script"
    done
    "${as_postgres[@]}" pg_ctl --pgdata="$PGDATA" --wait --mode=fast stop >/dev/null
fi
exec "${as_postgres[@]}" "$@" -c listen_addresses='*' -c unix_socket_directories=/tmp
