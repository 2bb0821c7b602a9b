# Sourced by setup.sh: puts TensorFlow Lite's C library into bin/lib, where inference/tflite looks for it. Needs CACHE, LIB, LOG and install.
#
# The library is built by the makers of a Java package and lies in its jar; nothing of Java is needed to use it. It is fetched by its name in
# Maven's repository, with mvn where that is installed, else with jgo, a client in Python (10 MB, thrown away afterwards; Debian's maven would
# bring a Java of 190 MB). What counts is the pinned digest, whoever fetches. npm's tfjs-tflite-node, the one other package with the C library,
# holds 2.9.0, which is eight times slower on 8-bit models: no fallback.

TFLITE_PACKAGE=org.bytedeco:tensorflow-lite:2.18.0-1.5.11
TFLITE_NAME=libjnitensorflowlite.so
declare -A TFLITE_ARCH=([x86_64]=linux-x86_64 [aarch64]=linux-arm64)
declare -A TFLITE_JAR_SHA256=(
  [x86_64]=09e8a949a86745d372a5cc40b4937d9c113356bd92b5655e8a463682471b1354
  [aarch64]=533321eda09e42358b35cbde77d768bf01ac6476a7c2f8bed34afb4968d2340b
)
declare -A TFLITE_SHA256=( # of the library as it is installed
  [x86_64]=35d246cc473e7159aafdfe0bcfd39413e5560cc81cd83cce716289c2461bc39e
  [aarch64]=2242a0c535fdc9f4dc88fb49b7ffcba91a2a8b9d1f1201dacd6307878343522c
)

# tflite [ARCH]: installs the library, or says why the engine "tflite" will be unavailable; never fails.
tflite() {
  local arch=${1:-$(uname -m)} start=$SECONDS part=$CACHE/tflite.part
  if [ -z "${TFLITE_ARCH[$arch]:-}" ]; then
    echo "set-up: there is no TensorFlow Lite library for $arch; the engine \"tflite\" will be unavailable"
    return 0
  fi
  tflite_is "$LIB/$TFLITE_NAME" "${TFLITE_SHA256[$arch]}" && return 0
  echo "set-up: fetching TensorFlow Lite 2.18.0 (4 MB) …"
  rm -rf "$part"
  mkdir -p "$part" "$LIB"
  if tflite_fetch "$part" "$arch" >>"$LOG" 2>&1 && tflite_unpack "$part" "$arch" >>"$LOG" 2>&1; then
    cp "$part/$TFLITE_NAME" "$LIB/$TFLITE_NAME.tmp"
    mv "$LIB/$TFLITE_NAME.tmp" "$LIB/$TFLITE_NAME"
    echo "set-up: TensorFlow Lite fetched in $((SECONDS - start)) s"
  else
    echo "set-up: fetching TensorFlow Lite failed (is there a network?), see $LOG; the engine \"tflite\" will be unavailable until make setup succeeds" >&2
  fi
  rm -rf "$part"
}

tflite_is() { [ -e "$1" ] && echo "$2  $1" | sha256sum -c --status; }

# tflite_fetch FOLDER ARCH: the jar, as FOLDER/tflite.jar.
tflite_fetch() {
  local kind=${TFLITE_ARCH[$2]} group name version
  IFS=: read -r group name version <<<"$TFLITE_PACKAGE"
  if command -v mvn >/dev/null &&
    mvn -B -q -Dmaven.repo.local="$1/maven" dependency:get -Dtransitive=false -Dartifact="$TFLITE_PACKAGE:jar:$kind" </dev/null; then
    mv "$1/maven/${group//.//}/$name/$version/$name-$version-$kind.jar" "$1/tflite.jar"
  else
    python3 -m pip --version >/dev/null 2>&1 || install "pip (to fetch TensorFlow Lite)" python3-pip
    python3 -m pip install -q --disable-pip-version-check --no-cache-dir --only-binary=:all: --target "$1/jgo" jgo==3.2.0 </dev/null || return 1
    PYTHONPATH=$1/jgo python3 - "$1" "$group" "$name" "$version" "$kind" <<'PY' || return 1
import os, pathlib, sys
from jgo.maven import MavenContext
folder, group, name, version, kind = sys.argv[1:]
context = MavenContext(repo_cache=pathlib.Path(folder, "maven"), timeout=60)
jar = context.project(group, name).at_version(version).artifact(classifier=kind, packaging="jar").resolve()
os.replace(jar, os.path.join(folder, "tflite.jar"))
PY
  fi
  tflite_is "$1/tflite.jar" "${TFLITE_JAR_SHA256[$2]}" || { echo "$TFLITE_PACKAGE for $2 is not the pinned file"; return 1; }
}

# tflite_unpack FOLDER ARCH: the library out of the jar. It would also look for other libraries in a folder of the machine it was built on, which
# anybody might own here: that path is cut off.
tflite_unpack() {
  python3 - "$1" "org/bytedeco/tensorflowlite/${TFLITE_ARCH[$2]}/$TFLITE_NAME" "$TFLITE_NAME" <<'PY' || return 1
import os, sys, zipfile
folder, member, name = sys.argv[1:]
with zipfile.ZipFile(os.path.join(folder, "tflite.jar")) as z:
    b = bytearray(z.read(member))
start = b.index(b"$ORIGIN/:/home/") + len("$ORIGIN/")
end = b.index(0, start)
b[start:end] = bytes(end - start)
with open(os.path.join(folder, name), "wb") as f:
    f.write(b)
PY
  tflite_is "$1/$TFLITE_NAME" "${TFLITE_SHA256[$2]}" || { echo "$TFLITE_NAME for $2 is not the pinned file"; return 1; }
}
