#!/bin/sh
# redis-cli against the chart's Redis, with its password and TLS; for probes,
# backups and people: sh redis-cli.sh -h HOST COMMAND…
#
# REDIS_PASSWORD_FILE  the password
# REDIS_PORT           6379 unless set
# REDIS_TLS_CA         CA certificate; empty without TLS
set -eu
REDISCLI_AUTH=$(sed -n 1p "$REDIS_PASSWORD_FILE")
export REDISCLI_AUTH
if [ -n "${REDIS_TLS_CA:-}" ]; then
  set -- --tls --cacert "$REDIS_TLS_CA" "$@"
fi
exec redis-cli -p "${REDIS_PORT:-6379}" "$@"
