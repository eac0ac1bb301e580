#!/bin/sh
# Restores a dump of backup-postgres.sh into the database of DATABASE_URL, in one
# transaction: it is all there afterwards, or nothing has changed.
#
# DATABASE_URL   the database; DB_PASSWORD its password where the URL has none
# BACKUP_DIR     where the dumps are
# RESTORE_FILE   the dump's name; "latest" is the newest
# OVERWRITE      "true" replaces what the database holds; else it has to be empty
set -eu
. "$(dirname "$0")/backup-prune.sh"
export PGPASSWORD="${DB_PASSWORD:-}"

file="$RESTORE_FILE"
if [ "$file" = latest ]; then
  file=$(find "$BACKUP_DIR" -maxdepth 1 -name 'postgresql-*.dump' | sort | tail -n 1)
  [ -n "$file" ] || { echo "there is no dump in $BACKUP_DIR" >&2; exit 1; }
fi
file="$BACKUP_DIR/${file##*/}"
whole "$file"
pg_restore --list "$file" >/dev/null

ask() { psql --dbname="$DATABASE_URL" --no-psqlrc --quiet --no-align --tuples-only --set=ON_ERROR_STOP=1 "$@"; }
objects=$(ask --command="SELECT count(*) FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f')")
if [ "$objects" != 0 ] && [ "${OVERWRITE:-}" != true ]; then
  echo "the database is not empty ($objects tables, sequences and views): nothing was restored; backup.restore.overwrite=true replaces them" >&2
  exit 1
fi

# COMMIT is only sent when the dump was read to its end: a stream that breaks off
# changes nothing.
{
  echo "BEGIN; SET LOCAL lock_timeout = '120s';"
  echo 'DROP SCHEMA IF EXISTS public CASCADE; CREATE SCHEMA public AUTHORIZATION pg_database_owner; GRANT USAGE ON SCHEMA public TO PUBLIC;'
  if pg_restore --no-owner --no-privileges --file=- "$file"; then
    echo 'COMMIT;'
  else
    echo "DO \$\$BEGIN RAISE EXCEPTION 'the dump could not be read to its end'; END\$\$;"
  fi
} | ask --output=/dev/null
# Only a superuser could analyze the system's own tables; that it says so helps nobody.
ask --command='SET client_min_messages = error; ANALYZE'
echo "restored $file into the database"
