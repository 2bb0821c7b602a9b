package inference

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime/debug"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// Slot is a loaded model with all that a frame needs on its way: preprocessor, engine, decoder.
// One goroutine classifies and closes; Running and Stats may be called from any.
type Slot struct {
	spec    *Spec
	engine  Engine
	info    Info
	prep    *Preprocessor
	decode  *Decoder
	golden  []Golden
	skipped []Skipped

	reference, answer []float32 // of SelfTest: the first answer, and the present one
	grey              []float32 // the scores of the grey picture
	resident          int64     // bytes that this process had before the model was read, where its manifest has a budget for them; 0: not known

	zero    time.Time    // Running's origin
	started atomic.Int64 // nanoseconds since zero + 1; 0 between inferences
	done    atomic.Uint64
	failed  atomic.Uint64
}

// Result is the answer for one frame.
type Result struct {
	Top    []Score // at most TopK, best first; "unknown" before them where the best is under its threshold
	PrepMS float64 // preprocessing, milliseconds
	LatMS  float64 // inference, milliseconds
}

// Skipped is an engine that was to be used before the one in use, and why it is not.
type Skipped struct {
	Engine   string // as the order names it: its device included, where one was asked for
	Code     string
	Reason   string
	NextStep string
}

// SlotStats is a copy of a slot's counters.
type SlotStats struct {
	Inferred uint64        // frames classified
	Errors   uint64        // frames that got no answer
	Running  time.Duration // of the present inference; 0 between
}

// Opening says how a slot is to be opened. The zero value is fine.
type Opening struct {
	Threads int                                // for the engine; 0: its choice
	Spin    bool                               // let its threads wait busily
	Avoid   map[string]string                  // choices (see ParseChoice) to be passed over, with the reason
	Within  time.Duration                      // one candidate may take so long, where its engine heeds a context; 0: as long as ctx
	Trying  func(choice string)                // told before each candidate; nil: nobody
	Check   func(context.Context, *Slot) error // judges a candidate that answers, as its golden pictures do; nil: nobody
}

// OpenSlot tries the bundle's candidates in order until one loads, fits its manifest, answers for a grey picture and passes o.Check.
// It may block for as long as a runtime does: whoever needs a bound watches the process.
// The error is a *Refusal (the only candidate's own, or one that names all of them) or ctx's. A file that is not the one the manifest names
// ends the search: such a bundle is not to be trusted at all.
func OpenSlot(ctx context.Context, b *Bundle, openers map[string]Opener, o Opening) (*Slot, error) {
	s := &Slot{golden: b.Manifest.Golden, zero: time.Now()}
	for _, name := range b.Missing {
		s.skip(name, Refuse(CodeEngine, "", "the bundle has no entry for it"))
	}
	var refusals []error
	for _, c := range b.Candidates {
		choice := c.Spec.Choice()
		if why, ok := o.Avoid[choice]; ok {
			s.skip(choice, Refuse(CodeAvoided, "", "%s", why))
			continue
		}
		err := s.open(ctx, b, c, openers, o)
		if err == nil {
			return s, nil
		}
		if ctx.Err() != nil {
			return nil, fmt.Errorf("load %s: %w", c.File, err)
		}
		s.skip(choice, err)
		refusals = append(refusals, err)
		if s.skipped[len(s.skipped)-1].Code == CodeDigest {
			return nil, err
		}
	}
	return nil, s.noEngine(b, refusals)
}

func (s *Slot) skip(choice string, err error) {
	k := Skipped{Engine: choice, Code: CodeFormat, Reason: err.Error()}
	if r := (*Refusal)(nil); errors.As(err, &r) {
		k.Code, k.Reason, k.NextStep = r.Code, r.What, r.NextStep
	}
	s.skipped = append(s.skipped, k)
}

func (s *Slot) noEngine(b *Bundle, refusals []error) error {
	if r := (*Refusal)(nil); len(refusals) == 1 && errors.As(refusals[0], &r) {
		return r
	}
	r := &Refusal{Code: s.skipped[len(s.skipped)-1].Code, Err: errors.Join(refusals...)}
	var lines []string
	for _, k := range s.skipped {
		lines = append(lines, k.Engine+": "+k.Reason)
		if k.NextStep != "" {
			r.NextStep = k.NextStep
		}
	}
	r.What = fmt.Sprintf("no engine runs %s: %s", b.Dir, strings.Join(lines, "; "))
	return r
}

func (s *Slot) open(ctx context.Context, b *Bundle, c Candidate, openers map[string]Opener, o Opening) error {
	if o.Trying != nil {
		o.Trying(c.Spec.Choice())
	}
	opener, ok := openers[c.Engine]
	if !ok {
		return Refuse(CodeEngine, "use a bundle or a build that has one of these", "this heron-vision has no engine %q; it has %s", c.Engine, strings.Join(sortedKeys(openers), ", "))
	}
	if c.Spec.Budget.RSSMB > 0 {
		debug.FreeOSMemory() // what an engine before left in Go's heap is not to make room for this one
		s.resident = resident()
	}
	m, err := b.Load(c)
	if err != nil {
		return err
	}
	m.Threads, m.Spin = o.Threads, o.Spin
	within := ctx
	if o.Within > 0 {
		var cancel context.CancelFunc
		within, cancel = context.WithTimeout(ctx, o.Within)
		defer cancel()
	}
	err = s.load(within, c, m, opener, o)
	if err != nil && ctx.Err() == nil && errors.Is(within.Err(), context.DeadlineExceeded) {
		return &Refusal{Code: CodeHung, What: fmt.Sprintf("%s: the model was not loaded within %v on %s", c.File, o.Within, c.Spec.Choice()), NextStep: "use another model or engine", Err: err}
	}
	return err
}

// load opens the engine and judges its first answers.
func (s *Slot) load(ctx context.Context, c Candidate, m Model, opener Opener, o Opening) error {
	e, err := opener(ctx, m)
	if err != nil {
		return err
	}
	err = s.join(ctx, m.Spec, e)
	if err == nil && o.Check != nil {
		if err = o.Check(ctx, s); s.failedToRun(ctx, err) {
			err = s.blame(err)
		}
	}
	if err != nil {
		_ = e.Close() // the model's fault is what matters
		s.engine = nil
		return InFile(c.File, err)
	}
	return nil
}

// ResizeWith has frames resized by r (nil: by Go) wherever that makes the same bytes. Call it before the first frame.
func (s *Slot) ResizeWith(r Resizer) { s.prep.ResizeWith(r) }

// join fits the parts together and runs them once on a grey picture, so that the first frame is not the slow one
// and a model that cannot answer is found now.
func (s *Slot) join(ctx context.Context, spec *Spec, e Engine) (err error) {
	s.spec, s.engine, s.info = spec, e, e.Info()
	if s.prep, err = NewPreprocessor(spec.Input, e.Input()); err != nil {
		return err
	}
	if s.decode, err = NewDecoder(spec, e.Output()); err != nil {
		return err
	}
	_, err = s.infer(ctx, []byte{128, 128, 128}, 1, 1, 3)
	if s.failedToRun(ctx, err) {
		return s.blame(fmt.Errorf("the model fails on a grey picture: %w", err))
	}
	s.grey = slices.Clone(s.decode.real)
	return err
}

// failedToRun tells an engine's own error from an answer that was refused, and from the end of ctx.
func (s *Slot) failedToRun(ctx context.Context, err error) bool {
	r := (*Refusal)(nil)
	return err != nil && !errors.As(err, &r) && ctx.Err() == nil
}

// blame is the refusal for an engine that loaded the model and then failed to run it: the file's fault on the CPU; an accelerator may have lost
// its power or its plug, which time can mend, so it must be worth another try.
func (s *Slot) blame(err error) *Refusal {
	if !s.info.Accelerated() {
		return &Refusal{Code: CodeFormat, What: err.Error(), NextStep: "use another model or engine", Err: err}
	}
	r := Unavailable("check its plug, power and temperature; if it stays so, use another model", "%v", err)
	r.Err = errors.Join(ErrUnavailable, err)
	return r
}

// Classify answers for a packed 8-bit BGR picture, which it only reads. An error concerns this frame alone:
// a *Refusal where the answer is not one (not finite, no probability), else what the engine says.
func (s *Slot) Classify(ctx context.Context, pix []byte, width, height, stride int) (Result, error) {
	return s.count(s.infer(ctx, pix, width, height, stride))
}

func (s *Slot) count(r Result, err error) (Result, error) {
	if err != nil {
		s.failed.Add(1)
	} else {
		s.done.Add(1)
	}
	return r, err
}

func (s *Slot) infer(ctx context.Context, pix []byte, width, height, stride int) (Result, error) {
	t0 := time.Now()
	if err := s.prep.Run(pix, width, height, stride); err != nil {
		return Result{}, fmt.Errorf("preprocess: %w", err)
	}
	return s.run(ctx, time.Since(t0))
}

// run infers what the engine's tensor holds and decodes the answer.
func (s *Slot) run(ctx context.Context, prep time.Duration) (Result, error) {
	t0 := time.Now()
	err := s.runTimed(ctx)
	r := Result{PrepMS: ms(prep), LatMS: ms(time.Since(t0))}
	if err != nil {
		return r, fmt.Errorf("infer: %w", err)
	}
	r.Top, err = s.decode.Top()
	return r, err
}

// runTimed runs the engine where Running can see it.
func (s *Slot) runTimed(ctx context.Context) error {
	s.started.Store(int64(time.Since(s.zero)) + 1)
	defer s.started.Store(0)
	return s.engine.Run(ctx)
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// Running is how long the present inference has taken; 0 between inferences.
func (s *Slot) Running() time.Duration {
	if at := s.started.Load(); at != 0 {
		return max(1, time.Since(s.zero)-time.Duration(at-1))
	}
	return 0
}

// Stats copies the counters.
func (s *Slot) Stats() SlotStats {
	return SlotStats{Inferred: s.done.Load(), Errors: s.failed.Load(), Running: s.Running()}
}

// Spec is the model in use; read only.
func (s *Slot) Spec() *Spec { return s.spec }

// Info names the engine in use.
func (s *Slot) Info() Info { return s.info }

// Skipped are the engines that were to be used before this one, with the reasons.
func (s *Slot) Skipped() []Skipped { return s.skipped }

// Golden are the bundle's pictures whose answers are known.
func (s *Slot) Golden() []Golden { return s.golden }

// CheckGolden classifies one golden picture, decoded by the caller to packed BGR; another best label, or its score further off
// than the tolerance, is a *Refusal. Thresholds play no part.
func (s *Slot) CheckGolden(ctx context.Context, g Golden, pix []byte, width, height, stride int) error {
	r, err := s.infer(ctx, pix, width, height, stride)
	if err != nil {
		return InFile("golden picture "+g.Input, err)
	}
	best := r.Top[0]
	if len(r.Top) > 1 && best.Label == Unknown && best.Score == r.Top[1].Score {
		best = r.Top[1] // below its threshold
	}
	next := "this device's runtime or the bundle is at fault: try another engine, or pack the bundle again"
	if best.Label != g.Top1 {
		return Refuse(CodeGolden, next, "golden picture %s is %s (%.3f), not %s (%.3f)", g.Input, best.Label, best.Score, g.Top1, g.Score)
	}
	if math.Abs(best.Score-g.Score) > g.Tolerance {
		return Refuse(CodeGolden, next, "golden picture %s is %s with %.3f instead of %.3f ± %.3f", g.Input, best.Label, best.Score, g.Score, g.Tolerance)
	}
	return nil
}

// Close frees the engine; a second call does nothing.
func (s *Slot) Close() error {
	if s.engine == nil {
		return nil
	}
	e := s.engine
	s.engine = nil
	return e.Close()
}
