#!/bin/sh
# Run once by PostgreSQL's image, when its volume is empty: Airflow's own role and database. The pipeline's are made by
# `pipeline migrate`.
set -eu
psql -v ON_ERROR_STOP=1 -v password="$AIRFLOW_DB_PASSWORD" --username "$POSTGRES_USER" --dbname postgres <<'SQL'
CREATE ROLE airflow LOGIN PASSWORD :'password';
CREATE DATABASE airflow OWNER airflow;
SQL
