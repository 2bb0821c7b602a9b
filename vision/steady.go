package vision

import (
	"context"
	"time"

	"heron/inference"
)

// testEvery is how often an accelerator is asked something whose answer is known. A stick that begins to answer rubbish says nothing by itself;
// one inference in a second costs it less than one part in a hundred.
const testEvery = time.Second

func accelerated(m *inference.Slot) bool { return m.Info().Accelerated() }

func onAccelerator(device string) bool { return inference.Info{Device: device}.Accelerated() }

// Accelerated says whether the slot's model runs on a device of its own, which other processes cannot have meanwhile.
func (s *SlotStats) Accelerated() bool { return onAccelerator(s.Device) }

// testEngine asks the engine of a slot again and again, until it fails or ctx ends.
func (s *server) testEngine(ctx context.Context, sl *slot, m *model) {
	t := time.NewTicker(testEvery)
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
		sl.turn.Lock()
		ok := sl.model.Load() == m && s.steady(ctx, sl, m, "")
		sl.turn.Unlock()
		if !ok {
			return
		}
	}
}

// steady says whether the engine still answers rightly what it is known to answer; where it does not, heron is told. The caller holds the slot's turn.
func (s *server) steady(ctx context.Context, sl *slot, m *model, why string) bool {
	if s.c.SoftInference > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, s.c.SoftInference)
		defer cancel()
	}
	err := m.SelfTest(ctx)
	switch {
	case err == nil:
		return true
	case ctx.Err() != nil && context.Cause(ctx) == context.Canceled:
		return true // the process ends
	case why == "":
		why = err.Error()
	}
	known := m.Known()
	if known != nil && len(known.Values) > maxKnown {
		known = nil
	}
	s.say(kindEngineLost, engineLost{Slot: sl.cfg.Slot, Engine: m.Spec().Choice(), Reason: cleanText(why), Known: known})
	return false
}
