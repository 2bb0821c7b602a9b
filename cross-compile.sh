#!/usr/bin/env bash
# Builds for the boards: bin/linux-arm64/ and bin/linux-armv7/.
# usage: ./cross-compile.sh [arm64|armv7]…      default: both
#
# heron is pure Go and always builds. heron-vision links OpenCV and so needs, for its board, a C++ cross compiler and a folder
# with the board's headers and libraries (a sysroot): HERON_SYSROOT_ARM64 names it, default .cache/sysroot-arm64.
. "$(dirname "$0")/scripts/env.sh"

LDFLAGS="-s -w -X heron/agent/cli.version=$(version) -X main.version=$(version)"
missing=0

core() { # core GOARCH GOARM FOLDER
  mkdir -p "bin/$3"
  CGO_ENABLED=0 GOOS=linux GOARCH=$1 GOARM=$2 go build -trimpath -ldflags "$LDFLAGS" -o "bin/$3/heron" ./cmd/heron
  say "built bin/$3/heron"
}

no_vision() { # no_vision FOLDER WHAT NEXT-STEP
  say "not built: bin/$1/heron-vision: $2; next step: $3"
  missing=1
}

vision_arm64() {
  local root=${HERON_SYSROOT_ARM64:-$CACHE/sysroot-arm64} triple=aarch64-linux-gnu
  command -v $triple-g++ >/dev/null ||
    { no_vision linux-arm64 "no C++ compiler for arm64" "apt-get install --no-install-recommends g++-$triple"; return; }
  [ -e "$root/usr/include/opencv4/opencv2/videoio.hpp" ] && compgen -G "$root/usr/lib/$triple/libopencv_videoio.so" >/dev/null ||
    { no_vision linux-arm64 "no OpenCV for arm64 in $root" "put the board's /usr/include and /usr/lib with libopencv-*-dev there, or name such a folder in HERON_SYSROOT_ARM64"; return; }
  CGO_ENABLED=1 GOOS=linux GOARCH=arm64 CC="$triple-gcc --sysroot=$root" CXX="$triple-g++ --sysroot=$root" \
    CGO_CPPFLAGS="-I$ROOT/camera/opencv/include -I$root/usr/include/opencv4" \
    CGO_LDFLAGS="-L$root/usr/lib/$triple -Wl,-rpath-link,$root/usr/lib/$triple $CGO_LDFLAGS" \
    go build -trimpath -tags "$VISION_TAGS" -ldflags "$LDFLAGS" -o bin/linux-arm64/heron-vision ./cmd/heron-vision
  say "built bin/linux-arm64/heron-vision"
}

[ $# -gt 0 ] || set -- arm64 armv7
for board in "$@"; do
  case $board in
  arm64)
    core arm64 "" linux-arm64
    vision_arm64
    ;;
  armv7)
    core arm 7 linux-armv7
    no_vision linux-armv7 "there is no sysroot recipe for armv7 yet" "build on the board: make build"
    ;;
  *) die "no board called \"$board\"; boards: arm64 armv7" ;;
  esac
done
[ $missing = 0 ] || say "heron alone runs with a heron-vision from elsewhere: vision.command or vision.socket in the configuration"
