package demo

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"heron/demo/line"
	"heron/inference"
)

// The bundle in the repository must be whole: Heron's own reader takes it, every digest is right, its labels are the line's classes.
func TestBundleIsWhole(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "bundle")
	if err := WriteBundle(dir); err != nil {
		t.Fatal(err)
	}
	b, err := inference.ReadBundle(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, c := range line.Classes() {
		want = append(want, c.String())
	}
	if !slices.Equal(b.Labels, want) {
		t.Errorf("labels %q, classes %q", b.Labels, want)
	}
	m := b.Manifest
	if a := m.Accuracy; a == nil || a.HeldOut < .97 || a.N < 2000 {
		t.Errorf("accuracy %+v, at least 97 %% of 2,000 held-out pictures is promised", a)
	}
	if len(m.Golden) < 4 || m.Baseline == "" || m.License == "" || m.Budget == nil {
		t.Errorf("not a published manifest: %+v", m)
	}
	for _, f := range m.Files {
		checkFile(t, dir, f)
	}
}

func TestWriteBundleRefusesAnOldFolder(t *testing.T) {
	if err := WriteBundle(t.TempDir()); err == nil {
		t.Error("an existing folder was written into")
	}
}

func checkFile(t *testing.T, dir string, f inference.File) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, f.Path))
	if err != nil {
		t.Error(err)
		return
	}
	if sum := sha256.Sum256(b); int64(len(b)) != f.Size || hex.EncodeToString(sum[:]) != f.SHA256 {
		t.Errorf("%s is not the file that the manifest names", f.Path)
	}
	if f.Role == "weights" && len(b) > 1<<20 {
		t.Errorf("%s has %d bytes, 1 MiB is the bound", f.Path, len(b))
	}
}
