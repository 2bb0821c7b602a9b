package inference

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"
)

// fake is an engine whose Run is a function.
type fake struct {
	in, out *Tensor
	run     func(ctx context.Context, f *fake) error
	closed  int
}

func (f *fake) Input() *Tensor                { return f.in }
func (f *fake) Output() *Tensor               { return f.out }
func (f *fake) Run(ctx context.Context) error { return f.run(ctx, f) }
func (f *fake) Info() Info                    { return Info{Engine: "a", Version: "9"} }
func (f *fake) Close() error                  { f.closed++; return nil }

// fakes gives an opener of engines with that Run, and the list of those it opened.
func fakes(run func(ctx context.Context, f *fake) error) (Opener, *[]*fake) {
	var opened []*fake
	return func(_ context.Context, m Model) (Engine, error) {
		n := len(m.Spec.Labels)
		f := &fake{in: tensorFor(m.Spec.Input), out: &Tensor{Name: "out", DType: Float32, Shape: []int{1, n}, F32: make([]float32, n)}, run: run}
		opened = append(opened, f)
		return f, nil
	}, &opened
}

// bright answers "ok" as surely as the first pixel is bright.
func bright(_ context.Context, f *fake) error {
	v := float32(f.in.U8[0]) / 255
	f.out.F32[0], f.out.F32[1] = v, 1-v
	return nil
}

func bundle(t *testing.T, change func(map[string]any), engines ...string) *Bundle {
	t.Helper()
	b, err := ReadBundle(bundleDir(t, change, nil), engines)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func refuser(code, what string) Opener {
	return func(context.Context, Model) (Engine, error) { return nil, Refuse(code, "do "+what, "%s", what) }
}

func TestSlotClassifies(t *testing.T) {
	open, opened := fakes(bright)
	s, err := OpenSlot(t.Context(), bundle(t, nil), map[string]Opener{"a": open}, Opening{Threads: 3})
	if err != nil {
		t.Fatal(err)
	}
	r, err := s.Classify(t.Context(), []byte{255, 255, 255}, 1, 1, 3)
	if err != nil || r.Top[0] != (Score{"ok", 1}) || r.PrepMS < 0 || r.LatMS < 0 {
		t.Errorf("%+v, %v", r, err)
	}
	if _, err := s.Classify(t.Context(), nil, 1, 1, 3); err == nil || !strings.Contains(err.Error(), "preprocess: ") {
		t.Errorf("an empty frame: %v", err)
	}
	if st := s.Stats(); st.Inferred != 1 || st.Errors != 1 || st.Running != 0 {
		t.Errorf("stats %+v", st)
	}
	if s.Info().Version != "9" || s.Spec().Engine != "a" || len(s.Skipped()) != 0 {
		t.Errorf("%+v %+v %+v", s.Info(), s.Spec(), s.Skipped())
	}
	if errors.Join(s.Close(), s.Close()) != nil || (*opened)[0].closed != 1 {
		t.Errorf("closed %d times", (*opened)[0].closed)
	}
}

func TestSlotFallsBack(t *testing.T) {
	open, _ := fakes(bright)
	b := bundle(t, nil, "c", "b", "a")
	s, err := OpenSlot(t.Context(), b, map[string]Opener{"a": open, "b": refuser(CodeUnavailable, "no stick")}, Opening{})
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(s.Skipped()); got != "[{c engine the bundle has no entry for it } {b unavailable no stick do no stick}]" {
		t.Error(got)
	}
}

func TestSlotRefusals(t *testing.T) {
	hangs, _ := fakes(func(context.Context, *fake) error { return errors.New("boom") })
	nan, opened := fakes(func(_ context.Context, f *fake) error { f.out.F32[1] = float32(math.NaN()); return nil })
	for _, c := range []struct {
		name    string
		openers map[string]Opener
		change  func(map[string]any)
		want    []string
		code    string
		text    string
	}{
		{"one reason is its own error", map[string]Opener{"b": refuser(CodeContract, "two inputs")}, nil, []string{"b"}, CodeContract, "two inputs; do two inputs"},
		{"several are named", map[string]Opener{"a": refuser(CodeFormat, "bad"), "b": refuser(CodeUnavailable, "none")}, nil, []string{"b", "a"}, CodeFormat, "b: none; a: bad; a: bad; do bad"},
		{"not in this build", map[string]Opener{"x": hangs, "y": hangs}, nil, []string{"b"}, CodeEngine, `no engine "b"; it has x, y`},
		{"fails on grey", map[string]Opener{"b": hangs}, nil, []string{"b"}, CodeFormat, "sub/m.b: the model fails on a grey picture: infer: boom"},
		{"NaN on grey", map[string]Opener{"b": nan}, nil, []string{"b"}, CodeNotFinite, `sub/m.b: the answer for "empty" is NaN`},
		{"tampered: no other engine is tried", map[string]Opener{"a": hangs, "b": hangs}, func(m map[string]any) {
			listed(m)
			m["files"] = append(m["files"].([]any), map[string]any{"path": "sub/m.b", "size": 1, "sha256": digest("x")})
		}, []string{"b", "a"}, CodeDigest, "sub/m.b has the digest"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := OpenSlot(t.Context(), bundle(t, c.change, c.want...), c.openers, Opening{})
			if r := wantRefusal(t, err, c.code); r != nil && !strings.Contains(r.Error(), c.text) {
				t.Errorf("says %q; want %q", r.Error(), c.text)
			}
		})
	}
	if (*opened)[0].closed != 1 {
		t.Error("the engine of a refused model stays open")
	}
}

// onStick is a fake's engine on a device that can lose its power.
type onStick struct{ Engine }

func (onStick) Info() Info { return Info{Engine: "b", Device: "usb:1-1"} }

// An accelerator that fails while its model is tried may work in a minute: that is not the file's fault.
func TestSlotOnAStickThatFailsIsUnavailable(t *testing.T) {
	for runs, when := range []string{"grey", "golden"} {
		open, _ := fakes(func(context.Context, *fake) error {
			if runs--; runs < 0 {
				return errors.New("transfer failed")
			}
			return nil
		})
		stick := func(ctx context.Context, m Model) (Engine, error) {
			e, err := open(ctx, m)
			return onStick{e}, err
		}
		check := func(ctx context.Context, s *Slot) error {
			_, err := s.Classify(ctx, []byte{255, 255, 255}, 1, 1, 3)
			return err
		}
		_, err := OpenSlot(t.Context(), bundle(t, nil, "b"), map[string]Opener{"b": stick}, Opening{Check: check})
		if r := wantRefusal(t, err, CodeUnavailable); r != nil && (!strings.Contains(r.What, "transfer failed") || r.NextStep == "" || !errors.Is(err, ErrUnavailable)) {
			t.Errorf("%s: %+v", when, r)
		}
	}
}

func TestSlotUnavailableCanBeAsked(t *testing.T) {
	gone := func(context.Context, Model) (Engine, error) {
		return nil, &Refusal{Code: CodeUnavailable, What: "no library", Err: ErrUnavailable}
	}
	for _, want := range []string{"b", "a"} { // one candidate, two candidates
		if _, err := OpenSlot(t.Context(), bundle(t, nil, want), map[string]Opener{"a": gone, "b": gone}, Opening{}); !errors.Is(err, ErrUnavailable) {
			t.Errorf("%v does not wrap ErrUnavailable", err)
		}
	}
}

// TestSlotRunning: another goroutine sees how long an inference takes while it takes it.
func TestSlotRunning(t *testing.T) {
	first := true
	open, _ := fakes(func(ctx context.Context, f *fake) error {
		if first {
			first = false
			return bright(ctx, f)
		}
		<-ctx.Done()
		return ctx.Err()
	})
	s, err := OpenSlot(t.Context(), bundle(t, nil), map[string]Opener{"a": open}, Opening{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		_, err := s.Classify(ctx, []byte{1, 2, 3}, 1, 1, 3)
		done <- err
	}()
	for s.Running() < 5*time.Millisecond && ctx.Err() == nil {
		time.Sleep(time.Millisecond)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("ended with %v", err)
	}
	if st := s.Stats(); st.Running != 0 || st.Errors != 1 {
		t.Errorf("afterwards %+v", st)
	}
}

func TestSlotGolden(t *testing.T) {
	open, _ := fakes(bright)
	s, err := OpenSlot(t.Context(), bundle(t, func(m map[string]any) {
		m["thresholds"] = map[string]any{"default": 1}
		m["golden"] = []any{map[string]any{"input": "labels.txt", "top1": "ok", "score": 0.8, "tolerance": 0.01}}
	}), map[string]Opener{"a": open}, Opening{})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		grey byte
		want string
	}{{204, ""}, {230, "is ok with 0.902 instead of 0.800"}, {20, "is empty (0.922), not ok"}} {
		err := s.CheckGolden(t.Context(), s.Golden()[0], []byte{c.grey, c.grey, c.grey}, 1, 1, 3)
		if c.want == "" {
			if err != nil {
				t.Error(err)
			}
			continue
		}
		if r := wantRefusal(t, err, CodeGolden); r != nil && !strings.Contains(r.What, c.want) {
			t.Errorf("says %q; want %q", r.What, c.want)
		}
	}
}
