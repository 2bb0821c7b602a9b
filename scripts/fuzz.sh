#!/usr/bin/env bash
# Runs every fuzz target for a short while, one after the other.
# usage: scripts/fuzz.sh TIME     as go test's -fuzztime: 10s, 1000x
. "$(dirname "$0")/env.sh"

time=${1:-10s}
export CGO_ENABLED=0
n=0
while IFS=: read -r file name; do
  say "== $name in $(dirname "$file") for $time"
  go test -run '^$' -fuzz "^$name\$" -fuzztime "$time" -fuzzminimizetime 20x "./$(dirname "$file")"
  n=$((n + 1))
done < <(git grep --untracked -E '^func Fuzz[A-Za-z0-9_]+\(' -- '*_test.go' | sed -E 's|^([^:]+):func (Fuzz[A-Za-z0-9_]+).*|\1:\2|')
say "$n fuzz targets ran, nothing found"
