package agent

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"sync"
	"time"

	"heron/sync/models"
)

// doubleVision is a heron-vision of which nothing is real but what it is given: the bundle's own file says how it does.
type doubleVision struct {
	h  *herd
	id string

	mu           sync.Mutex
	live, staged models.Bundle
	counted      models.Bundle // whose frames Live counts: as of the last Reset
	since        time.Time     // of that
	beside       time.Time     // staged since
}

// is says whether the weights are of a kind; pack wrote it there.
func is(b models.Bundle, way string) bool {
	weights, err := os.ReadFile(filepath.Join(b.Dir, "model.onnx"))
	return err == nil && bytes.HasPrefix(weights, []byte(way))
}

func (v *doubleVision) Try(ctx context.Context, _ string, b models.Bundle) (models.Trial, error) {
	v.h.mu.Lock()
	refuses := v.h.refuses[v.id]
	v.h.mu.Unlock()
	if refuses && is(b, "fragile") {
		return models.Trial{}, &models.Refusal{Reason: "golden picture golden/2.png is ok (0.91), not scratched (0.90)"}
	}
	return models.Trial{Model: b.Model, Engine: "scripted", LatencyMS: 5}, ctx.Err()
}

func (v *doubleVision) Stage(ctx context.Context, _ string, b models.Bundle, _ float64) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.staged, v.beside = b, time.Now()
	return ctx.Err()
}

func (v *doubleVision) Promote(ctx context.Context, _ string) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.live, v.staged = v.staged, models.Bundle{}
	return ctx.Err()
}

func (v *doubleVision) Discard(string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.staged = models.Bundle{}
}

func (v *doubleVision) Replace(_ string, b models.Bundle) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.live, v.staged = b, models.Bundle{}
	return nil
}

// sample is what 60 frames a second, and a hundred at once, make of a bundle.
func sample(b models.Bundle, since time.Time) models.Sample {
	n := 100 + int(time.Since(since)/(16*time.Millisecond))
	s := models.Sample{Frames: n, Confidence: 0.95, P95MS: 5, Labels: map[string]int{"ok": n / 2, "scratched": n - n/2}}
	if is(b, "worse") {
		s.Confidence = 0.4
	}
	return s
}

func (v *doubleVision) Shadow(string) models.ShadowStats {
	v.mu.Lock()
	defer v.mu.Unlock()
	st := models.ShadowStats{Live: sample(v.live, v.beside), Candidate: sample(v.staged, v.beside)}
	st.Agreed = st.Candidate.Frames
	return st
}

func (v *doubleVision) Live(string) models.LiveStats {
	v.mu.Lock()
	defer v.mu.Unlock()
	return models.LiveStats{Sample: sample(v.counted, v.since)}
}

func (v *doubleVision) Reset(_ string, shadow bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if shadow {
		v.beside = time.Now()
	} else {
		v.counted, v.since = v.live, time.Now()
	}
}
