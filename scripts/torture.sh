#!/usr/bin/env bash
# The long campaigns: what go test does briefly, at length. Power cuts over every prefix and torn state of recorded writes, SIGKILLs under load,
# damaged models.
# A failure prints its seed; HERON_TORTURE_SEED=N repeats it.
. "$(dirname "$0")/env.sh"

export HERON_TORTURE=long
CGO_ENABLED=0 go test -count=1 -v -timeout 3h -run 'Torture|AwayForAMinute' ./... "$@" |
  grep -v -e '\[no test files\]' -e 'no tests to run' -e '^testing: warning'

# The engines need cgo: a thousand damaged copies of each real model, with digests and without (the numbers are in the lines "without digests").
CGO_ENABLED=1 go test -count=1 -v -timeout 1h -run Torture_Mutants ./inference/onnx ./inference/tflite ./inference/openvino "$@" |
  grep -v -e '^testing: warning'
