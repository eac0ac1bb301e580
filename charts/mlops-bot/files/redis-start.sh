#!/bin/sh
# Starts the chart's Redis. Works with the official image and any other that has
# redis-server and a POSIX shell; it needs neither root nor an entrypoint.
#
# REDIS_CONF           redis.conf
# REDIS_PASSWORD_FILE  the password of the default user
# REDIS_EXTRA_CONF     further settings; may be missing
# RUN_DIR              a directory in memory for the settings with the password
set -eu
umask 077

if [ ! -s "$REDIS_PASSWORD_FILE" ]; then
  echo "redis-start: the password file $REDIS_PASSWORD_FILE is missing or empty" >&2
  exit 1
fi
conf="$RUN_DIR/redis.conf"
{
  cat "$REDIS_CONF"
  [ ! -f "${REDIS_EXTRA_CONF:-}" ] || cat "$REDIS_EXTRA_CONF"
  # The file's first line, quoted as redis.conf wants it.
  sed -n '1{s/\\/\\\\/g; s/"/\\"/g; s/^/requirepass "/; s/$/"/; p;}' "$REDIS_PASSWORD_FILE"
} > "$conf"
exec redis-server "$conf"
