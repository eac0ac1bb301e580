#!/bin/sh
# Makes Postgres' data directory anew from a base backup and the archived WAL, up
# to a point in time. Postgres must not run. Its data directory must be empty or
# gone, or OVERWRITE be set, which keeps it beside the new one.
#
# PGDATA, POSTGRES_CONF   as for postgres-start.sh
# BACKUP_DIR, WAL_DIR     as for backup-base.sh
# RESTORE_FILE            base backup; "latest" is the newest that was complete before RESTORE_TIME
# RESTORE_TIME            such as 2026-11-23T14:05:00Z; empty is the end of the archive
# RESTORE_TIMELINE        history to follow; empty is the latest
# RESTORE_WAIT            seconds that the recovery may take
# OVERWRITE               "true" renames a data directory that is there
# RUNNING_HOST            where Postgres would answer if it ran; may be empty
# Arguments are the settings for postgres that postgres-start.sh gets.
set -eu
umask 077
for dir in /usr/lib/postgresql/*/bin; do
  command -v initdb >/dev/null 2>&1 || PATH="$dir:$PATH"
done
export PATH LC_ALL=C.UTF-8

fail() { echo "$*" >&2; exit 1; }

if [ -n "${RUNNING_HOST:-}" ]; then
  answer=0
  pg_isready --quiet --timeout=5 --host="$RUNNING_HOST" || answer=$?
  [ "$answer" = 2 ] || fail "Postgres still runs at $RUNNING_HOST: scale its StatefulSet to 0 first"
fi
if [ -d "$PGDATA" ] && ! rmdir "$PGDATA" 2>/dev/null && [ "${OVERWRITE:-}" != true ]; then
  fail "$PGDATA is not empty: nothing was restored; backup.restore.overwrite=true keeps it under another name"
fi

time=${RESTORE_TIME:-}
base="${RESTORE_FILE##*/}"
before=99999999T999999Z
if [ -n "$time" ]; then
  before=$(date -u -d "$time" +%Y%m%dT%H%M%SZ) || fail "RESTORE_TIME $time is not a time such as 2026-11-23T14:05:00Z"
  # Postgres reads the command line before it knows the names of time zones, Z's too.
  time=$(echo "$time" | sed -E 's/^([-0-9]+)T/\1 /; s/Z$/+00/')
fi
if [ "$base" = latest ]; then
  base=
  for found in $(find "$BACKUP_DIR" -maxdepth 1 -name 'base-*' | sort); do
    found="${found##*/}"
    if expr "x${found#base-}" '<=' "x$before" >/dev/null; then base="$found"; fi
  done
  [ -n "$base" ] || fail "there is no base backup in $BACKUP_DIR that was complete before ${time:-now}"
fi
[ -f "$BACKUP_DIR/$base/base.tar.gz" ] || fail "there is no base backup $BACKUP_DIR/$base"

new="$PGDATA.restoring"
rm -rf "$new"
mkdir -m 0700 "$new"
echo "unpacking $base"
tar -xzf "$BACKUP_DIR/$base/base.tar.gz" -C "$new"
mkdir -p "$new/pg_wal"
tar -xzf "$BACKUP_DIR/$base/pg_wal.tar.gz" -C "$new/pg_wal"
pg_verifybackup --quiet --manifest-path="$BACKUP_DIR/$base/backup_manifest" "$new"
: > "$new/recovery.signal"

set -- "$@" -c listen_addresses= -c "restore_command=gzip -dc '$WAL_DIR/%f.gz' > '%p'" -c recovery_target_action=promote \
  -c "recovery_target_timeline=${RESTORE_TIMELINE:-latest}"
[ -z "$time" ] || set -- "$@" -c "recovery_target_time=$time"
echo "recovering to ${time:-the end of the archive}"
postgres -D "$new" -c config_file="$POSTGRES_CONF" "$@" &
server=$!
trap 'kill -INT "$server" 2>/dev/null; wait "$server"; exit 1' TERM INT
waited=0
until [ "$(psql --host="${SOCKET_DIR:-/var/run/postgresql}" --username=postgres --dbname=postgres --no-psqlrc -qtA --command='SELECT pg_is_in_recovery()' 2>/dev/null)" = f ]; do
  kill -0 "$server" 2>/dev/null || fail "the recovery failed; the reason stands above"
  [ "$waited" -lt "${RESTORE_WAIT:-3600}" ] || { kill -INT "$server"; wait "$server" || true; fail "not recovered within ${RESTORE_WAIT:-3600} s"; }
  sleep 1
  waited=$((waited + 1))
done
kill -INT "$server"
wait "$server" || fail "the recovered database could not be stopped in order"
if [ -d "$PGDATA" ]; then
  old="$PGDATA.before-$(date -u +%Y%m%dT%H%M%SZ)"
  mv "$PGDATA" "$old"
  echo "what was there is in $old"
fi
mv "$new" "$PGDATA"
sync
echo "recovered $base to ${time:-the end of the archive}; Postgres can start"
