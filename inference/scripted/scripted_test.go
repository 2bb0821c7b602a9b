package scripted

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"heron/inference"
	"heron/inference/enginetest"
)

const script = `{"answers": [["empty", 0.9], ["ok", 0.8], ["scratched", 0.7]]}`

func model(text string, in inference.Input, out inference.Output) inference.Model {
	return inference.Model{File: "answers.json", Bytes: []byte(text), Spec: &inference.Spec{Labels: []string{"ok", "scratched", "empty"}, Input: in, Output: out}}
}

func rgb(layout string, t inference.DType) inference.Input {
	in := inference.Input{Width: 6, Height: 4, Layout: layout, DType: t}
	if t != inference.Uint8 {
		in.Mean, in.Std = []float64{128, 128, 128}, []float64{64, 64, 64}
	}
	if t == inference.Int8 {
		in.Quant = &inference.Quant{Scale: 1.0 / 64}
	}
	return in
}

var ( // read only
	real32  = inference.Output{Kind: "probabilities"}
	logits  = inference.Output{Kind: "logits"}
	bytes8  = inference.Output{Kind: "probabilities", DType: inference.Uint8, Quant: &inference.Quant{Scale: 1.0 / 256}}
	signed8 = inference.Output{Kind: "probabilities", DType: inference.Int8, Quant: &inference.Quant{Scale: 1.0 / 256, ZeroPoint: -128}}
)

func TestSuite(t *testing.T) {
	hash := strings.Replace(script, "{", `{"by": "hash", `, 1)
	enginetest.Run(t, enginetest.Suite{Engine: "scripted", Open: Open,
		Good: []enginetest.Case{
			{Name: "float32", Model: model(hash, rgb("NHWC", inference.Float32), real32)},
			{Name: "uint8", Model: model(hash, rgb("NCHW", inference.Uint8), bytes8)},
			{Name: "int8", Model: model(hash, rgb("NHWC", inference.Int8), signed8)},
			{Name: "logits", Model: model(hash, rgb("NCHW", inference.Float32), logits)},
		},
		Refused: []enginetest.Case{
			{Name: "a label of nobody", Model: model(`{"answers": [["okay", 1]]}`, rgb("NHWC", inference.Uint8), real32), Code: inference.CodeLabels},
			{Name: "an unknown field", Model: model(`{"answers": [["ok", 1]], "speed": 1}`, rgb("NHWC", inference.Uint8), real32), Code: inference.CodeFormat},
		}})
}

func slot(t *testing.T, m inference.Model) *inference.Slot {
	t.Helper()
	b, err := inference.ReadBundle(enginetest.Folder(t, "scripted", m), nil)
	if err != nil {
		t.Fatal(err)
	}
	s, err := inference.OpenSlot(t.Context(), b, map[string]inference.Opener{"scripted": Open}, inference.Opening{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// TestBrightness: the same answer by every layout, element type and colour.
func TestBrightness(t *testing.T) {
	for _, layout := range []string{"NHWC", "NCHW"} {
		for _, dtype := range []inference.DType{inference.Float32, inference.Uint8, inference.Int8} {
			for _, out := range []inference.Output{real32, logits, bytes8, signed8} {
				s := slot(t, model(script, rgb(layout, dtype), out))
				for grey, want := range map[byte]inference.Score{10: {Label: "empty", Score: .9}, 80: {Label: "empty", Score: .9}, 90: {Label: "ok", Score: .8}, 165: {Label: "ok", Score: .8}, 175: {Label: "scratched", Score: .7}, 255: {Label: "scratched", Score: .7}} {
					r, err := s.Classify(t.Context(), bytes.Repeat([]byte{grey}, 3*7*5), 7, 5, 21)
					if err != nil {
						t.Fatal(err)
					}
					if got := r.Top[0]; got.Label != want.Label || math.Abs(got.Score-want.Score) > .005 {
						t.Errorf("%s %s %+v: %d is %v, want %v", layout, dtype, out, grey, got, want)
					}
				}
			}
		}
	}
}

func TestTurnAndFaults(t *testing.T) {
	s := slot(t, model(`{"answers": [["ok", 1], ["empty", 1]], "by": "turn", "fail_every": 3, "nan_every": 4}`, rgb("NHWC", inference.Uint8), real32))
	var got []string
	for range 7 { // run 1 was the grey picture
		r, err := s.Classify(t.Context(), make([]byte, 3), 1, 1, 3)
		switch refusal := (*inference.Refusal)(nil); {
		case errors.As(err, &refusal):
			got = append(got, refusal.Code)
		case err != nil:
			got = append(got, "error")
		default:
			got = append(got, r.Top[0].Label)
		}
	}
	if want := "[empty error not-finite ok error ok not-finite]"; fmt.Sprint(got) != want {
		t.Errorf("got %v, want %s", got, want)
	}
}

func TestHangEndsWithItsContext(t *testing.T) {
	s := slot(t, model(`{"answers": [["ok", 1]], "hang_every": 2}`, rgb("NHWC", inference.Uint8), real32))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := s.Classify(ctx, make([]byte, 3), 1, 1, 3); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("ended with %v", err)
	}
	if _, err := s.Classify(t.Context(), make([]byte, 3), 1, 1, 3); err != nil {
		t.Errorf("the run after it: %v", err)
	}
}

func TestLatency(t *testing.T) {
	s := slot(t, model(`{"answers": [["ok", 1]], "latency_ms": 15}`, rgb("NHWC", inference.Uint8), real32))
	r, err := s.Classify(t.Context(), make([]byte, 3), 1, 1, 3)
	if err != nil || r.LatMS < 15 {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestSlowRuns(t *testing.T) {
	for _, c := range []struct {
		slow Slow
		run  int
		want float64
	}{{Slow{}, 5, 1}, {Slow{From: 3, To: 4, Times: 4}, 2, 1}, {Slow{From: 3, To: 4, Times: 4}, 3, 4}, {Slow{From: 3, To: 4, Times: 4}, 4, 4}, {Slow{From: 3, To: 4, Times: 4}, 5, 1}, {Slow{From: 3, Times: 2}, 999, 2}} {
		if got := c.slow.times(c.run); got != c.want {
			t.Errorf("%+v, run %d: %v, want %v", c.slow, c.run, got, c.want)
		}
	}
	s := slot(t, model(`{"answers": [["ok", 1]], "latency_ms": 10, "slow": {"from": 2, "to": 2, "times": 4}}`, rgb("NHWC", inference.Uint8), real32)) // run 1 is the grey picture
	pix := make([]byte, 3*4*4)
	r, err := s.Classify(t.Context(), pix, 4, 4, 12)
	if err != nil || r.LatMS < 40 {
		t.Errorf("a slow run took %v ms, %v", r.LatMS, err)
	}
}

func TestParseRefuses(t *testing.T) {
	for text, want := range map[string]string{
		`{}`:                                            "answers is empty",
		`{"answers": [["ok"]]}`:                         `expected ["label", score]`,
		`{"answers": [["ok", "1"]]}`:                    `expected ["label", score]`,
		`{"answers": [["ok", 2]]}`:                      "score is 2",
		`{"answers": [["ok", 1]], "by": "x"}`:           `by is "x"`,
		`{"answers": [["ok", 1]], "latency_ms": 60001}`: "latency_ms is 60001",
		`{"answers": [["ok", 1]], "slow": {"from": 0, "times": 2}}`:                      "slow is",
		`{"answers": [["ok", 1]], "latency_ms": 30000, "slow": {"from": 1, "times": 3}}`: "slow is",
		`{"answers": [["ok", 1]], "fail_every": -1}`:                                     "must be 0 or more",
		`{"answers": [["ok", 1]]}{}`:                                                     "follows the closing brace",
	} {
		if _, err := Parse([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %q", text, err, want)
		}
	}
}

// FuzzParse: what is accepted can be opened if its labels exist, and says the same when written and read again.
func FuzzParse(f *testing.F) {
	f.Add([]byte(script))
	f.Add([]byte(`{"answers": [["ok", 1]], "by": "turn", "latency_ms": 1e3, "hang_every": 2}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := Parse(b)
		if err != nil {
			return
		}
		text, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		again, err := Parse(text)
		if err != nil || fmt.Sprint(again) != fmt.Sprint(s) {
			t.Errorf("%v, then %v, %v", s, again, err)
		}
	})
}
