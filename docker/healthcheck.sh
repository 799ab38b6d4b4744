#!/bin/bash
# Health of a server in its own protocol, without a client: those are Java or Python programs, and starting one every
# few seconds costs more than the server. Usage: healthcheck.sh zookeeper|kafka|cassandra|spark PORT
set -eu
exec 3<>"/dev/tcp/127.0.0.1/$2"

# The first bytes of the answer, in hexadecimal.
answer() { head -c "$1" <&3 | od -An -v -tx1 | tr -d ' \n'; }

case $1 in
    # The command `srvr`; a server that is not serving does not tell its mode.
    zookeeper) printf 'srvr' >&3 && grep -q '^Mode:' <&3 ;;
    # ApiVersions, version 0 (https://kafka.apache.org/protocol): length, API key 18, version, correlation id 7,
    # no client id. The answer has a length, the same correlation id and error code 0.
    kafka) printf '\0\0\0\x0a\0\x12\0\0\0\0\0\x07\xff\xff' >&3 && [[ $(answer 10) == ????????000000070000 ]] ;;
    # OPTIONS of the native protocol, version 4; the answer is SUPPORTED (opcode 06).
    cassandra) printf '\x04\0\0\0\x05\0\0\0\0' >&3 && [[ $(answer 5) == 8400000006 ]] ;;
    # The page of a master or worker, as JSON.
    spark) printf 'GET /json/ HTTP/1.0\r\n\r\n' >&3 && grep -q -e '"status" : "ALIVE"' -e '"masterurl"' <&3 ;;
    *) echo "healthcheck.sh: unknown server $1" >&2 && exit 2 ;;
esac
