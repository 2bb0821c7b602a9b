package status

import (
	"math"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
)

func TestMetricsFollowTheConventions(t *testing.T) {
	d := &device{}
	s := serve(t, d)
	for name, snap := range map[string]Snapshot{"working": working(noon), "troubled": troubled(noon), "broken": broken(noon), "empty": {}} {
		d.set(snap)
		code, body, _ := ask(t, s, "GET", "/metrics")
		if code != 200 {
			t.Errorf("%s: %d %s", name, code, body)
		}
		problems, err := promlint.New(strings.NewReader(body)).Lint()
		if err != nil {
			t.Error(err)
		}
		for _, p := range problems {
			t.Errorf("%s: %s: %s", name, p.Metric, p.Text)
		}
	}
}

func TestMetricsSayWhatTheSnapshotSays(t *testing.T) {
	d := &device{}
	s := serve(t, d)
	snap := troubled(noon)
	snap.Reasons = append(snap.Reasons, snap.Reasons[0]) // two cameras with one trouble must not break the scrape
	snap.Engines = append(snap.Engines, Engine{Engine: "onnx", Device: "gpu"})
	snap.Outbox.Dropped = map[string]uint64{"full": 7}
	snap.Cameras = append(snap.Cameras, Camera{Name: "b\xffck", FrameAgeS: -1, State: "opening"})
	snap.Board = hotBoard()
	snap.Cameras[0].FPSWanted, snap.Cameras[0].FPSNow = 10, 5
	d.set(snap)
	_, body, _ := ask(t, s, "GET", "/metrics")
	for _, want := range []string{
		`heron_build_info{goversion="go1.26.0",version="0.1.0"} 1`,
		`heron_state{state="degraded"} 1`, `heron_state{state="ok"} 0`,
		`heron_reason{code="offline"} 1`, `heron_reason{code="camera-covered"} 1`,
		`heron_frames_total{camera="front"} 2.812342e+06`, `heron_frames_dropped_total{camera="front"} 1.874895e+06`,
		`heron_frame_age_seconds{camera="front"} 0.08`, `heron_camera_up{camera="b�ck"} 0`,
		`heron_engine_active{engine="onnx"} 1`, `heron_engine_active{engine="edgetpu"} 0`, `heron_engine_usable{engine="edgetpu"} 0`,
		`heron_inference_seconds_bucket{slot="main",le="0.003"} 0`, `heron_inference_seconds_bucket{slot="main",le="0.005"} 900`,
		`heron_inference_seconds_bucket{slot="main",le="+Inf"} 930`, `heron_inference_seconds_count{slot="main"} 930`,
		`heron_vision_restarts_total{cause="stall"} 1`, `heron_outbox_records 10213`, `heron_outbox_stream_records{stream="result"} 10166`, `heron_outbox_dropped_total{reason="full"} 7`,
		`heron_board_temperature_celsius{zone="cpu-thermal"} 84.2`, `heron_board_temperature_celsius{zone="gpu"} 61`, `heron_board_throttled 1`,
		`heron_camera_target_fps{camera="front"} 5`,
		`heron_uplink_up 0`, `heron_uplink_state{state="offline"} 1`, `heron_uplink_bytes_total{direction="up"} 2.3068672e+07`,
	} {
		if !strings.Contains(body, want+"\n") {
			t.Errorf("missing: %s", want)
		}
	}
	if strings.Contains(body, `heron_frame_age_seconds{camera="b`) {
		t.Error("an age before the first frame")
	}
	for _, unknown := range []string{"heron_board_under_voltage", `heron_camera_target_fps{camera="b`} {
		if strings.Contains(body, "\n"+unknown) {
			t.Errorf("%s, which nobody knows", unknown)
		}
	}
	if strings.Contains(body, "scratched") {
		t.Error("a label of the model is a label of a metric: their number has no bound")
	}
	if t.Failed() {
		t.Log(body)
	}
}

func TestHistogramCountsAndQuantiles(t *testing.T) {
	var h Histogram
	for _, v := range []float64{-1, 0, 0.001, 0.0011, 0.3, 7, math.Inf(1)} {
		h.Observe(v)
	}
	if h.Count() != 5 || h.Counts[0] != 2 || h.Counts[1] != 1 || h.Counts[len(h.Counts)-1] != 1 || h.Sum != 0+0.001+0.0011+0.3+7 {
		t.Errorf("%+v", h)
	}
	c := h.Clone()
	h.Observe(1)
	if c.Count() != 5 {
		t.Error("a clone changes with its original")
	}
	var even Histogram
	for i := range 1000 {
		even.Observe(float64(i) / 10_000) // 0 … 100 ms
	}
	for q, want := range map[float64]float64{0.5: 0.05, 0.95: 0.095, 0.99: 0.099} {
		if got := even.Quantile(q); got < want-0.002 || got > want+0.002 {
			t.Errorf("quantile %v: %v, want %v", q, got, want)
		}
	}
	if (&Histogram{}).Quantile(0.5) != 0 {
		t.Error("a quantile of nothing")
	}
}
