// Package enginetest is the suite that every engine passes: the contract of inference.Engine as tests, the broken models,
// and real classifiers on real pictures. An engine's own test calls Run, Broken and Pictures.
package enginetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"heron/inference"
)

// Suite is an engine with models for it.
type Suite struct {
	Engine  string // as Info names it and manifests ask for it
	Open    inference.Opener
	Good    []Case // open and answer
	Refused []Case // are refused with Code
}

// Case is one model.
type Case struct {
	Name  string
	Model inference.Model
	Code  string // of the refusal
}

// Run checks the contract. Bytes and Spec of the cases are not changed.
func Run(t *testing.T, s Suite) {
	t.Helper()
	if len(s.Good) == 0 {
		t.Fatal("the suite needs at least one good model")
	}
	before := runtime.NumGoroutine()
	for _, c := range s.Good {
		t.Run("good/"+c.Name, func(t *testing.T) { good(t, s, c.Model) })
	}
	t.Run("refused", func(t *testing.T) { refused(t, s) })
	t.Run("side by side", func(t *testing.T) { sideBySide(t, s) })
	t.Run("no goroutine is left", func(t *testing.T) { noneLeft(t, before) })
}

func good(t *testing.T, s Suite, m inference.Model) {
	for _, c := range []struct {
		name string
		test func(*testing.T, Suite, inference.Model)
	}{
		{"keeps the contract", contract}, {"answers in place, and the same again", inPlace}, {"needs the model's bytes no more", forgetsBytes},
		{"obeys a context that has ended", ended}, {"closes twice", closesTwice}, {"serves a slot", slot},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, s, m) })
	}
}

// open opens a copy of the model and closes the engine when the test ends.
func open(t *testing.T, s Suite, m inference.Model) inference.Engine {
	t.Helper()
	m.Bytes = slices.Clone(m.Bytes)
	e, err := s.Open(t.Context(), m)
	if err != nil {
		t.Fatalf("open %s: %v", m.File, err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return e
}

func contract(t *testing.T, s Suite, m inference.Model) {
	e := open(t, s, m)
	if i := e.Info(); i.Engine != s.Engine || i.Version == "" {
		t.Errorf("info %+v; want engine %q and a version", i, s.Engine)
	}
	if _, err := inference.NewPreprocessor(m.Spec.Input, e.Input()); err != nil {
		t.Errorf("input: %v", err)
	}
	if _, err := inference.NewDecoder(m.Spec, e.Output()); err != nil {
		t.Errorf("output: %v", err)
	}
	for _, x := range []*inference.Tensor{e.Input(), e.Output()} {
		n := 1
		for _, d := range x.Shape {
			n *= d
		}
		if x.Name == "" || n != len(x.F32)+len(x.U8)+len(x.I8) || n == 0 {
			t.Errorf("tensor %q of shape %v holds %d values", x.Name, x.Shape, len(x.F32)+len(x.U8)+len(x.I8))
		}
	}
}

// fill writes a pattern into a tensor; equal seeds are equal patterns.
func fill(x *inference.Tensor, seed uint32) {
	next := func() byte {
		seed = seed*1664525 + 1013904223
		return byte(seed >> 24)
	}
	for i := range x.F32 {
		x.F32[i] = float32(next())/128 - 1
	}
	for i := range x.U8 {
		x.U8[i] = next()
	}
	for i := range x.I8 {
		x.I8[i] = int8(next())
	}
}

func answer(t *testing.T, e inference.Engine, seed uint32) string {
	t.Helper()
	fill(e.Input(), seed)
	if err := e.Run(t.Context()); err != nil {
		t.Fatalf("run: %v", err)
	}
	out := e.Output()
	return fmt.Sprint(out.F32, out.U8, out.I8)
}

func inPlace(t *testing.T, s Suite, m inference.Model) {
	e := open(t, s, m)
	in, out := e.Input(), e.Output()
	seen := map[string]bool{}
	for seed := range uint32(20) {
		first := answer(t, e, seed)
		if again := answer(t, e, seed); again != first {
			t.Fatalf("the same input gives %.80s and then %.80s", first, again)
		}
		seen[first] = true
	}
	if e.Input() != in || e.Output() != out {
		t.Error("the tensors moved")
	}
	if len(seen) < 2 {
		t.Error("twenty inputs, one answer: the engine does not read its input tensor, or writes its output elsewhere")
	}
}

func forgetsBytes(t *testing.T, s Suite, m inference.Model) {
	want := answer(t, open(t, s, m), 5)
	m.Bytes, m.Weights = slices.Clone(m.Bytes), slices.Clone(m.Weights)
	e, err := s.Open(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	clear(m.Bytes)
	clear(m.Weights)
	runtime.GC()
	if got := answer(t, e, 5); got != want {
		t.Errorf("answers %.80s after its bytes were cleared; before %.80s", got, want)
	}
}

func ended(t *testing.T, s Suite, m inference.Model) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if e, err := s.Open(ctx, m); !errors.Is(err, context.Canceled) {
		t.Errorf("open with an ended context: %v", err)
		if err == nil {
			e.Close()
		}
	}
	e := open(t, s, m)
	want := answer(t, e, 3)
	if err := e.Run(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("run with an ended context: %v", err)
	}
	if got := answer(t, e, 3); got != want {
		t.Errorf("answers %.80s afterwards; before %.80s", got, want)
	}
}

func closesTwice(t *testing.T, s Suite, m inference.Model) {
	e := open(t, s, m)
	answer(t, e, 1)
	if err := e.Close(); err != nil {
		t.Error(err)
	} // the second time is open's cleanup
}

func slot(t *testing.T, s Suite, m inference.Model) {
	dir := Folder(t, s.Engine, m)
	b, err := inference.ReadBundle(dir, []string{s.Engine})
	if err != nil {
		t.Fatal(err)
	}
	sl, err := inference.OpenSlot(t.Context(), b, map[string]inference.Opener{s.Engine: s.Open}, inference.Opening{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer sl.Close()
	pix := bytes.Repeat([]byte{200, 100, 50}, 30*20)
	r, err := sl.Classify(t.Context(), pix, 30, 20, 90)
	if err != nil || len(r.Top) == 0 || r.LatMS <= 0 {
		t.Errorf("%+v, %v", r, err)
	}
}

func refused(t *testing.T, s Suite) {
	m := s.Good[0].Model
	m.Threads, m.Weights = 0, nil
	cases := slices.Clone(s.Refused)
	for name, b := range map[string]string{"nothing": "", "a page instead of a model": "<html><head><title>503</title></head></html>\n", "noise": "\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80"} {
		m.Bytes = []byte(b)
		cases = append(cases, Case{name, m, inference.CodeFormat})
	}
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			e, err := s.Open(t.Context(), c.Model)
			if err == nil {
				e.Close()
				t.Fatal("opened")
			}
			CheckRefusal(t, err, c.Code)
		})
	}
}

// sideBySide: two models at once, each used by one goroutine, do not disturb each other.
func sideBySide(t *testing.T, s Suite) {
	m := s.Good[0].Model
	want := answer(t, open(t, s, m), 9)
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for range 3 {
				e, err := s.Open(t.Context(), m)
				if err != nil {
					t.Errorf("open: %v", err)
					return
				}
				fill(e.Input(), 9)
				err = e.Run(t.Context())
				if got := fmt.Sprint(e.Output().F32, e.Output().U8, e.Output().I8); err != nil || got != want {
					t.Errorf("%v, %.80s; alone %.80s", err, got, want)
				}
				if err := e.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

func noneLeft(t *testing.T, before int) {
	deadline := time.Now().Add(15 * time.Second)
	for runtime.NumGoroutine() > before+1 { // this subtest's own
		if time.Now().After(deadline) {
			buf := make([]byte, 1<<16)
			t.Fatalf("%d goroutines, %d before:\n%s", runtime.NumGoroutine(), before, buf[:runtime.Stack(buf, true)])
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// CheckRefusal wants a *inference.Refusal with the code, in one line that names a next step.
func CheckRefusal(t *testing.T, err error, code string) {
	t.Helper()
	r := (*inference.Refusal)(nil)
	switch {
	case !errors.As(err, &r):
		t.Errorf("error %v is no refusal; want one with code %q", err, code)
	case r.Code != code:
		t.Errorf("refused with %q (%v); want %q", r.Code, err, code)
	case r.What == "" || r.NextStep == "" || bytes.ContainsAny([]byte(err.Error()), "\n\r\x00"):
		t.Errorf("a refusal says what and the next step in one line, not %q / %q", r.What, r.NextStep)
	}
}
