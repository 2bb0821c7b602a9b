# Sourced by setup.sh after env.sh: openvino puts OpenVINO's C library, its CPU plugin and its readers of ONNX and IR into bin/lib/openvino/.
# They are opened at run time; they come out of the Python wheel, and each file's digest is pinned here. Nothing of the wheel is executed.

OPENVINO_VERSION=2026.4.1
OPENVINO_SO=2641 # how this version's files are named
OPENVINO_SHA256_x86_64="
d2d0836d422b21fc5da2739af0d6035df3fc6dd5e4756402eb848974edecf8a5  libopenvino_c.so.$OPENVINO_SO
9b9a80ac1f18e07b13ed54459d9a865bcfe9dc170dbf8fe740c2974b85ecedc1  libopenvino.so.$OPENVINO_SO
6599e3dd300d047b5ed72f8e48101c5f312c25321f35f57f803641ff8372900b  libopenvino_intel_cpu_plugin.so
82d499f5b5e8514def7aaa1ecd5a9f570542d33ae9d00a0077f707cccd0e0192  libopenvino_onnx_frontend.so.$OPENVINO_SO
554e9fd3d4a0fbc587c14379464b2324e24b8ea736cfb749ad2cd9e74dfc09e0  libopenvino_ir_frontend.so.$OPENVINO_SO
ac9518497a4f2cb6729792730f145ee58367316031511923fef263c9ac81ca61  libtbb.so.12
"
OPENVINO_SHA256_aarch64="
dfb34063847add4fe0689583633e74b69d7844e9e5a4b085476b0861c0b28f51  libopenvino_c.so.$OPENVINO_SO
4a4ce9bb19ab78288b36ff39cbfebf1307c6b1ffda953b0c2b32129a8e89f04a  libopenvino.so.$OPENVINO_SO
839cb0653151d0962e13a129b7b1ad2ffc700b5a1472e847cdcb83e523cf424e  libopenvino_arm_cpu_plugin.so
2ea8eb7270401e9a1ccf4de9f5fc4bcb3177d00f431a8e9bfa24dfe19b7a4578  libopenvino_onnx_frontend.so.$OPENVINO_SO
0c1e737e93e78b5ffaf854d830140d2d84046847e19cd5226a1aff1c56be4431  libopenvino_ir_frontend.so.$OPENVINO_SO
07ad125a3e19dbc40cf74ea6d4bd4c67ad7df5aaff9611178eea99592bc7a921  libtbb.so.12
"

openvino() {
  local arch pins wheels stamp to=$LIB/openvino
  arch=$(uname -m)
  pins=OPENVINO_SHA256_$arch
  pins=${!pins:-}
  if [ -z "$pins" ]; then
    echo "set-up: there is no OpenVINO wheel for $arch; the engine \"openvino\" will be unavailable"
    return
  fi
  # 93 MB are not read at every set-up: the stamp holds size and time of what was checked.
  stamp=$CACHE/openvino-$OPENVINO_VERSION-$arch.stamp
  [ -e "$stamp" ] && [ "$(openvino_facts "$to")" = "$(cat "$stamp")" ] && return
  if ! openvino_good "$to" "$pins"; then
    wheels=$CACHE/openvino-$OPENVINO_VERSION-$arch
    openvino_good "$wheels" "$pins" || openvino_fetch "$wheels" "$pins"
    rm -rf "$to.tmp"
    mkdir -p "$to.tmp"
    cp "$wheels"/* "$to.tmp"
    rm -rf "$to" # what an earlier release of Heron had
    mv "$to.tmp" "$to"
  fi
  openvino_facts "$to" >"$stamp"
}

openvino_facts() { stat -c '%n %s %Y' "$1"/* 2>/dev/null || true; }

# openvino_good FOLDER PINS
openvino_good() { [ -d "$1" ] && (cd "$1" && echo "$2" | grep . | sha256sum -c --status 2>/dev/null); }

# openvino_fetch FOLDER PINS: puts the pinned files and the licences into FOLDER, or nothing.
openvino_fetch() {
  local start=$SECONDS arch
  arch=$(uname -m)
  python3 -m pip --version >/dev/null 2>&1 || install "pip (to fetch OpenVINO)" python3-pip
  echo "set-up: fetching OpenVINO $OPENVINO_VERSION (59 MB; 30 MB on arm64) …"
  rm -rf "$1.part"
  mkdir -p "$1.part"
  # Any Python will do: the wheel is named for one, the libraries inside are the same for all.
  python3 -m pip download -q --disable-pip-version-check --no-cache-dir --no-deps --only-binary=:all: \
    --implementation cp --python-version 311 --platform "manylinux_2_28_$arch" --platform "manylinux_2_35_$arch" \
    -d "$1.part" "openvino==$OPENVINO_VERSION" </dev/null >>"$LOG" 2>&1 ||
    { tail -n 3 "$LOG" >&2; die "fetching OpenVINO failed (is there a network?); see $LOG"; }
  echo "$2" | grep . | sed 's/^[0-9a-f]*  //' | python3 -c '
import glob, os, sys, zipfile
folder = sys.argv[1]
wheel = glob.glob(folder + "/*.whl")[0]
with zipfile.ZipFile(wheel) as z:
    members = {"openvino/libs/" + n: n for n in sys.stdin.read().split()}
    members |= {m: "openvino-" + os.path.basename(m) for m in z.namelist() if ".dist-info/licenses/" in m and not m.endswith("/")}
    for member, to in members.items():
        with open(os.path.join(folder, to), "wb") as f:
            f.write(z.read(member))
os.remove(wheel)
' "$1.part"
  openvino_good "$1.part" "$2" || die "OpenVINO $OPENVINO_VERSION for $arch is not the pinned one: $(cd "$1.part" && sha256sum -- *.so*)"
  rm -rf "$1"
  mv "$1.part" "$1"
  echo "set-up: OpenVINO fetched in $((SECONDS - start)) s"
}
