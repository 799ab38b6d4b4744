#!/bin/bash
# Arguments are those of `airflow`, or a command of the three that the image knows as well; Airflow's database is waited
# for.
set -eu
umask 0002
case ${1:-} in
    bash | python) exec "$@" ;;
    airflow) shift ;;
esac
for _ in {1..20}; do airflow db check >/dev/null 2>&1 && break; sleep 1; done
exec airflow "$@"
