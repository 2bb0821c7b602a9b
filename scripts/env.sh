# Sourced by the scripts beside it: the repository's root, and the settings that must be the same in all of them.
set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
CACHE=$ROOT/.cache
LIB=$ROOT/bin/lib
cd "$ROOT"
mkdir -p "$CACHE"

# Debian's users have neither on their PATH.
export PATH=$PATH:/usr/sbin:/sbin:/usr/local/go/bin

# Without a usable home (a service account, HOME unset) Go has nowhere to put its caches. Once here, they stay here: run as root,
# Go makes the missing home itself.
if [ ! -w "${HOME:-/nonexistent}" ] || [ -d "$CACHE/go" ]; then
  export GOCACHE=${GOCACHE:-$CACHE/go-build} GOPATH=${GOPATH:-$CACHE/go}
  mkdir -p "$GOPATH"
fi

# One OpenCV a build: GoCV is told the modules and how to link them.
VISION_TAGS=opencv,customenv,gocv_specific_modules,gocv_videoio
OPENCV=${OPENCV:-system}
export CGO_CXXFLAGS="--std=c++11 -DNDEBUG -O2"
export CGO_CPPFLAGS="-I$ROOT/camera/opencv/include -I/usr/include/opencv4" # the first lists the modules that are linked
export CGO_LDFLAGS="-lopencv_videoio -lopencv_imgcodecs -lopencv_imgproc -lopencv_core"

say() { echo "$*"; }
die() { echo "error: $*" >&2; exit 1; }

# A tag where there is one, else what Go's own build would say.
version() {
  git describe --tags --dirty --match 'v*' 2>/dev/null | sed 's/^v//' | grep . && return
  echo "0.0.0-dev+$(git describe --always --dirty --abbrev=12 2>/dev/null || echo unknown)"
}
