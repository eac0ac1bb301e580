#!/bin/sh
# Puts a snapshot of backup-redis.sh into Redis' data directory. Redis must not
# run. It is a cache: this saves requests to GitHub and nothing else.
#
# DATA_DIR       Redis' data directory
# BACKUP_DIR     where the snapshots are
# RESTORE_FILE   the snapshot's name; "latest" is the newest
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
if [ -d "$aof" ]; then
  echo "$aof is there: nothing was restored. Keep it under another name, or remove it, then start this again" >&2
  exit 1
fi
# With appendonly on, Redis reads its log and no dump.rdb: the snapshot becomes
# the base of a new log.
rm -rf "$aof.restoring"
mkdir "$aof.restoring"
cp "$file" "$aof.restoring/appendonly.aof.1.base.rdb"
echo 'file appendonly.aof.1.base.rdb seq 1 type b' > "$aof.restoring/appendonly.aof.manifest"
sync
mv "$aof.restoring" "$aof"
sync
echo "restored $file; Redis can start"
