# Sourced by the backup scripts.

stamp() { date -u +%Y%m%dT%H%M%SZ; }

# prune DIR PATTERN removes what is older than KEEP_DAYS, but never the newest
# KEEP_LEAST, and what a killed run left. Names carry the time and sort by it.
prune() {
  find "$1" -maxdepth 1 -name '*.tmp' -mtime +0 -exec rm -rf {} +
  find "$1" -maxdepth 1 -name "$2" | sort -r | tail -n "+$((KEEP_LEAST + 1))" | while IFS= read -r old; do
    [ -n "$(find "$old" -maxdepth 0 -mtime "+$KEEP_DAYS")" ] || continue
    echo "removing $old, older than $KEEP_DAYS days" >&2
    rm -rf "$old" "$old.sha256"
  done
}

# keep TMP NAME makes a finished file a backup: its sum beside it, safe on disk,
# under its name at last.
keep() {
  sum=$(sha256sum < "$1")
  echo "${sum%% *}  ${2##*/}" > "$2.sha256"
  sync
  mv "$1" "$2"
  sync
  echo "$2: $(wc -c < "$2") bytes, sha256 ${sum%% *}"
}

# whole FILE checks a backup against its sum.
whole() {
  [ -f "$1" ] || { echo "there is no $1" >&2; return 1; }
  [ -f "$1.sha256" ] || { echo "there is no $1.sha256: the backup is not complete" >&2; return 1; }
  want=$(sed -n '1{s/ .*//; p;}' "$1.sha256")
  have=$(sha256sum < "$1")
  [ "$want" = "${have%% *}" ] || { echo "$1 is damaged: its sha256 is ${have%% *}, not $want" >&2; return 1; }
}
