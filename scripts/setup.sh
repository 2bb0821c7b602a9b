#!/usr/bin/env bash
# Installs what is missing and says so; what is there already costs milliseconds.
# usage: scripts/setup.sh PART…     parts: go, build, test, bench
#   go     checks the Go toolchain and fetches the modules
#   build  C++ compiler, OpenCV, GStreamer's plugins, ONNX Runtime
#   test   Mosquitto, strace, an RTSP server
#   bench  what the figures need besides
. "$(dirname "$0")/env.sh"

ORT_VERSION=1.31.1 # serves the API 24 that onnxruntime_go v1.27.0 asks for; 1.24.3 answers int8 models wrongly on some CPUs (decision 0005)
declare -A ORT_SHA256=(
  [x86_64]=fc44112fbe06d7d689c57e11d3862031f64711007e4ee020f8eed5185fd2c1d3
  [aarch64]=8aa3b76b28c778a2b1dd660d34161adb1d508c9ccd04ff9dc80e26eca5df8467
)
LOG=$CACHE/setup.log
updated=

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# install WHAT PACKAGE…: one line a group, the details in the log.
install() {
  local what=$1 start=$SECONDS
  shift
  command -v apt-get >/dev/null || die "$what is missing and this is not Debian: install what corresponds to: $*"
  [ "$(id -u)" = 0 ] || command -v sudo >/dev/null || die "$what is missing; run as root: apt-get install --no-install-recommends $*"
  echo "set-up: installing $what ($*)$([ "$(id -u)" = 0 ] || echo ' with sudo') …"
  if [ -z "$updated" ]; then
    as_root apt-get update -qq >>"$LOG" 2>&1 || { tail -n 5 "$LOG" >&2; die "apt-get update failed; see $LOG"; }
    updated=yes
  fi
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" </dev/null >>"$LOG" 2>&1 ||
    { tail -n 5 "$LOG" >&2; die "installing $what failed; see $LOG"; }
  echo "set-up: $what installed in $((SECONDS - start)) s"
}

has_file() { compgen -G "$1" >/dev/null; }

part_go() {
  command -v go >/dev/null || die "Go is not installed or not on PATH; install Go $(go_wanted) or newer and run this again"
  local have
  have=$(GOTOOLCHAIN=local go env GOVERSION | sed 's/^go//')
  [ "$(printf '%s\n%s\n' "$(go_wanted)" "$have" | sort -V | head -n 1)" = "$(go_wanted)" ] ||
    die "Go $have is too old: go.mod asks for $(go_wanted); install that or newer and run this again"
  [ -e /etc/ssl/certs/ca-certificates.crt ] || [ -e /etc/pki/tls/certs/ca-bundle.crt ] || install "certificates" ca-certificates
  local stamp
  stamp=$CACHE/modules.$(sha256sum go.sum | cut -c1-16)
  [ -e "$stamp" ] && [ -d "$(go env GOMODCACHE)/cache" ] && return
  local start=$SECONDS
  echo "set-up: fetching the Go modules …"
  go mod download >>"$LOG" 2>&1 || { tail -n 5 "$LOG" >&2; die "fetching the Go modules failed; see $LOG"; }
  rm -f "$CACHE"/modules.*
  touch "$stamp"
  echo "set-up: Go modules fetched in $((SECONDS - start)) s"
}

go_wanted() { sed -n 's/^go //p' go.mod; }

part_build() {
  command -v g++ >/dev/null || install "a C++ compiler" g++ libc6-dev
  [ "$OPENCV" = slim ] || has_opencv ||
    install "OpenCV (four modules of it)" libopencv-core-dev libopencv-imgproc-dev libopencv-imgcodecs-dev libopencv-videoio-dev
  has_file "/usr/lib/*/gstreamer-1.0/libgstapp.so" && has_file "/usr/lib/*/gstreamer-1.0/libgstjpeg.so" ||
    install "GStreamer's plugins" gstreamer1.0-plugins-base gstreamer1.0-plugins-good
  ort
  tflite
  openvino
}

has_opencv() {
  local m
  for m in core imgproc imgcodecs videoio; do
    [ -e "/usr/include/opencv4/opencv2/$m.hpp" ] && has_file "/usr/lib/*/libopencv_$m.so" || return 1
  done
}

# ONNX Runtime is opened at run time: the library comes out of the Python wheel, and its digest is pinned here.
ort() {
  local arch lib wheels name=libonnxruntime.so.$ORT_VERSION
  arch=$(uname -m)
  lib=$LIB/$name
  if [ -z "${ORT_SHA256[$arch]:-}" ]; then
    echo "set-up: there is no ONNX Runtime wheel for $arch; the engine \"onnx\" will be unavailable"
    return
  fi
  if ! ort_good "$lib"; then
    wheels=$CACHE/onnxruntime-$ORT_VERSION-$arch
    if ! ort_good "$wheels/$name"; then
      fetch_ort "$wheels" "$name"
    fi
    mkdir -p "$LIB"
    cp "$wheels/LICENSE" "$LIB/onnxruntime-LICENSE"
    cp "$wheels/$name" "$lib.tmp"
    mv "$lib.tmp" "$lib"
    find "$LIB" -name 'libonnxruntime.so.*' -type f ! -name "$name" -delete # what an earlier release of Heron had
  fi
  ln -sfn "$name" "$LIB/libonnxruntime.so.1"
  ln -sfn "$name" "$LIB/libonnxruntime.so"
}

ort_good() { [ -e "$1" ] && echo "${ORT_SHA256[$(uname -m)]}  $1" | sha256sum -c --status; }

# fetch_ort FOLDER NAME: puts the library NAME and its LICENSE into FOLDER, or nothing.
fetch_ort() {
  local start=$SECONDS arch
  arch=$(uname -m)
  python3 -m pip --version >/dev/null 2>&1 || install "pip (to fetch ONNX Runtime)" python3-pip
  echo "set-up: fetching ONNX Runtime $ORT_VERSION (29 MB) …"
  rm -rf "$1.part"
  mkdir -p "$1.part"
  # Any Python will do: the wheel is named for one, the library inside is the same for all.
  python3 -m pip download -q --disable-pip-version-check --no-cache-dir --no-deps --only-binary=:all: \
    --implementation cp --python-version 311 --platform "manylinux_2_28_$arch" --platform "manylinux_2_27_$arch" \
    -d "$1.part" "onnxruntime==$ORT_VERSION" </dev/null >>"$LOG" 2>&1 ||
    { tail -n 3 "$LOG" >&2; die "fetching ONNX Runtime failed (is there a network?); see $LOG"; }
  python3 - "$1.part" "$2" <<'PY'
import glob, os, sys, zipfile
folder, name = sys.argv[1:]
wheel = glob.glob(folder + "/*.whl")[0]
with zipfile.ZipFile(wheel) as z:
    for member, to in (("onnxruntime/capi/" + name, name), ("onnxruntime/LICENSE", "LICENSE")):
        with open(os.path.join(folder, to), "wb") as f:
            f.write(z.read(member))
os.remove(wheel)
PY
  ort_good "$1.part/$2" || die "ONNX Runtime $ORT_VERSION for $arch is not the pinned file: $(sha256sum "$1.part/$2" | cut -d' ' -f1)"
  rm -rf "$1"
  mv "$1.part" "$1"
  echo "set-up: ONNX Runtime fetched in $((SECONDS - start)) s"
}

. scripts/fetch-tflite.sh
. scripts/fetch-openvino.sh

part_test() {
  command -v mosquitto >/dev/null && command -v mosquitto_sub >/dev/null || install "Mosquitto" mosquitto mosquitto-clients
  command -v strace >/dev/null || install "strace" strace
  [ -x /usr/sbin/nginx ] || command -v nginx >/dev/null || install "nginx" nginx-light
  command -v python3 >/dev/null && python3 -c 'import ensurepip' 2>/dev/null || install "Python's venv" python3-venv
  python_tuf
  /usr/bin/python3 -c 'import gi; gi.require_version("GstRtspServer", "1.0")' 2>/dev/null && has_file "/usr/lib/*/gstreamer-1.0/libgstx264.so" && command -v gst-inspect-1.0 >/dev/null ||
    install "an RTSP server (GStreamer's)" python3-gi gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-ugly gstreamer1.0-plugins-bad gstreamer1.0-tools
}

# python_tuf is the other implementation that the signed repository is tried against. Without it two tests are skipped, and say so.
python_tuf() {
  local dir=$CACHE/tuf-7.0.1 start=$SECONDS
  [ -x "$dir/bin/python" ] && return
  echo "set-up: fetching python-tuf 7.0.1 …"
  rm -rf "$dir.new" "$dir"
  if python3 -m venv "$dir.new" >>"$LOG" 2>&1 && "$dir.new/bin/pip" install -q --disable-pip-version-check tuf==7.0.1 'securesystemslib[crypto]' >>"$LOG" 2>&1; then
    mv "$dir.new" "$dir"
    echo "set-up: python-tuf fetched in $((SECONDS - start)) s"
  else
    echo "set-up: python-tuf could not be fetched (see $LOG); its two tests will be skipped"
  fi
}

part_bench() {
  command -v python3 >/dev/null && python3 -c 'import ensurepip' 2>/dev/null || install "Python's venv" python3-venv
}

[ $# -gt 0 ] || set -- build test bench
mkdir -p "$CACHE"
: >"$LOG"
part_go
for part in "$@"; do
  case $part in
  go) ;;
  build | test | bench) "part_$part" ;;
  *) die "scripts/setup.sh: no part called \"$part\"; parts: go build test bench" ;;
  esac
done
