// Package scripted is an engine without a model: what it answers for a picture is written in a small JSON file.
// It serves people who set Heron up before they have a model, and every test that needs to know an answer beforehand.
//
// The file is the bundle's weights file; a manifest names it with {"engine":"scripted","file":"answers.json"}:
//
//		{"answers": [["empty", 0.9], ["ok", 0.8]], "by": "brightness", "latency_ms": 5,
//		 "fail_every": 0, "nan_every": 0, "hang_every": 0}
//
//	  - answers (needed): label and score 0…1; the other labels share what is left. Labels are those of the bundle.
//	  - by: how an answer is chosen.
//	    "brightness" (default): the mean of all pixels and colours, 0…255, cut into as many equal ranges as there are answers, darkest first.
//	    "turn": one after the other. "hash": by a checksum of the input tensor.
//	  - latency_ms: how long an answer takes, 0…60000.
//	  - slow: {"from": 100, "to": 200, "times": 4}: runs 100 to 200 take four times as long, as on a board that throttles; to 0 is for ever.
//	  - fail_every, nan_every, hang_every: every so manieth run fails, answers NaN, or does not return before its context ends. 0 is never.
//
// Runs are counted from 1, and run 1 is the grey picture that is classified when a slot opens.
package scripted

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math"
	"slices"
	"time"

	"heron/inference"
)

// Answer is one label with its score.
type Answer struct {
	Label string
	Score float64
}

// UnmarshalJSON reads ["label", 0.9].
func (a *Answer) UnmarshalJSON(b []byte) error {
	var pair []json.RawMessage
	if err := json.Unmarshal(b, &pair); err != nil || len(pair) != 2 ||
		json.Unmarshal(pair[0], &a.Label) != nil || json.Unmarshal(pair[1], &a.Score) != nil {
		return fmt.Errorf(`an answer is %.60s; expected ["label", score]`, b)
	}
	return nil
}

// MarshalJSON writes ["label", 0.9].
func (a Answer) MarshalJSON() ([]byte, error) { return json.Marshal([]any{a.Label, a.Score}) }

// Script is the file's content.
type Script struct {
	Answers   []Answer `json:"answers"`
	By        string   `json:"by,omitempty"`
	LatencyMS float64  `json:"latency_ms,omitempty"`
	Slow      Slow     `json:"slow,omitzero"`
	FailEvery int      `json:"fail_every,omitempty"`
	NaNEvery  int      `json:"nan_every,omitempty"`
	HangEvery int      `json:"hang_every,omitempty"`
}

// Slow makes some runs slower.
type Slow struct {
	From  int     `json:"from"`
	To    int     `json:"to,omitempty"` // 0 is for ever
	Times float64 `json:"times"`
}

// times is how many times as long as usual a run takes.
func (s Slow) times(run int) float64 {
	if s.From > 0 && run >= s.From && (s.To == 0 || run <= s.To) {
		return s.Times
	}
	return 1
}

// Parse reads a script strictly.
func Parse(b []byte) (*Script, error) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	var s Script
	if err := d.Decode(&s); err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("something follows the closing brace")
	}
	return &s, s.validate()
}

func (s *Script) validate() error {
	if len(s.Answers) == 0 {
		return errors.New("answers is empty; expected at least one [\"label\", score]")
	}
	for i, a := range s.Answers {
		if !(a.Score >= 0 && a.Score <= 1) {
			return fmt.Errorf("answers[%d]: score is %v; expected 0 to 1", i, a.Score)
		}
	}
	if !slices.Contains([]string{"", "brightness", "turn", "hash"}, s.By) {
		return fmt.Errorf("by is %q; expected brightness, turn or hash", s.By)
	}
	if !(s.LatencyMS >= 0 && s.LatencyMS <= 60000) {
		return fmt.Errorf("latency_ms is %v; expected 0 to 60000", s.LatencyMS)
	}
	if s.Slow != (Slow{}) && !(s.Slow.From > 0 && s.Slow.To >= 0 && s.Slow.Times > 0 && s.Slow.Times*s.LatencyMS <= 60000) {
		return fmt.Errorf("slow is %+v; expected from 1, to 0 or more, and times such that an answer takes 60000 ms at most", s.Slow)
	}
	if s.FailEvery < 0 || s.NaNEvery < 0 || s.HangEvery < 0 {
		return errors.New("fail_every, nan_every and hang_every must be 0 or more")
	}
	return nil
}

// Open reads the script in m.Bytes; it serves every shape and type that a manifest can name.
func Open(ctx context.Context, m inference.Model) (inference.Engine, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s, err := Parse(m.Bytes)
	if err != nil {
		return nil, &inference.Refusal{Code: inference.CodeFormat, What: fmt.Sprintf("%s: %v", m.File, err), NextStep: "correct the script", Err: err}
	}
	e := &engine{script: *s, spec: m.Spec, in: tensor(m.Spec.Input.Name, "input", m.Spec.Input.DType, m.Spec.Input.Shape())}
	e.out = tensor(m.Spec.Output.Name, "output", m.Spec.Output.Type(), []int{1, len(m.Spec.Labels)})
	for _, a := range s.Answers {
		i := slices.Index(m.Spec.Labels, a.Label)
		if i < 0 {
			return nil, inference.Refuse(inference.CodeLabels, "correct the script or the label file", "%s: answer %q is no label of the bundle", m.File, a.Label)
		}
		e.class = append(e.class, i)
	}
	return e, nil
}

func tensor(name, otherwise string, t inference.DType, shape []int) *inference.Tensor {
	if name == "" {
		name = otherwise
	}
	n := 1
	for _, d := range shape {
		n *= d
	}
	out := &inference.Tensor{Name: name, DType: t, Shape: shape}
	switch t {
	case inference.Uint8:
		out.U8 = make([]uint8, n)
	case inference.Int8:
		out.I8 = make([]int8, n)
	default:
		out.F32 = make([]float32, n)
	}
	return out
}

type engine struct {
	script  Script
	spec    *inference.Spec
	class   []int // of each answer
	in, out *inference.Tensor
	runs    int
}

func (e *engine) Input() *inference.Tensor  { return e.in }
func (e *engine) Output() *inference.Tensor { return e.out }
func (e *engine) Close() error              { return nil }
func (e *engine) Info() inference.Info {
	return inference.Info{Engine: "scripted", Device: "none", Version: "1"}
}

// Run answers by the script.
func (e *engine) Run(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	e.runs++
	due := func(every int) bool { return every > 0 && e.runs%every == 0 }
	if due(e.script.HangEvery) {
		<-ctx.Done()
		return context.Cause(ctx)
	}
	if err := sleep(ctx, time.Duration(e.script.LatencyMS*e.script.Slow.times(e.runs)*float64(time.Millisecond))); err != nil {
		return err
	}
	if due(e.script.FailEvery) {
		return fmt.Errorf("run %d fails, as the script says", e.runs)
	}
	i := e.choose()
	e.write(e.class[i], e.script.Answers[i].Score)
	if due(e.script.NaNEvery) && e.out.DType == inference.Float32 {
		e.out.F32[0] = float32(math.NaN())
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (e *engine) choose() int {
	n := len(e.class)
	switch e.script.By {
	case "turn":
		return (e.runs - 1) % n
	case "hash":
		return int(e.checksum() % uint64(n))
	}
	return min(max(int(e.brightness()*float64(n)/256), 0), n-1)
}

// brightness is the mean pixel, 0…255: the manifest's arithmetic undone.
func (e *engine) brightness() float64 {
	in := &e.spec.Input
	channels, plane := in.Channels(), in.Width*in.Height
	var sum float64
	for c := range channels {
		first, step := c, channels
		if in.Layout == "NCHW" {
			first, step = c*plane, 1
		}
		var reals float64
		for i := range plane {
			reals += e.value(first + i*step)
		}
		mean := reals / float64(plane)
		if in.Quant != nil {
			mean = (mean - float64(in.Quant.ZeroPoint)) * in.Quant.Scale
		}
		if in.Std != nil {
			mean *= in.Std[c]
		}
		if in.Mean != nil {
			mean += in.Mean[c]
		}
		sum += mean
	}
	return sum / float64(channels)
}

func (e *engine) value(i int) float64 {
	switch e.in.DType {
	case inference.Uint8:
		return float64(e.in.U8[i])
	case inference.Int8:
		return float64(e.in.I8[i])
	}
	return float64(e.in.F32[i])
}

func (e *engine) checksum() uint64 {
	h := fnv.New64a()
	var b [4]byte
	for _, v := range e.in.F32 {
		bits := math.Float32bits(v)
		b = [4]byte{byte(bits), byte(bits >> 8), byte(bits >> 16), byte(bits >> 24)}
		h.Write(b[:])
	}
	h.Write(e.in.U8)
	for _, v := range e.in.I8 {
		b[0] = byte(v)
		h.Write(b[:1])
	}
	return h.Sum64()
}

// write puts the score at the class and an equal share of the rest everywhere else, in the manifest's type and kind.
func (e *engine) write(class int, score float64) {
	n := len(e.spec.Labels)
	rest := 0.0
	if n > 1 {
		rest = (1 - score) / float64(n-1)
	}
	for i := range n {
		real := rest
		if i == class {
			real = score
		}
		if e.spec.Output.Kind == "logits" {
			real = math.Log(max(real, 1e-9))
		}
		switch q := e.spec.Output.Quant; e.out.DType {
		case inference.Uint8:
			e.out.U8[i] = uint8(quantise(real, q, 0, 255))
		case inference.Int8:
			e.out.I8[i] = int8(quantise(real, q, -128, 127))
		default:
			e.out.F32[i] = float32(real)
		}
	}
}

func quantise(real float64, q *inference.Quant, least, most float64) float64 {
	return min(max(math.RoundToEven(real/q.Scale)+float64(q.ZeroPoint), least), most)
}
