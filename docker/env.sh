#!/bin/sh
# Makes .env (or the file that is named) from .env.example, with a random value for every secret. Keeps one that is
# there.
set -eu
cd "$(dirname "$0")/.."
file=${1:-.env}
if [ -e "$file" ]; then
    echo "env: $file is there already and stays as it is"
    exit 0
fi
umask 077
# 24 bytes as hexadecimal: safe in URLs and JSON.
random() { od -An -v -tx1 -N24 /dev/urandom | tr -d ' \n'; }
# A Fernet key: 32 bytes as URL-safe base64 (https://github.com/fernet/spec).
fernet() { head -c 32 /dev/urandom | base64 | tr '+/' '-_'; }
while IFS= read -r line; do
    case $line in
        AIRFLOW_FERNET_KEY=) echo "$line$(fernet)" ;;
        *_PASSWORD= | *_TOKEN= | *_SECRET=) echo "$line$(random)" ;;
        *) echo "$line" ;;
    esac
done <.env.example >"$file.new"
mv "$file.new" "$file"
echo "env: wrote $file; the password of Airflow's user admin is AIRFLOW_ADMIN_PASSWORD in it"
