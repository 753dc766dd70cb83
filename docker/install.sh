#!/bin/sh
# install.sh NAMES LOCK: install the named packages in the lock's versions, each checked against its hash.
set -eu
lock=$(mktemp)
awk 'NR == FNR { wanted[$1]; next }
     /^[A-Za-z0-9]/ { name = tolower($1); sub(/[[=].*/, "", name); gsub(/[-_.]+/, "-", name); on = name in wanted }
     on' "$1" "$2" > "$lock"
python -m pip install --quiet --no-deps --require-hashes -r "$lock"
rm "$lock"
