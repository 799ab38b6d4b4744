#!/bin/bash
# Arguments are those of `airflow`, or a command of the three that the image knows as well.
set -eu
case ${1:-} in
    airflow | bash | python) exec "$@" ;;
    *) exec airflow "$@" ;;
esac
