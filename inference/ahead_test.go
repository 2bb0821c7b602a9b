package inference

import (
	"reflect"
	"testing"
)

func TestAheadAnswersAsClassifyDoes(t *testing.T) {
	open, _ := fakes(bright)
	s, err := OpenSlot(t.Context(), bundle(t, nil), map[string]Opener{"a": open}, Opening{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	light, dark := []byte{255, 255, 255}, []byte{0, 0, 0}
	want := map[string][]Score{}
	for name, pix := range map[string][]byte{"light": light, "dark": dark} {
		r, err := s.Classify(t.Context(), pix, 1, 1, 3)
		if err != nil {
			t.Fatal(err)
		}
		want[name] = r.Top
	}
	if reflect.DeepEqual(want["light"], want["dark"]) {
		t.Fatal("this model cannot tell the two frames apart")
	}
	first, err := s.NewAhead()
	if err != nil {
		t.Fatal(err)
	}
	second, err := s.NewAhead()
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Prepare(light, 1, 1, 3); err != nil {
		t.Fatal(err)
	}
	if err := second.Prepare(dark, 1, 1, 3); err != nil { // before the first is inferred
		t.Fatal(err)
	}
	a, errA := first.Classify(t.Context())
	b, errB := second.Classify(t.Context())
	if errA != nil || errB != nil || !reflect.DeepEqual(a.Top, want["light"]) || !reflect.DeepEqual(b.Top, want["dark"]) {
		t.Errorf("%+v %v, %+v %v; want %+v", a.Top, errA, b.Top, errB, want)
	}
	if first.Prepare(nil, 1, 1, 3) == nil {
		t.Error("an empty frame was prepared")
	}
	if st := s.Stats(); st.Inferred != 4 {
		t.Errorf("%+v, want 4 inferred", st)
	}
}
