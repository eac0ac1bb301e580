#!/bin/sh
# Archives one WAL segment (archive_command): postgres-archive.sh PATH NAME DIR
# Success means that the segment is on the volume, whole, under its name. A name
# that is taken by another content is an error, never overwritten: two databases
# must not write to one archive.
set -eu
umask 077
path=$1 name=$2 dir=$3
target="$dir/$name.gz"
tmp="$dir/.$name.$$.tmp"
trap 'rm -f "$tmp"' EXIT

if [ -e "$target" ]; then
  if gzip -dc "$target" | cmp -s - "$path"; then
    exit 0 # archived before a crash, and not noted
  fi
  echo "postgres-archive: $target is there with another content" >&2
  exit 1
fi
mkdir -p "$dir"
gzip -1 -n < "$path" > "$tmp"
sync "$tmp" 2>/dev/null || sync
mv "$tmp" "$target"
sync "$dir" 2>/dev/null || sync
