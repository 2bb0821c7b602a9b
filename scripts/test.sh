#!/usr/bin/env bash
# Every tier of tests that this machine can run, in order; then what was skipped and why. Non-zero when anything failed.
. "$(dirname "$0")/env.sh"

OUT=$CACHE/test
rm -rf "$OUT"
mkdir -p "$OUT"
CGO_ENABLED=0 go build -o "$OUT/testlog" ./scripts/testlog

# Real models and pictures, where they are: tests say so when they are not.
if [ -z "${HERON_TESTDATA:-}" ] && [ -d "$ROOT/../shared/testdata" ]; then
  HERON_TESTDATA=$(cd "$ROOT/../shared/testdata" && pwd)
  export HERON_TESTDATA
fi

# The other implementation of signed repositories, where the set-up could fetch it.
[ -n "${HERON_TEST_PYTHON:-}" ] || [ ! -x "$CACHE/tuf-7.0.1/bin/python" ] || export HERON_TEST_PYTHON=$CACHE/tuf-7.0.1/bin/python

bad=0
tiers=()

# tier NAME WHAT COMMAND…: a command that prints go test -json
tier() {
  local name=$1 what=$2 start=$SECONDS
  shift 2
  say ""
  say "== $name: $what"
  tiers+=("$OUT/$name.json")
  if ! "$@" 2>&1 | "$OUT/testlog" live "$OUT/$name.json"; then
    bad=1
    say "== $name FAILED after $((SECONDS - start)) s"
  else
    say "== $name passed in $((SECONDS - start)) s"
  fi
}

say "== lint: go vet and gofmt"
scripts/lint.sh || bad=1

tier go-alone "go test ./... without cgo" env CGO_ENABLED=0 go test -timeout 20m -json ./...

# What needs neither OpenCV nor ONNX Runtime, again under the race detector (which needs cgo, hence a C compiler).
PURE=$(CGO_ENABLED=0 go list ./... | grep -v -e '/bench' -e '/scripts')
tier race "the same packages under the race detector" \
  env CGO_ENABLED=1 CGO_CPPFLAGS= CGO_CXXFLAGS= CGO_LDFLAGS= go test -race -short -timeout 20m -json $PURE

export HERON_ONNXRUNTIME_LIB=${HERON_ONNXRUNTIME_LIB:-$LIB/libonnxruntime.so} HERON_VISION=${HERON_VISION:-$ROOT/bin/heron-vision}
tier native "with OpenCV, GStreamer and ONNX Runtime" \
  env HERON_SLOW=1 CGO_ENABLED=1 go test -tags "$VISION_TAGS" -timeout 20m -json ./camera/... ./inference/... ./vision/... ./agent/... ./cmd/... \
  ./sync/models ./sync/repo

if command -v chromium >/dev/null; then
  tier browser "the page in Chromium" go test -tags browser -run Browser -timeout 5m -json ./agent/status
else
  say ""
  say "== browser: skipped: Chromium is not installed (apt-get install chromium)"
fi

say ""
"$OUT/testlog" sum "${tiers[@]}"
exit $bad
