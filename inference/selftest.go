package inference

import (
	"context"
	"fmt"
	"math"
	"slices"
)

// SelfTest runs the engine on a pattern and compares its answer with the one it gave when the slot was opened. It finds an accelerator that
// has begun to answer rubbish, which no runtime reports. It costs one inference; whoever classifies must not do so meanwhile.
// A *Refusal says that the answers differ, any other error is the engine's own.
func (s *Slot) SelfTest(ctx context.Context) error {
	s.pattern()
	if err := s.runTimed(ctx); err != nil {
		return fmt.Errorf("self-test: %w", err)
	}
	out := s.engine.Output()
	if s.reference == nil {
		s.reference = values(nil, out)
		return s.flat()
	}
	s.answer = values(s.answer[:0], out)
	if i, off := furthest(s.reference, s.answer, out.DType != Float32); off {
		return Refuse(CodeGolden, "plug the accelerator in again; if this comes back, replace it",
			"the engine answers otherwise than when it was started: output %d is %.4g instead of %.4g for the same input", i, s.answer[i], s.reference[i])
	}
	return nil
}

// Known is what an engine answers SelfTest's pattern, with these weights.
type Known struct {
	Digest string    `json:"digest"` // of the weights, hex
	Values []float32 `json:"values"`
}

// Known is what the engine answered when the slot was opened; nil where SelfTest was not run, or the answer has no place in JSON.
func (s *Slot) Known() *Known {
	if len(s.reference) == 0 || slices.ContainsFunc(s.reference, func(v float32) bool { return v-v != 0 }) {
		return nil
	}
	return &Known{s.spec.Digest, slices.Clone(s.reference)}
}

// Expect has SelfTest compare the first answer, too: with what the engine answered in another process, so that one that answers rubbish does not
// become its own measure. What is of other weights, or nil, is passed over.
func (s *Slot) Expect(k *Known) {
	if k != nil && k.Digest == s.spec.Digest && len(k.Values) == len(values(nil, s.engine.Output())) {
		s.reference = slices.Clone(k.Values)
	}
}

// flat refuses an engine whose first answers, for grey and for the pattern, are the same for every label: without golden pictures nothing
// else tells that it was out of order from the beginning.
func (s *Slot) flat() error {
	for _, answer := range [][]float32{s.grey, s.reference} {
		if len(answer) < 2 || slices.ContainsFunc(answer, func(v float32) bool { return v != answer[0] }) {
			return nil
		}
	}
	return Refuse(CodeConstant, "try another engine; if it answers so too, the model is at fault", "every label gets the same score, for a grey picture and for a pattern")
}

// pattern fills the input with numbers that look like a picture's: the same ones each time, over the whole range of the type.
func (s *Slot) pattern() {
	in := s.engine.Input()
	x := uint32(2463534242)
	next := func() uint32 { // xorshift32 (Marsaglia 2003)
		x ^= x << 13
		x ^= x >> 17
		x ^= x << 5
		return x
	}
	for i := range in.U8 {
		in.U8[i] = uint8(next())
	}
	for i := range in.I8 {
		in.I8[i] = int8(next())
	}
	for i := range in.F32 {
		in.F32[i] = float32(next()>>8)/(1<<23) - 1
	}
}

// values appends a tensor's elements as they are.
func values(dst []float32, t *Tensor) []float32 {
	for _, v := range t.U8 {
		dst = append(dst, float32(v))
	}
	for _, v := range t.I8 {
		dst = append(dst, float32(v))
	}
	return append(dst, t.F32...)
}

// furthest finds the element that is off by more than a fiftieth of the answer's range (and two steps of a quantised one): the same device
// answers the same input alike, but for the order of its sums. NaN is off, unless it was NaN from the beginning: noise is no picture.
func furthest(want, got []float32, quantised bool) (int, bool) {
	low, high := float32(math.MaxFloat32), float32(-math.MaxFloat32)
	for _, v := range want {
		if v-v == 0 { // finite
			low, high = min(low, v), max(high, v)
		}
	}
	limit := max((float64(high)-float64(low))/50, 1e-4)
	if quantised {
		limit = max(limit, 2)
	}
	for i, w := range want {
		g := got[i]
		if d := math.Abs(float64(g) - float64(w)); !(d <= limit) && g != w && !(w != w && g != g) {
			return i, true
		}
	}
	return 0, false
}
