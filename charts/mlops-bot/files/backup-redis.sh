#!/bin/sh
# Copies a snapshot of Redis.
#
# REDIS_HOST     and what redis-cli.sh reads
# BACKUP_DIR     where redis-TIME.rdb and its sum go
# KEEP_DAYS, KEEP_LEAST
set -eu
umask 077
here="$(dirname "$0")"
. "$here/backup-prune.sh"

mkdir -p "$BACKUP_DIR"
name="$BACKUP_DIR/redis-$(stamp).rdb"
tmp="$name.tmp"
trap 'rm -f "$tmp"' EXIT
sh "$here/redis-cli.sh" -h "$REDIS_HOST" --rdb "$tmp"
redis-check-rdb "$tmp"
keep "$tmp" "$name"
prune "$BACKUP_DIR" 'redis-*.rdb'
