#!/bin/bash
# One node; CASSANDRA_CLUSTER_NAME, MAX_HEAP_SIZE and JVM_EXTRA_OPTS as in the image.
set -eu
if [ "$(id -u)" -eq 0 ]; then
    chown -R cassandra /var/lib/cassandra
    exec setpriv --reuid=cassandra --regid=cassandra --clear-groups "$0" "$@"
fi
address=$(hostname -i)
data=/var/lib/cassandra
yaml=/tmp/cassandra.yaml
cat >"$yaml" <<YAML
cluster_name: ${CASSANDRA_CLUSTER_NAME:-Test Cluster}
num_tokens: 16
partitioner: org.apache.cassandra.dht.Murmur3Partitioner
data_file_directories: ["$data/data"]
commitlog_directory: "$data/commitlog"
saved_caches_directory: "$data/saved_caches"
hints_directory: "$data/hints"
cdc_raw_directory: "$data/cdc_raw"
commitlog_sync: periodic
commitlog_sync_period: 10000ms
seed_provider:
  - class_name: org.apache.cassandra.locator.SimpleSeedProvider
    parameters: [{seeds: "$address:7000"}]
listen_address: $address
storage_port: 7000
rpc_address: 0.0.0.0
broadcast_rpc_address: $address
native_transport_port: 9042
start_native_transport: true
endpoint_snitch: SimpleSnitch
memtable_allocation_type: heap_buffers
disk_optimization_strategy: ssd
YAML

options=(-Xms"${MAX_HEAP_SIZE:-768m}" -Xmx"${MAX_HEAP_SIZE:-768m}" -Xss512k -XX:+UseG1GC -XX:+ExitOnOutOfMemoryError)
options+=("-javaagent:$(echo /opt/cassandra/libs/jamm-*.jar)" -Djdk.attach.allowAttachSelf=true)
options+=("-Dcassandra.config=file://$yaml" "-Dcassandra.storagedir=$data" -Dcassandra-foreground=yes)
options+=(-Dlogback.configurationFile=file:///opt/cassandra/logback.xml)
options+=(-Dcassandra.skip_wait_for_gossip_to_settle=0 -Dcassandra.ring_delay_ms=0)
# Packages of the JDK that Cassandra 5.0 reaches into (its jvm17-server.options).
for package in jdk.internal.misc java.lang.ref sun.nio.ch; do
    options+=(--add-exports "java.base/$package=ALL-UNNAMED")
done
for package in java.management.rmi/com.sun.jmx.remote.internal.rmi java.rmi/sun.rmi.registry java.rmi/sun.rmi.server \
    java.rmi/sun.rmi.transport java.rmi/sun.rmi.transport.tcp java.sql/java.sql \
    jdk.naming.rmi/com.sun.jndi.rmi.registry jdk.unsupported/sun.misc; do
    options+=(--add-exports "$package=ALL-UNNAMED")
done
for package in java.io java.lang java.lang.module java.lang.reflect java.nio java.util java.util.concurrent \
    java.util.concurrent.atomic jdk.internal.loader jdk.internal.math jdk.internal.module jdk.internal.ref \
    jdk.internal.reflect jdk.internal.util.jar sun.nio.ch; do
    options+=(--add-opens "java.base/$package=ALL-UNNAMED")
done
options+=(--add-opens jdk.management/com.sun.management.internal=ALL-UNNAMED)

# shellcheck disable=SC2086 # Several options in one variable, as in the image.
exec java "${options[@]}" ${JVM_EXTRA_OPTS:-} -cp "/opt/cassandra/libs/*" org.apache.cassandra.service.CassandraDaemon
