package inference

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"
)

// maxGoldens bounds what the golden pictures may cost at every start.
const maxGoldens = 8

// CheckGoldens has the model answer the bundle's golden pictures (the first eight) on this very device: a damaged file that still loads
// answers otherwise. read gives a picture as packed BGR, which is used until it is called again. The error is a *Refusal: an answer that is
// not finite, one that is the same whatever the picture (CodeConstant), another label or score (CodeGolden); or ctx's, or the engine's own.
func (s *Slot) CheckGoldens(ctx context.Context, read func(Golden) (pix []byte, width, height, stride int, err error)) error {
	var answers [][]float32
	var wrong error
	for _, g := range s.golden[:min(len(s.golden), maxGoldens)] {
		pix, w, h, stride, err := read(g)
		r := (*Refusal)(nil)
		if errors.As(err, &r) { // a digest, say, which ends the search for an engine
			return r
		} else if err != nil {
			return &Refusal{Code: CodeGolden, What: fmt.Sprintf("golden picture %s: %v", g.Input, err), NextStep: "pack the bundle again", Err: err}
		}
		err = s.CheckGolden(ctx, g, pix, w, h, stride)
		if err != nil && (!errors.As(err, &r) || r.Code != CodeGolden) {
			return err
		}
		if wrong == nil {
			wrong = err // the rest is looked at all the same: a constant model says more
		}
		answers = append(answers, slices.Clone(s.decode.real))
	}
	if err := s.constant(ctx, answers); err != nil {
		return err
	}
	return wrong
}

// constant refuses a model that answers every picture alike. The golden pictures may be of one kind and the model sure of itself,
// so the grey picture and a pattern must have got the very same answer too.
func (s *Slot) constant(ctx context.Context, answers [][]float32) error {
	if len(answers) == 0 || len(s.spec.Labels) < 2 {
		return nil
	}
	next := "use another model: this one's weights are damaged, or its training failed"
	for i, a := range answers {
		if !slices.ContainsFunc(a, func(v float32) bool { return v != a[0] }) {
			return Refuse(CodeConstant, next, "golden picture %s: every label gets the same score, %.3g", s.golden[i].Input, a[0])
		}
	}
	if slices.ContainsFunc(answers, func(a []float32) bool { return !slices.Equal(a, s.grey) }) {
		return nil
	}
	s.pattern()
	if _, err := s.run(ctx, 0); err != nil {
		return err
	}
	if !slices.Equal(s.decode.real, s.grey) {
		return nil
	}
	return Refuse(CodeConstant, next, "the model gives every golden picture, a grey one and a pattern the very same scores")
}

// Runs of CheckBudget: the first ones are slower.
const (
	warmUps    = 2
	budgetRuns = 5
)

// CheckBudget measures what the manifest's budget bounds, on this device and engine: the median of five runs after two, and by how much this
// process has grown since before the model was read (its resident pages, the runtime's library among them where this model was the first to
// need it). A *Refusal says what is over. Where the manifest says nothing, or the system does not tell, nothing is measured.
// A trial enforces it; a start on a board that is busy for once should only tell.
func (s *Slot) CheckBudget(ctx context.Context) error {
	if most := s.spec.Budget.LatencyMS; most > 0 {
		took, err := s.median(ctx)
		if err != nil {
			return fmt.Errorf("measure against the budget: %w", err)
		}
		if took > most {
			return Refuse(CodeOverBudget, "use a smaller model or a faster engine, or raise budget.latency_ms in manifest.json", "it takes %.3g ms here (%s on %s), its budget is %.4g ms", took, s.info.Engine, s.info.Device, most)
		}
	}
	if most := s.spec.Budget.RSSMB; most > 0 && s.resident > 0 {
		debug.FreeOSMemory() // the file's bytes were read into Go's heap and belong to the runtime now
		if grown := float64(resident()-s.resident) / 1e6; grown > most {
			return Refuse(CodeOverBudget, "use a smaller model, or raise budget.rss_mb in manifest.json", "it takes %.0f MB of memory here (%s on %s), its budget is %.4g MB", grown, s.info.Engine, s.info.Device, most)
		}
	}
	return nil
}

// median runs what lies in the input tensor, in milliseconds.
func (s *Slot) median(ctx context.Context) (float64, error) {
	took := make([]time.Duration, 0, warmUps+budgetRuns)
	for range cap(took) {
		t0 := time.Now()
		if err := s.runTimed(ctx); err != nil {
			return 0, err
		}
		took = append(took, time.Since(t0))
	}
	took = took[warmUps:]
	slices.Sort(took)
	return ms(took[len(took)/2]), nil
}

// resident is how many bytes of memory this process has; 0 where the system does not say.
func resident() int64 {
	b, _ := os.ReadFile("/proc/self/statm") // absence is a state here
	if f := strings.Fields(string(b)); len(f) > 1 {
		pages, _ := strconv.ParseInt(f[1], 10, 64)
		return pages * int64(os.Getpagesize())
	}
	return 0
}
