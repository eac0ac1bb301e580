#!/bin/sh
# Makes a base backup, which point-in-time recovery starts from, and removes the
# archived WAL that no base backup needs any more.
#
# PGHOST, PGUSER, PGPASSWORD, PGSSLMODE, PGSSLROOTCERT   the server and a role that may replicate
# BACKUP_DIR     where base-TIME/ goes; TIME is when it was complete: the earliest that it can be recovered to
# WAL_DIR        the archive that postgres-archive.sh fills
# KEEP_DAYS, KEEP_LEAST
set -eu
umask 077
. "$(dirname "$0")/backup-prune.sh"

mkdir -p "$BACKUP_DIR"
tmp="$BACKUP_DIR/.base-$(stamp).$$.tmp"
trap 'rm -rf "$tmp"' EXIT
pg_basebackup --pgdata="$tmp" --format=tar --gzip --wal-method=stream --checkpoint=fast --no-password --label=mlops-bot
sync
name="$BACKUP_DIR/base-$(stamp)"
mv "$tmp" "$name"
sync
echo "$name: $(du -sk "$name" | cut -f1) KiB"
prune "$BACKUP_DIR" 'base-*'

oldest=$(find "$BACKUP_DIR" -maxdepth 1 -name 'base-*' | sort | head -n 1)
first=$(tar -xzOf "$oldest/base.tar.gz" backup_label | sed -n 's/^START WAL LOCATION: .* (file \([0-9A-F]\{24\}\))$/\1/p')
[ -n "$first" ] || { echo "$oldest doesn't say which WAL it needs" >&2; exit 1; }
if [ -d "$WAL_DIR" ]; then
  pg_archivecleanup -x .gz "$WAL_DIR" "$first"
  find "$WAL_DIR" -maxdepth 1 -name '.*.tmp' -mtime +0 -exec rm -f {} +
fi
