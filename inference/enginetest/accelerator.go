package enginetest

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"heron/inference"
)

// Accelerator is a double of a device whose behaviour can be changed.
type Accelerator struct {
	Engine  string
	Open    inference.Opener
	Model   inference.Model
	Does    func(behaviour string)
	Ok      string   // the double's word for a device in order
	Slow    string   // for one that takes 180 ms
	Rubbish []string // for those that answer, and not what the model says
	Gone    string   // for one that fails while it infers
}

// Run checks that a slot finds out an accelerator that is slow, that begins to answer rubbish, or that is gone, each in one inference,
// and that frames before and after are none the worse for it.
func (a Accelerator) Run(t *testing.T) {
	t.Run("over its budget", a.budget)
	for _, word := range a.Rubbish {
		t.Run("begins with "+word, func(t *testing.T) { a.rubbish(t, word) })
	}
	t.Run("gone", a.gone)
}

func (a Accelerator) open(t *testing.T, budget inference.Budget) *inference.Slot {
	t.Helper()
	a.Does(a.Ok)
	t.Cleanup(func() { a.Does(a.Ok) })
	dir := Folder(t, a.Engine, a.Model)
	path := filepath.Join(dir, "manifest.json")
	m, err := inference.ParseManifest(read(t, path))
	if err != nil {
		t.Fatal(err)
	}
	m.Budget = &budget
	b, err := json.Marshal(m)
	if err == nil {
		err = os.WriteFile(path, b, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	bundle, err := inference.ReadBundle(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	s, err := inference.OpenSlot(t.Context(), bundle, map[string]inference.Opener{a.Engine: a.Open}, inference.Opening{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func (a Accelerator) budget(t *testing.T) {
	s := a.open(t, inference.Budget{LatencyMS: 100})
	a.Does(a.Slow)
	err := s.CheckBudget(t.Context())
	CheckRefusal(t, err, inference.CodeOverBudget)
	if err != nil && !strings.Contains(err.Error(), "its budget is 100 ms") {
		t.Error(err)
	}
}

func (a Accelerator) rubbish(t *testing.T, word string) {
	s := a.open(t, inference.Budget{})
	for range 3 { // the first one is what the others are compared with
		if err := s.SelfTest(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	a.Does(word)
	if err := s.SelfTest(t.Context()); err == nil {
		t.Error("not noticed")
	} else {
		CheckRefusal(t, err, inference.CodeGolden)
	}
	a.Does(a.Ok)
	if err := s.SelfTest(t.Context()); err != nil {
		t.Error(err)
	}
	if r, err := s.Classify(t.Context(), []byte{255, 0, 0}, 1, 1, 3); err != nil || len(r.Top) == 0 {
		t.Errorf("%+v, %v", r, err)
	}
}

func (a Accelerator) gone(t *testing.T) {
	s := a.open(t, inference.Budget{})
	if err := s.SelfTest(t.Context()); err != nil {
		t.Fatal(err)
	}
	a.Does(a.Gone)
	if err := s.SelfTest(t.Context()); err == nil {
		t.Error("not noticed")
	}
}
