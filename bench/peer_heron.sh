#!/usr/bin/env bash
# Heron's rows for ../shared/peers: JSON lines on stdout with the keys of their README, progress on stderr.
# usage: bench/peer_heron.sh [small|full]
. "$(dirname "$0")/../scripts/env.sh"

SIZE=${1:-small}
case $SIZE in small | full) ;; *) die "usage: $0 [small|full]" ;; esac
BIN=$CACHE/bench
OUT=$ROOT/bench/out
mkdir -p "$BIN" "$OUT"
pick() { if [ "$SIZE" = full ]; then echo "$2"; else echo "$1"; fi; } # pick SMALL FULL
{
  scripts/setup.sh build test
  scripts/build.sh
} >&2
CGO_ENABLED=0 go build -o "$BIN/" ./bench/fixtures ./bench/service ./bench/sf ./bench/table
CGO_ENABLED=1 CGO_CPPFLAGS= CGO_CXXFLAGS= CGO_LDFLAGS= go build -o "$BIN/" ./bench/framepath
"$BIN/fixtures" "$OUT"

rows=$(mktemp)
trap 'rm -f "$rows"' EXIT
"$BIN/framepath" -blocks "$(pick 4 10)" >>"$rows"
"$BIN/service" -length "$(pick 60s 180s)" -starts "$(pick 3 5)" >>"$rows"
"$BIN/table" -peer "$rows"
"$BIN/sf" -n "$(pick 20000 1000000)"
