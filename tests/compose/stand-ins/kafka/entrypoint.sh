#!/bin/bash
# Reads the environment as Confluent's images do: KAFKA_LOG_DIRS=x is log.dirs=x, with __ for _ and ___ for -.
# ZOOKEEPER_CLIENT_PORT makes it a ZooKeeper; its properties are camel case.
set -eu
if [ -n "${KAFKA_PORT:-}${KAFKA_HOST:-}" ]; then
    echo "KAFKA_PORT and KAFKA_HOST are deprecated: use KAFKA_ADVERTISED_LISTENERS" >&2
    exit 1
fi
file=/opt/kafka/server.properties

kafka_properties() {
    echo "log.dirs=/var/lib/kafka/data"
    env | while IFS='=' read -r name value; do
        case $name in
            # Of the JVM, and of parts that only Confluent's server has.
            KAFKA_HEAP_OPTS | KAFKA_OPTS | KAFKA_METRIC_REPORTERS | KAFKA_CONFLUENT_*) ;;
            KAFKA_*)
                name=${name#KAFKA_}
                name=${name//___/-}
                name=${name//__/%}
                name=${name//_/.}
                name=${name//%/_}
                echo "${name,,}=$value"
                ;;
        esac
    done
}

java=(java -XX:+ExitOnOutOfMemoryError -Dlog4j.configuration=file:/opt/kafka/log4j.properties)
# shellcheck disable=SC2206 # Several options in one variable, as in the image.
java+=(${KAFKA_HEAP_OPTS:-} ${KAFKA_OPTS:-} -cp "/opt/kafka/libs/*")

if [ -n "${ZOOKEEPER_CLIENT_PORT:-}" ]; then
    cat >"$file" <<PROPERTIES
clientPort=$ZOOKEEPER_CLIENT_PORT
tickTime=${ZOOKEEPER_TICK_TIME:-2000}
dataDir=/var/lib/zookeeper/data
dataLogDir=/var/lib/zookeeper/log
admin.enableServer=false
maxClientCnxns=0
PROPERTIES
    exec "${java[@]}" org.apache.zookeeper.server.quorum.QuorumPeerMain "$file"
fi

kafka_properties >"$file"
if [ -n "${KAFKA_PROCESS_ROLES:-}" ] && [ ! -e /var/lib/kafka/data/meta.properties ]; then
    "${java[@]}" kafka.tools.StorageTool format --cluster-id "$CLUSTER_ID" --config "$file"
fi
exec "${java[@]}" kafka.Kafka "$file"
