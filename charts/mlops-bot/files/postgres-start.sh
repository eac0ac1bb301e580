#!/bin/sh
# Starts the chart's Postgres; makes its data directory when there is none.
# Works with the official image and with any other that has Postgres' programs
# and a POSIX shell; it needs neither root nor an entrypoint.
#
# PGDATA               the data directory; made, mode 0700, when it isn't there
# POSTGRES_CONF        postgres.conf
# BOT_DB, BOT_USER     the bot's database and role
# BOT_PASSWORD_FILE    its password; a change takes effect at the next start
# BACKUP_USER          role of base backups; empty for none
# BACKUP_PASSWORD_FILE its password
# Arguments are further settings for postgres (-c name=value).
set -eu

for dir in /usr/lib/postgresql/*/bin; do
  command -v initdb >/dev/null 2>&1 || PATH="$dir:$PATH"
done
export PATH LC_ALL=C.UTF-8
umask 077

log() { echo "postgres-start: $*" >&2; }

# literal FILE prints the file's first line as an SQL literal.
literal() {
  [ -s "$1" ] || { log "the password file $1 is missing or empty"; exit 1; }
  sed -n "1{s/'/''/g; s/\\\\/\\\\\\\\/g; s/^/E'/; s/\$/'/; p;}" "$1"
}

# single runs SQL without letting anybody connect. Statements carry passwords:
# none is logged, also when it fails.
single() {
  postgres --single -j -D "$1" -c config_file="$POSTGRES_CONF" -c exit_on_error=on -c max_connections=10 -c max_wal_senders=0 \
    -c archive_mode=off -c logging_collector=off -c log_min_error_statement=panic -c log_statement=none -c log_min_duration_statement=-1 postgres >/dev/null
}

# roles prints what gives each role its password and rights, whatever it had.
# A statement ends with a semicolon and an empty line.
roles() {
  bot=$(literal "$BOT_PASSWORD_FILE")
  printf "DO \$\$BEGIN IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = '%s') THEN CREATE ROLE \"%s\"; END IF; END\$\$;\n\n" "$BOT_USER" "$BOT_USER"
  printf 'ALTER ROLE "%s" LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS PASSWORD %s;\n\n' "$BOT_USER" "$bot"
  [ -n "${BACKUP_USER:-}" ] || return 0
  backup=$(literal "$BACKUP_PASSWORD_FILE")
  printf "DO \$\$BEGIN IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = '%s') THEN CREATE ROLE \"%s\"; END IF; END\$\$;\n\n" "$BACKUP_USER" "$BACKUP_USER"
  printf 'ALTER ROLE "%s" LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE REPLICATION NOBYPASSRLS CONNECTION LIMIT 3 PASSWORD %s;\n\n' "$BACKUP_USER" "$backup"
}

if [ -e "$PGDATA.restoring" ]; then
  log "a restore is under way or was broken off ($PGDATA.restoring): run it to its end, or remove that directory"
  exit 1
fi
sql=$(roles)
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  if [ -d "$PGDATA" ] && [ -n "$(ls -A "$PGDATA")" ]; then
    log "$PGDATA holds something, but no Postgres: nothing is overwritten"
    exit 1
  fi
  # Made aside and renamed: a start that is killed half-way leaves nothing that
  # looks like a database.
  new="$PGDATA.new"
  rm -rf "$new"
  log "making a new database in $PGDATA"
  initdb --pgdata="$new" --username=postgres --encoding=UTF8 --locale=C.UTF-8 --auth-local=peer --auth-host=reject \
    --data-checksums --no-instructions >/dev/null
  printf '%s\n\nCREATE DATABASE "%s" OWNER "%s";\n\nREVOKE ALL ON DATABASE "%s" FROM PUBLIC;\n\n' "$sql" "$BOT_DB" "$BOT_USER" "$BOT_DB" |
    single "$new"
  [ ! -d "$PGDATA" ] || rmdir "$PGDATA"
  mv "$new" "$PGDATA"
else
  want=$(postgres --version | sed -E 's/[^0-9]*([0-9]+).*/\1/')
  have=$(cat "$PGDATA/PG_VERSION")
  if [ "$have" != "$want" ]; then
    log "$PGDATA was made by Postgres $have, and this is $want: dump with the old image and restore with the new one (docs/operations.md)"
    exit 1
  fi
  # Volumes may come with the group's rights on every file, which Postgres refuses.
  chmod 0700 "$PGDATA"
  printf '%s\n\n' "$sql" | single "$PGDATA"
fi

log "starting $(postgres --version)"
exec postgres -D "$PGDATA" -c config_file="$POSTGRES_CONF" "$@"
