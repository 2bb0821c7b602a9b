package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"heron/demo/line"
)

func TestWrite(t *testing.T) {
	dir := t.TempDir()
	out := filepath.Join(dir, "d")
	if err := write(job{from: 1, n: 4, png: dir, out: out}); err != nil {
		t.Fatal(err)
	}
	pix, err := os.ReadFile(out + ".rgb")
	if err != nil || len(pix) != 4*side*side*3 {
		t.Fatalf("%d bytes of pixels, %v", len(pix), err)
	}
	cls, err := os.ReadFile(out + ".cls")
	if err != nil || !bytes.Equal(cls, []byte{0, 1, 2, 3}) {
		t.Errorf("classes %v, %v", cls, err)
	}
	for _, name := range []string{"0-ok.png", "1-scratched.png", "2-no_label.png", "3-empty.png"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
	if err := write(job{from: 1, n: 1, out: filepath.Join(dir, "no", "such")}); err == nil {
		t.Error("a folder that does not exist was written into")
	}
}

// Held-out pictures begin far behind the seeds of the training, and each has a seed of its own; training pictures share one in pairs.
func TestPlan(t *testing.T) {
	seen := map[line.Class]int{}
	for i := range 800 {
		seed, class := job{from: 100, train: true}.plan(i)
		if seed != 100+uint64(i/2) {
			t.Fatalf("picture %d has seed %d", i, seed)
		}
		seen[class]++
	}
	if seen[line.OK] != 300 || seen[line.Scratched] != 300 || seen[line.NoLabel] != 100 || seen[line.Empty] != 100 {
		t.Errorf("classes %v", seen)
	}
	if seed, class := (job{from: 100}).plan(6); seed != 106 || class != line.NoLabel {
		t.Errorf("held-out picture 6: seed %d, %v", seed, class)
	}
}
