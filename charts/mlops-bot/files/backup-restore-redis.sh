#!/bin/sh
# Puts a snapshot of backup-redis.sh into Redis' data directory. Redis must not
# run. It is a cache: this saves requests to GitHub and nothing else.
#
# DATA_DIR       Redis' data directory
# BACKUP_DIR     where the snapshots are
# RESTORE_FILE   the snapshot's name; "latest" is the newest
# OVERWRITE      "true" replaces what the directory holds
# RUNNING_HOST   where Redis would answer if it ran; may be empty
set -eu
umask 077
. "$(dirname "$0")/backup-prune.sh"

file="$RESTORE_FILE"
if [ "$file" = latest ]; then
  file=$(find "$BACKUP_DIR" -maxdepth 1 -name 'redis-*.rdb' | sort | tail -n 1)
  [ -n "$file" ] || { echo "there is no snapshot in $BACKUP_DIR" >&2; exit 1; }
fi
file="$BACKUP_DIR/${file##*/}"
whole "$file"
redis-check-rdb "$file"

aof="$DATA_DIR/appendonlydir"
if [ -n "${RUNNING_HOST:-}" ]; then
  # Any answer is one: without the password and TLS, Redis refuses.
  said=$(timeout 5 redis-cli -h "$RUNNING_HOST" -p "${REDIS_PORT:-6379}" PING 2>&1 || echo "ended with $?")
  case "$said" in
  *"Could not connect"* | *"ended with 124"*) ;;
  *)
    echo "Redis still runs at $RUNNING_HOST: scale its StatefulSet to 0 first" >&2
    exit 1
    ;;
  esac
fi
if [ -d "$aof" ] && [ "${OVERWRITE:-}" != true ]; then
  echo "$aof is there: nothing was restored; backup.restore.overwrite=true replaces it" >&2
  exit 1
fi
# With appendonly on, Redis reads its log and no dump.rdb: the snapshot becomes
# the base of a new log.
rm -rf "$aof.restoring"
mkdir "$aof.restoring"
cp "$file" "$aof.restoring/appendonly.aof.1.base.rdb"
echo 'file appendonly.aof.1.base.rdb seq 1 type b' > "$aof.restoring/appendonly.aof.manifest"
sync
rm -rf "$aof"
mv "$aof.restoring" "$aof"
sync
echo "restored $file; Redis can start"
