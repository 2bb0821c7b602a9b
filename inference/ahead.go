package inference

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// Ahead is a frame that was preprocessed while the slot was still inferring the one before: a tensor of its own, copied into the
// engine's when its turn comes. It is for sources whose every frame counts (files); for a live camera it would only make frames older.
type Ahead struct {
	slot *Slot
	prep *Preprocessor
	t    Tensor
	took time.Duration
}

// NewAhead makes room for one frame. Frames may be prepared in several Aheads, and one classified, at the same time.
func (s *Slot) NewAhead() (*Ahead, error) {
	in := s.engine.Input()
	a := &Ahead{slot: s, t: Tensor{Name: in.Name, DType: in.DType, Shape: slices.Clone(in.Shape),
		F32: make([]float32, len(in.F32)), U8: make([]uint8, len(in.U8)), I8: make([]int8, len(in.I8))}}
	var err error
	if a.prep, err = NewPreprocessor(s.spec.Input, &a.t); err != nil {
		return nil, err
	}
	a.prep.ResizeWith(s.prep.fast)
	return a, nil
}

// Prepare preprocesses a packed 8-bit BGR picture, which it only reads.
func (a *Ahead) Prepare(pix []byte, width, height, stride int) error {
	t0 := time.Now()
	if err := a.prep.Run(pix, width, height, stride); err != nil {
		return fmt.Errorf("preprocess: %w", err)
	}
	a.took = time.Since(t0)
	return nil
}

// Classify answers for the picture that was prepared, as Slot.Classify does and by the same goroutine's leave.
func (a *Ahead) Classify(ctx context.Context) (Result, error) {
	s := a.slot
	in := s.engine.Input()
	copy(in.F32, a.t.F32)
	copy(in.U8, a.t.U8)
	copy(in.I8, a.t.I8)
	return s.count(s.run(ctx, a.took))
}
