package inference

import (
	"context"
	"errors"
	"math"
	"strings"
	"testing"
	"time"
)

// goldens makes a bundle with golden pictures that are named after their brightness, and the read for CheckGoldens.
func goldens(t *testing.T, run func(context.Context, *fake) error, more func(map[string]any), pictures ...byte) (*Slot, func(Golden) ([]byte, int, int, int, error)) {
	t.Helper()
	open, _ := fakes(run)
	s, err := OpenSlot(t.Context(), bundle(t, func(m map[string]any) {
		var list []any
		for _, p := range pictures {
			v := float64(p) / 255
			label := "ok"
			if v < 0.5 {
				label = "empty"
			}
			list = append(list, map[string]any{"input": string(rune('a' + p%26)), "top1": label, "score": max(v, 1-v), "tolerance": 0.05})
		}
		m["golden"] = list
		if more != nil {
			more(m)
		}
	}), map[string]Opener{"a": open}, Opening{})
	if err != nil {
		t.Fatal(err)
	}
	i := -1
	return s, func(Golden) ([]byte, int, int, int, error) {
		i++
		p := pictures[i]
		return []byte{p, p, p}, 1, 1, 3, nil
	}
}

// answers is an engine's run that gives the scores of the two labels.
func answers(ok, empty float32) func(context.Context, *fake) error {
	return func(_ context.Context, f *fake) error {
		f.out.F32[0], f.out.F32[1] = ok, empty
		return nil
	}
}

func TestCheckGoldens(t *testing.T) {
	runs := 0
	nanLater := func(ctx context.Context, f *fake) error {
		if runs++; runs > 1 {
			f.out.F32[0] = float32(math.NaN())
			return nil
		}
		return bright(ctx, f)
	}
	fails := 0
	failsLater := func(ctx context.Context, f *fake) error {
		if fails++; fails > 1 {
			return errors.New("the device went away")
		}
		return bright(ctx, f)
	}
	for _, c := range []struct {
		name     string
		run      func(context.Context, *fake) error
		pictures []byte
		code     string
		says     string
	}{
		{"none", bright, nil, "", ""},
		{"right", bright, []byte{220, 20}, "", ""},
		{"one, right", bright, []byte{220}, "", ""},
		{"the same twice", bright, []byte{220, 220}, "", ""},
		{"constant, and right by chance", answers(0.8627451, 0.1372549), []byte{220}, CodeConstant, "every golden picture, a grey one and a pattern"},
		{"constant, and wrong", answers(0.7, 0.3), []byte{220, 20}, CodeConstant, "the very same scores"},
		{"one score for all labels", answers(0.5, 0.5), []byte{130}, CodeConstant, "every label gets the same score"},
		{"NaN", nanLater, []byte{220}, CodeNotFinite, "golden picture m: the answer for"},
		{"the first that is wrong", func(_ context.Context, f *fake) error {
			f.out.F32[0] = float32(f.in.U8[0]) / 512
			f.out.F32[1] = 1 - f.out.F32[0]
			return nil
		}, []byte{20, 220, 200}, CodeGolden, "golden picture m is empty"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, read := goldens(t, c.run, nil, c.pictures...)
			err := s.CheckGoldens(t.Context(), read)
			if c.code == "" {
				if err != nil {
					t.Error(err)
				}
			} else if r := wantRefusal(t, err, c.code); r != nil && !strings.Contains(r.What, c.says) {
				t.Errorf("says %q; want %q", r.What, c.says)
			}
		})
	}
	s, _ := goldens(t, bright, nil, 220)
	wantRefusal(t, s.CheckGoldens(t.Context(), func(Golden) ([]byte, int, int, int, error) { return nil, 0, 0, 0, errors.New("no such file") }), CodeGolden)
	wantRefusal(t, s.CheckGoldens(t.Context(), func(Golden) ([]byte, int, int, int, error) {
		return nil, 0, 0, 0, Refuse(CodeDigest, "fetch it again", "another picture")
	}), CodeDigest)
	s, read := goldens(t, failsLater, nil, 220)
	if err := s.CheckGoldens(t.Context(), read); err == nil || !strings.Contains(err.Error(), "the device went away") || errors.As(err, new(*Refusal)) {
		t.Errorf("the engine's own error became %v", err)
	}
}

func TestCheckBudget(t *testing.T) {
	var kept []byte
	grows := func(ctx context.Context, f *fake) error {
		if kept == nil {
			kept = make([]byte, 64<<20)
			for i := range kept {
				kept[i] = 1
			}
		}
		return bright(ctx, f)
	}
	slow := func(ctx context.Context, f *fake) error {
		time.Sleep(5 * time.Millisecond)
		return bright(ctx, f)
	}
	for _, c := range []struct {
		name   string
		run    func(context.Context, *fake) error
		budget map[string]any
		says   string
	}{
		{"nothing said", slow, nil, ""},
		{"in time", bright, map[string]any{"latency_ms": 60000}, ""},
		{"too slow", slow, map[string]any{"latency_ms": 2.5}, "its budget is 2.5 ms"},
		{"enough memory", grows, map[string]any{"rss_mb": 4000}, ""},
		{"too much memory", grows, map[string]any{"rss_mb": 20}, "its budget is 20 MB"},
	} {
		t.Run(c.name, func(t *testing.T) {
			kept = nil
			s, _ := goldens(t, c.run, func(m map[string]any) {
				if c.budget != nil {
					m["budget"] = c.budget
				}
			})
			if s.resident == 0 && c.budget["rss_mb"] != nil {
				t.Skip("this system does not say how much memory a process has")
			}
			err := s.CheckBudget(t.Context())
			if c.says == "" {
				if err != nil {
					t.Error(err)
				}
			} else if r := wantRefusal(t, err, CodeOverBudget); r != nil && !strings.Contains(r.What, c.says) {
				t.Errorf("says %q; want %q", r.What, c.says)
			}
			if len(kept) > 0 && kept[5] != 1 {
				t.Error("unreachable: the memory is used until here")
			}
		})
	}
}

// TestSelfTest: it finds another answer, not another frame in between, and leaves an answer that was NaN from the beginning alone.
func TestSelfTest(t *testing.T) {
	wrong := false
	s, _ := goldens(t, func(ctx context.Context, f *fake) error {
		if wrong {
			f.out.F32[0], f.out.F32[1] = 0.5, 0.5
			return nil
		}
		return bright(ctx, f)
	}, nil)
	ahead, err := s.NewAhead()
	if err != nil {
		t.Fatal(err)
	}
	if err := ahead.Prepare([]byte{220, 220, 220}, 1, 1, 3); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := s.SelfTest(t.Context()); err != nil {
			t.Error(err)
		}
		if r, err := ahead.Classify(t.Context()); err != nil || r.Top[0].Label != "ok" {
			t.Errorf("%+v, %v", r, err)
		}
	}
	if n := testing.AllocsPerRun(20, func() { _ = s.SelfTest(t.Context()) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
	wrong = true
	wantRefusal(t, s.SelfTest(t.Context()), CodeGolden)
	wrong = false
	if err := s.SelfTest(t.Context()); err != nil {
		t.Error(err)
	}
	odd, _ := goldens(t, bright, nil)
	odd.engine.(*fake).run = answers(float32(math.NaN()), 0.5)
	for range 2 {
		if err := odd.SelfTest(t.Context()); err != nil {
			t.Error(err)
		}
	}
	odd.engine.(*fake).run = answers(0.5, float32(math.NaN()))
	wantRefusal(t, odd.SelfTest(t.Context()), CodeGolden)
}

// TestSelfTestOfRubbish: an engine that answers rubbish from the beginning is found without a golden picture; one that is unsure of grey is not.
func TestSelfTestOfRubbish(t *testing.T) {
	s, _ := goldens(t, answers(1, 1), nil)
	wantRefusal(t, s.SelfTest(t.Context()), CodeConstant)
	s, _ = goldens(t, answers(0.5, 0.5), nil)
	s.engine.(*fake).run = answers(0.6, 0.4)
	if err := s.SelfTest(t.Context()); err != nil {
		t.Error(err)
	}
}
