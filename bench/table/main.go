// Command table turns the lines of results.jsonl into the table of the README, ratios first; with -peer, into Heron's row beside
// the Python loop in ../shared/peers.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"

	"heron/bench/measure"
)

// row is one line of the table; text is given each figure's line and returns the value, or false where a key is missing.
type row struct {
	what string
	goal string
	text func(lines) (string, bool)
}

// lines are the results, by their figure.
type lines map[string][]map[string]any

// number returns key of the first line of a figure whose other keys match.
func (l lines) number(figure, key string, match map[string]any) (float64, bool) {
	for _, m := range l[figure] {
		fits := true
		for k, v := range match {
			fits = fits && m[k] == v
		}
		if v, ok := m[key].(float64); ok && fits {
			return v, true
		}
	}
	return 0, false
}

// value formats one number.
func value(format, figure, key string, match map[string]any) func(lines) (string, bool) {
	return func(l lines) (string, bool) {
		v, ok := l.number(figure, key, match)
		return fmt.Sprintf(format, v), ok
	}
}

// joined puts several values into one cell; all must be there.
func joined(between string, parts ...func(lines) (string, bool)) func(lines) (string, bool) {
	return func(l lines) (string, bool) {
		var out []string
		for _, p := range parts {
			s, ok := p(l)
			if !ok {
				return "", false
			}
			out = append(out, s)
		}
		return strings.Join(out, between), true
	}
}

// engine is the median of an engine with a model, its 99th percentile and the memory of its heron-vision; why not where it did not run.
func engine(model, name string) func(lines) (string, bool) {
	match := map[string]any{"model": model, "engine": name}
	return func(l lines) (string, bool) {
		p50, ok := l.number("engine", "p50_ms", match)
		p99, _ := l.number("engine", "p99_ms", match)
		rss, _ := l.number("engine", "rss_mb", match)
		if ok && p50 == 0 {
			return "does not run here", true
		}
		return fmt.Sprintf("%.2f ms (99 %%: %.2f; %.0f MB)", p50, p99, rss), ok
	}
}

func rows() []row {
	plain, zstd := map[string]any{"compress": "none"}, map[string]any{"compress": "zstd", "subscriber": false}
	python := map[string]any{"variant": "intra_op 1"}
	return []row{
		{"frame path ÷ bare ONNX Runtime session, wall (MobileNetV2-224, 1 thread)", "≤ 1.05", value("%.3f", "frame_path", "frame_path_over_bare_wall", nil)},
		{"the same, CPU", "≤ 1.20", value("%.3f", "frame_path", "frame_path_over_bare_cpu", nil)},
		{"the usual Python loop ÷ its bare session, wall; CPU", "", joined("; ", value("%.3f", "python_loop", "frame_path_over_bare_wall", python), value("%.3f", "python_loop", "frame_path_over_bare_cpu", python))},
		{"MobileNetV1 0.25/128 uint8, median of inference: tflite; onnx; openvino", "", joined("; ", engine("mobilenet_v1_0.25_128", "tflite"), engine("mobilenet_v1_0.25_128", "onnx"), engine("mobilenet_v1_0.25_128", "openvino"))},
		{"MobileNetV1 0.75/192 uint8, the same", "", joined("; ", engine("mobilenet_v1_0.75_192", "tflite"), engine("mobilenet_v1_0.75_192", "onnx"), engine("mobilenet_v1_0.75_192", "openvino"))},
		{"preprocessing ÷ OpenCV's resize + convert, 640×480 → 224, float32 NCHW", "", value("%.2f", "preprocess", "over_opencv", map[string]any{"input": "224/float32/NCHW"})},
		{"the same → 192, uint8 NHWC", "", value("%.2f", "preprocess", "over_opencv", map[string]any{"input": "192/uint8/NHWC"})},
		{"outbox: bytes on the device per payload byte, put", "", value("%.3f", "outbox", "disk_per_byte_put", nil)},
		{"outbox: put + drain", "≤ 0.5", joined(", ", value("%.3f", "outbox", "disk_per_byte_total", nil), value("%.0f results", "outbox", "n", nil))},
		{"raw bbolt, one key a record, 100 a transaction: put; put + drain", "", joined("; ", value("%.1f", "outbox", "raw_disk_per_byte_put", nil), value("%.1f", "outbox", "raw_disk_per_byte_total", nil))},
		{"drain to a local Mosquitto, as JSON; as zstd", "≥ 200,000/s", joined("; ", value("%.0f/s", "drain", "drain_per_s", plain), value("%.0f/s", "drain", "drain_per_s", zstd), value("%.0f results", "drain", "n", plain))},
		{"memory while draining, anonymous, least … most", "± 8 MB", joined(" … ", value("%.1f MB", "drain", "anon_mb_min", plain), value("%.1f MB", "drain", "anon_mb_max", plain))},
		{"written at 10 results/s, online", "≤ 50 MB a day", value("%.1f MB a day", "steady", "online_mb_a_day", nil)},
		{"written at 10 results/s, offline", "≤ 500 MB a day", value("%.0f MB a day", "steady", "offline_mb_a_day", nil)},
		{"on the link per result with TCP/IP headers: 100 a group, zstd", "≤ 25 B", value("%.1f B", "steady", "link_bytes_per_result_100_zstd", nil)},
		{"the same: 50 a group, plain JSON (the default)", "", value("%.0f B", "steady", "link_bytes_per_result_50_plain", nil)},
		{"start of heron run → first result published, warm", "≤ 0.35 s", value("%.3f s", "start", "first_result_s", nil)},
		{"the same with a cold page cache", "≤ 1 s", value("%.2f s", "start", "first_result_cold_s", nil)},
		{"the Python loop, warm", "", value("%.3f s", "python_loop", "median_s", nil)},
		{"resident at 10 results/s: heron", "≤ 25 MB", value("%.1f MB", "steady", "heron_rss_mb", nil)},
		{"resident at 10 results/s: heron-vision (the demo's model)", "", value("%.0f MB", "steady", "vision_rss_mb", nil)},
		{"CPU at 10 results/s: heron; heron-vision", "", joined("; ", value("%.1f %%", "steady", "heron_cpu_percent", nil), value("%.1f %%", "steady", "vision_cpu_percent", nil))},
	}
}

func main() {
	peer := flag.Bool("peer", false, "print the row for ../shared/peers")
	flag.Parse()
	if flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "usage: table [-peer] results.jsonl")
		os.Exit(2)
	}
	l, err := read(flag.Arg(0))
	measure.Must(err)
	if *peer {
		peerRow(l)
		return
	}
	fmt.Print("| what | measured | goal |\n|---|---|---|\n")
	for _, r := range rows() {
		if text, ok := r.text(l); ok {
			fmt.Printf("| %s | %s | %s |\n", r.what, text, r.goal)
		}
	}
}

func read(path string) (lines, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	l := lines{}
	s := bufio.NewScanner(f)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		var m map[string]any
		if err := json.Unmarshal(s.Bytes(), &m); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		name, ok := m["figure"].(string)
		if !ok {
			name, _ = m["peer"].(string)
		}
		l[name] = append(l[name], m)
	}
	return l, s.Err()
}

// peerRow prints what the peers print of the Python loop.
func peerRow(l lines) {
	m := measure.Figures{"peer": "heron", "variant": "heron run, 1 thread", "model": "MobileNetV2-224"}
	for key, figure := range map[string]string{
		"frame_path_over_bare_wall": "frame_path", "frame_path_over_bare_cpu": "frame_path", "bare_ms_p50": "frame_path", "wall_ms_per_frame": "frame_path",
		"cpu_ms_per_frame": "frame_path", "fps": "frame_path", "frames": "frame_path", "first_result_s": "start",
	} {
		if v, ok := l.number(figure, key, nil); ok {
			m[key] = v
		}
	}
	core, _ := l.number("steady", "heron_rss_mb", nil)
	vision, _ := l.number("steady", "vision_rss_mb", nil)
	m["peak_rss_mb"] = measure.Round(core+vision, 1)
	m["rss_mb_end"] = m["peak_rss_mb"]
	link := map[string]any{}
	for key, from := range map[string]string{"payload_bytes_per_result": "link_payload_bytes_per_result_100_zstd", "with_tcpip_headers_per_result": "link_bytes_per_result_100_zstd", "with_tcpip_headers_per_result_plain": "link_bytes_per_result_50_plain"} {
		if v, ok := l.number("steady", from, nil); ok {
			link[key] = v
		}
	}
	m["link"] = link
	m.Print()
}
