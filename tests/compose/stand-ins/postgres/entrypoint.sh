#!/bin/bash
# POSTGRES_USER, POSTGRES_PASSWORD and PGDATA as in the image: a folder with PG_VERSION counts as a whole cluster, hosts
# need a password, the socket does not, and a new cluster is served on its socket alone before its first real start.
set -eu
mkdir -p "$PGDATA" /var/run/postgresql
chmod 700 "$PGDATA"
chown -R postgres "$PGDATA" /var/run/postgresql
as_postgres=(setpriv --reuid=postgres --regid=postgres --clear-groups)

if [ ! -s "$PGDATA/PG_VERSION" ]; then
    password=$(mktemp)
    printf '%s\n' "$POSTGRES_PASSWORD" >"$password"
    chown postgres "$password"
    "${as_postgres[@]}" initdb --pgdata="$PGDATA" --username="${POSTGRES_USER:-postgres}" --encoding=UTF8 \
        --locale=C.UTF-8 --pwfile="$password" >/dev/null
    rm "$password"
    echo "host all all all scram-sha-256" >>"$PGDATA/pg_hba.conf"
    "${as_postgres[@]}" pg_ctl --pgdata="$PGDATA" --wait --options="-c listen_addresses='' -c unix_socket_directories=/var/run/postgresql" start >/dev/null
    "${as_postgres[@]}" pg_ctl --pgdata="$PGDATA" --wait --mode=fast stop >/dev/null
fi
exec "${as_postgres[@]}" "$@" -c listen_addresses='*' -c unix_socket_directories=/var/run/postgresql
