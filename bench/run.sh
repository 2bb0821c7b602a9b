#!/usr/bin/env bash
# The figures of the README: runs every measurement, writes bench/out/results.jsonl and bench/out/table.md, prints the table.
# usage: bench/run.sh [small|full] [PART…]      parts: frame engines preprocess python outbox drain service      (default: full, all)
# An idle machine gives the true figures; full takes about a quarter of an hour.
. "$(dirname "$0")/../scripts/env.sh"

SIZE=full
case ${1:-} in small | full) SIZE=$1; shift ;; esac
[ $# -gt 0 ] || set -- frame engines preprocess python outbox drain service
OUT=$ROOT/bench/out
BIN=$CACHE/bench
RESULTS=$OUT/results.jsonl
mkdir -p "$OUT" "$BIN"
pick() { if [ "$SIZE" = full ]; then echo "$2"; else echo "$1"; fi; } # pick SMALL FULL

pure() { CGO_ENABLED=0 go build -o "$BIN/" ./bench/fixtures ./bench/outbox ./bench/drain ./bench/service ./bench/table; }

# The bare session needs cgo for ONNX Runtime, and nothing of OpenCV.
native() { CGO_ENABLED=1 CGO_CPPFLAGS= CGO_CXXFLAGS= CGO_LDFLAGS= go build -o "$BIN/" ./bench/framepath; }

# forget FIGURE…: drops the earlier lines of these figures, so that a part can be run again.
forget() {
  touch "$RESULTS"
  local name
  for name in "$@"; do sed -i "/\"figure\":\"$name\"/d" "$RESULTS"; done
}

part_frame() {
  native
  forget frame_path
  "$BIN/framepath" -blocks "$(pick 4 10)" | tee -a "$RESULTS"
}

# One engine after the other on the MobileNets of the test data, by the command that a user has. Threads are the engine's choice.
part_engines() {
  local data=${HERON_TESTDATA:-$ROOT/../shared/testdata}/models
  [ -f "$data/imagenet_labels.txt" ] || { say "no $data: the engines are left out"; return; }
  CGO_ENABLED=0 go build -o "$BIN/heron" ./cmd/heron
  go build -tags "$VISION_TAGS" -o "$BIN/heron-vision" ./cmd/heron-vision
  ln -sfn "$ROOT/bin/lib" "$BIN/lib" # heron-vision looks for its libraries beside itself
  forget engine
  local model
  for model in 0.25_128 0.75_192; do
    engine_bundle "$data" "mobilenet_v1_$model" "${model#*_}" "$OUT/engines/$model"
    "$BIN/heron" accel bench --json --for "$(pick 2s 15s)" --model "$OUT/engines/$model" > "$OUT/engines/$model.json" || true # a row says why
    python3 - "mobilenet_v1_$model" "$OUT/engines/$model.json" <<'PY' | tee -a "$RESULTS"
import json, sys
for r in json.load(open(sys.argv[2])):
    print(json.dumps({"figure": "engine", "model": sys.argv[1], **r}, separators=(",", ":")))
PY
  done
}

# engine_bundle TESTDATA NAME SIDE FOLDER: a quantised MobileNet for every engine that runs on a CPU.
engine_bundle() {
  rm -rf "$4"
  mkdir -p "$4"
  cp "$1/$2_quant.onnx" "$1/$2_quant.tflite" "$1/imagenet_labels.txt" "$4/"
  cat > "$4/manifest.json" <<EOF
{"v":1,"name":"mobilenet-v1","version":"1.0.0","task":"classification","labels":"imagenet_labels.txt","thresholds":{"default":0},
 "engines":[{"engine":"tflite","file":"$2_quant.tflite"},{"engine":"onnx","file":"$2_quant.onnx"},{"engine":"openvino","file":"$2_quant.onnx"}],
 "input":{"width":$3,"height":$3,"layout":"NHWC","dtype":"uint8","color":"RGB","mean":[128,128,128],"std":[128,128,128],"quant":{"scale":0.0078125,"zero_point":128}},
 "output":{"kind":"probabilities","dtype":"uint8","quant":{"scale":0.00390625,"zero_point":0}}}
EOF
}

part_preprocess() {
  forget preprocess
  go test -tags "$VISION_TAGS" -run '^$' -bench 'Heron|OpenCV' -benchtime "$(pick 100x 1000x)" -count 3 ./bench/preprocess |
    awk '/^Benchmark/ { sub(/-[0-9]+$/, "", $1); sub(/^Benchmark/, "", $1); if (!($1 in best) || $3 < best[$1]) best[$1] = $3 }
      END { for (k in best) if (k ~ /^Heron/) { o = k; sub(/^Heron/, "OpenCV", o); if (o in best) { n = k; sub(/^Heron\//, "", n)
        printf "{\"figure\":\"preprocess\",\"input\":\"%s\",\"heron_us\":%.1f,\"opencv_us\":%.1f,\"over_opencv\":%.2f}\n", n, best[k]/1e3, best[o]/1e3, best[k]/best[o] } } }' |
    sort | tee -a "$RESULTS"
}

# The loop most people write, from the peers beside the project, on the same film and model.
part_python() {
  local peers=$ROOT/../shared/peers model=$OUT/bundle/model.onnx
  [ -x "$peers/peer_python.sh" ] || { say "no ../shared/peers: the Python loop is left out"; return; }
  touch "$RESULTS"
  sed -i -E '/"peer": ?"(python_loop|bare_python)"/d' "$RESULTS"
  mkdir -p "$CACHE/peers"
  ln -sfn "$OUT/frames.avi" "$CACHE/peers/frames_640x480.avi"
  WORK=$CACHE/peers OUT=$CACHE/peers/out SHARED=$ROOT/../shared MODEL=$model "$peers/peer_python.sh" "$(pick small full)" | tee -a "$RESULTS"
}

part_outbox() {
  forget outbox
  "$BIN/outbox" -n "$(pick 100000 1000000)" | tee -a "$RESULTS"
}

part_drain() {
  forget drain
  local how
  for how in none zstd; do "$BIN/drain" -n "$(pick 200000 1000000)" -compress $how | tee -a "$RESULTS"; done
  "$BIN/drain" -n "$(pick 200000 1000000)" -compress zstd -subscriber | tee -a "$RESULTS"
}

part_service() {
  forget start
  forget steady
  "$BIN/service" -length "$(pick 60s 180s)" -starts "$(pick 3 7)" | tee -a "$RESULTS"
}

rm -rf "$OUT"/*-[0-9]* # what an interrupted run left
pure
"$BIN/fixtures" "$OUT"
failed=()
for part in "$@"; do
  say "== $part ($SIZE)"
  "part_$part" || failed+=("$part")
done
"$BIN/table" "$RESULTS" | tee "$OUT/table.md"
[ ${#failed[@]} = 0 ] || die "these parts failed: ${failed[*]}"
