package inference

import (
	"context"
	"fmt"
	"time"
)

// Ahead is a frame that was resized while the slot was still inferring the one before: a small picture of its own, written into the
// engine's tensor when its turn comes. It is for sources whose every frame counts (files); for a live camera it would only make frames older.
type Ahead struct {
	slot *Slot
	prep *Preprocessor
	took time.Duration
}

// NewAhead makes room for one frame. Frames may be prepared in several Aheads, and one classified, at the same time.
func (s *Slot) NewAhead() (*Ahead, error) {
	p, err := NewPreprocessor(s.spec.Input, s.engine.Input())
	if err != nil {
		return nil, err
	}
	p.ResizeWith(s.prep.fast)
	return &Ahead{slot: s, prep: p}, nil
}

// Prepare takes a packed 8-bit BGR picture, which it only reads.
func (a *Ahead) Prepare(pix []byte, width, height, stride int) error {
	t0 := time.Now()
	if err := a.prep.prepare(pix, width, height, stride); err != nil {
		return fmt.Errorf("preprocess: %w", err)
	}
	a.took = time.Since(t0)
	return nil
}

// Classify answers for the picture that was prepared, as Slot.Classify does and by the same goroutine's leave.
func (a *Ahead) Classify(ctx context.Context) (Result, error) {
	t0 := time.Now()
	a.prep.write()
	return a.slot.count(a.slot.run(ctx, a.took+time.Since(t0)))
}
