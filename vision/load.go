package vision

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime/debug"
	"sync"
	"time"

	"heron/camera"
	"heron/inference"
)

// model is a loaded one with its names.
type model struct {
	*inference.Slot
	id, engine string
	order      []string // of the engines that its slot may use, each as inference.Choice has it
	loadMS     float64
	users      sync.WaitGroup // pipelines that hold it
}

// loaded is what heron is told of it.
func (m *model) loaded(slot string) loaded {
	l := loaded{Slot: slot, Model: m.id, Engine: m.engine, Choice: m.Spec().Choice(), Device: m.Info().Device, TookMS: m.loadMS}
	for _, k := range m.Skipped() {
		l.Skipped = append(l.Skipped, skipped{Engine: k.Engine, Code: k.Code, Reason: cleanText(k.Reason), NextStep: cleanText(k.NextStep)})
	}
	return l
}

// load loads models one after the other, so that heron knows whose fault a crash or a hang is.
func (s *server) load(ctx context.Context, slots []*slot) {
	for _, sl := range slots {
		s.loadOne(ctx, sl)
	}
	for {
		// The weights were read into Go's heap and belong to the runtime now; the collector would keep room for as much again.
		debug.FreeOSMemory()
		select {
		case sl := <-s.retries:
			s.loadOne(ctx, sl)
		case <-ctx.Done():
			return
		}
	}
}

func (s *server) loadOne(ctx context.Context, sl *slot) {
	if sl.model.Load() != nil {
		return
	}
	t0 := time.Now()
	if !s.say(kindLoading, loading{Slot: sl.cfg.Slot}) {
		return
	}
	m, err := s.open(ctx, sl.cfg, false)
	if err != nil {
		s.say(kindRefused, refusal(sl.cfg.Slot, err))
		return
	}
	m.loadMS = ms(time.Since(t0))
	for _, k := range m.Skipped() {
		s.d.Log.Warn("engine passed over", "slot", sl.cfg.Slot, "engine", k.Engine, "reason", k.Reason, "next_step", k.NextStep)
	}
	sl.model.Store(m) // before loaded is said: a classify may follow at once
	if !s.say(kindLoaded, m.loaded(sl.cfg.Slot)) {
		return
	}
	close(sl.ready) // after it: no observation comes before loaded
	if accelerated(m.Slot) {
		go s.testEngine(ctx, sl, m)
	}
}

// open loads a model. A candidate's loading is not told step by step: the live model goes on meanwhile.
func (s *server) open(ctx context.Context, c SlotConfig, candidate bool) (*model, error) {
	if c.Bundle == "" {
		return nil, inference.Refuse(inference.CodeNone, "push one, or configure models[].bundle", "no model is installed in slot %s yet", c.Slot)
	}
	b, err := inference.ReadBundle(c.Bundle, c.Engines)
	if err != nil {
		return nil, err
	}
	if err := sayable(b); err != nil {
		return nil, err
	}
	var order []string
	for _, candidate := range b.Candidates {
		order = append(order, candidate.Spec.Choice())
	}
	m, err := inference.OpenSlot(ctx, b, s.d.Engines, inference.Opening{Threads: c.Threads, Spin: c.Spin, Avoid: s.c.Avoid[c.Slot], Within: s.c.SoftLoad,
		Trying: func(engine string) {
			if !candidate {
				s.say(kindLoading, loading{Slot: c.Slot, Engine: engine, Engines: order})
			}
		},
		Check: func(ctx context.Context, m *inference.Slot) error { return s.judge(ctx, c, b, m) }})
	if err != nil {
		return nil, err
	}
	return &model{Slot: m, id: m.Spec().ID(), engine: m.Info().Engine, order: order}, nil
}

// judge has a model that was just loaded answer the bundle's golden pictures on this very device, and measures it against its budget.
func (s *server) judge(ctx context.Context, c SlotConfig, b *inference.Bundle, m *inference.Slot) error {
	m.ResizeWith(s.d.Resize)
	var f camera.Frame
	if err := m.CheckGoldens(ctx, func(g inference.Golden) ([]byte, int, int, int, error) {
		if _, err := b.ReadGolden(g); err != nil { // its digest
			return nil, 0, 0, 0, err
		}
		err := s.d.Picture(filepath.Join(b.Dir, g.Input), &f)
		return f.Pix, f.Width, f.Height, f.Stride, err
	}); err != nil {
		return err
	}
	if err := m.CheckBudget(ctx); err != nil {
		if c.EnforceBudget {
			return err
		}
		s.d.Log.Warn("over the model's budget", "slot", c.Slot, "engine", m.Info().Engine, "reason", err)
	}
	if !accelerated(m) {
		return nil
	}
	m.Expect(c.Known)
	return m.SelfTest(ctx) // the answer that later ones are compared with
}

// sayable refuses names that the protocol does not carry.
func sayable(b *inference.Bundle) error {
	for _, l := range b.Labels {
		if !okName(l) {
			return &inference.Refusal{Code: inference.CodeLabels, What: fmt.Sprintf("%s: label %.40q… is longer than %d bytes or not plain text", b.Dir, l, maxName), NextStep: "shorten the label"}
		}
	}
	if id := b.Manifest.Name + "@" + b.Manifest.Version; !okName(id) || len(id) > maxName-10 {
		return &inference.Refusal{Code: inference.CodeManifest, What: fmt.Sprintf("%s: name and version %.40q… are too long or not plain text", b.Dir, id), NextStep: "shorten them in manifest.json"}
	}
	return nil
}

// codeOf is the code of the refusal in err's chain, or CodeHung where the time for an answer ran out; empty otherwise.
func codeOf(err error) string {
	if r := asRefusal(err); r != nil {
		return r.Code
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return inference.CodeHung
	}
	return ""
}

func refusal(slot string, err error) Refused {
	r := Refused{Slot: slot, Code: inference.CodeFormat, Reason: err.Error()}
	if as := asRefusal(err); as != nil {
		r.Code, r.Reason, r.NextStep = as.Code, as.What, as.NextStep
	}
	r.Reason, r.NextStep = cleanText(r.Reason), cleanText(r.NextStep)
	return r
}

// say sends a message; false when the connection is broken, which the reader sees too. A message that cannot be encoded is a bug:
