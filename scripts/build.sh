#!/usr/bin/env bash
# Builds bin/heron (pure Go, static) and bin/heron-vision (cgo: OpenCV linked, ONNX Runtime opened at run time).
. "$(dirname "$0")/env.sh"

LDFLAGS="-X heron/agent/cli.version=$(version) -X main.version=$(version)"
mkdir -p bin

case $OPENCV in
system) ;;
slim) die "OPENCV=slim is not built here yet; use OPENCV=system, the default" ;;
*) die "OPENCV=$OPENCV: choose system or slim" ;;
esac

start=$SECONDS
CGO_ENABLED=0 go build -trimpath -ldflags "$LDFLAGS" -o bin/heron ./cmd/heron
[ -e "$CACHE/gocv-compiled.$OPENCV" ] || say "building heron-vision (the first time compiles GoCV: one to two minutes) …"
CGO_ENABLED=1 go build -trimpath -tags "$VISION_TAGS" -ldflags "$LDFLAGS" -o bin/heron-vision ./cmd/heron-vision
touch "$CACHE/gocv-compiled.$OPENCV"
say "built bin/heron and bin/heron-vision ($(version), OPENCV=$OPENCV) in $((SECONDS - start)) s"
