#!/bin/sh
# Dumps the bot's database (pg_dump, custom format).
#
# DATABASE_URL   the database; DB_PASSWORD its password where the URL has none
# BACKUP_DIR     where postgresql-TIME.dump and its sum go
# KEEP_DAYS, KEEP_LEAST
set -eu
umask 077
. "$(dirname "$0")/backup-prune.sh"
export PGPASSWORD="${DB_PASSWORD:-}"

mkdir -p "$BACKUP_DIR"
name="$BACKUP_DIR/postgresql-$(stamp).dump"
tmp="$name.tmp"
trap 'rm -f "$tmp"' EXIT

pg_dump --dbname="$DATABASE_URL" --format=custom --compress=6 --no-owner --no-privileges --lock-wait-timeout=60s --file="$tmp"
# What can't be listed can't be restored.
tables=$(pg_restore --list "$tmp" | grep -c ' TABLE DATA ') || { echo "the dump holds no table" >&2; exit 1; }
echo "dumped $tables tables"
keep "$tmp" "$name"
prune "$BACKUP_DIR" 'postgresql-*.dump'
