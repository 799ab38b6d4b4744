#!/bin/bash
# SCHEMA_REGISTRY_LISTENERS is taken to be port 8081; SCHEMA_REGISTRY_HEAP_OPTS is honoured.
set -eu
nginx
# Without WRITE_DELAY=0 a killed registry forgets what it acknowledged in the last half second.
export QUARKUS_HTTP_HOST=127.0.0.1 QUARKUS_HTTP_PORT=18081 QUARKUS_LOG_LEVEL=WARN \
    QUARKUS_MANAGEMENT_HOST=127.0.0.1 QUARKUS_MANAGEMENT_PORT=0 \
    APICURIO_DATASOURCE_URL="jdbc:h2:file:/var/lib/registry/registry;WRITE_DELAY=0" \
    APICURIO_DATASOURCE_JDBC_INITIAL_SIZE=2 APICURIO_DATASOURCE_JDBC_MIN_SIZE=2
# shellcheck disable=SC2086 # Several options in one variable, as in the image.
exec /opt/java/bin/java ${SCHEMA_REGISTRY_HEAP_OPTS:-} -XX:+UseSerialGC -jar /opt/registry/quarkus-run.jar
