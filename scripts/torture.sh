#!/usr/bin/env bash
# The long campaigns: what the tests do briefly in go test ./..., done at length.
. "$(dirname "$0")/env.sh"

export HERON_TORTURE=1
CGO_ENABLED=0 go test -count=1 -v -timeout 3h -run 'Torture|PowerCut|Kill|Damage' ./sync/outbox/... "$@"
