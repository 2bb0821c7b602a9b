package repo

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// Two holders in two places: the change waits, in public nothing moves, the second signature publishes it.
func TestAChangeOfRootWaitsForTheSecondHolder(t *testing.T) {
	r := made(t)
	away := t.TempDir()
	for _, name := range []string{"root-2.key", "root-3.key"} {
		if err := os.Rename(r.path(keysDir, name), filepath.Join(away, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	first := opened(t, config(r.conf.Dir))
	before := tree(t, first.Public())
	res, err := first.Rotate("timestamp", Rotation{})
	if err != nil || res.Published || len(res.Missing) != 1 || res.Missing[0].Role != "root" || res.Missing[0].Need != 1 || !slices.Equal(res.Missing[0].From, []string{"root-2", "root-3"}) {
		t.Fatalf("%+v, %v", res, err)
	}
	if after := tree(t, first.Public()); len(after) != len(before) {
		t.Error("something is public already")
	}
	if _, err := first.Add(bundle(t, "x"), "bottles/1", nil); !errors.Is(err, ErrStaged) {
		t.Errorf("another change on top: %v", err)
	}
	if res, err := first.Refresh(nil); err != nil || !res.Published {
		t.Errorf("timestamp could not be kept fresh meanwhile: %+v, %v", res, err)
	}
	if res, err := first.Sign(); err != nil || res.Published {
		t.Errorf("the same holder twice: %+v, %v", res, err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	conf := config(r.conf.Dir)
	conf.Keys = []string{filepath.Join(away, "root-3.key")}
	second := opened(t, conf)
	if res, err := second.Sign(); err != nil || !res.Published {
		t.Fatalf("%+v, %v", res, err)
	}
	if left, err := second.stagedFiles(); err != nil || len(left) != 0 {
		t.Errorf("left in staged: %v, %v", left, err)
	}
	if res, err := second.Sign(); err != nil || res.Note == "" {
		t.Errorf("nothing to sign: %+v, %v", res, err)
	}
}

func TestDiscardDropsWhatIsStaged(t *testing.T) {
	r := made(t)
	delete(r.keys.keys, r.keyID(t, "targets-1"))
	if res, err := r.Add(bundle(t, "x"), "bottles/1", nil); err != nil || res.Published {
		t.Fatalf("%+v, %v", res, err)
	}
	if _, err := r.Discard(); err != nil {
		t.Fatal(err)
	}
	if left, _ := r.stagedFiles(); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

// A power cut after each file of a publication: the old whole or the new one is public, and sign finishes it.
func TestAPublicationCutShortIsFinishedBySign(t *testing.T) {
	for _, written := range []int{0, 1, 2, 3} {
		r := made(t)
		old := tree(t, r.Public())
		delete(r.keys.keys, r.keyID(t, "root-1"))
		delete(r.keys.keys, r.keyID(t, "root-2"))
		if res, err := r.Rotate("targets", Rotation{}); err != nil || res.Published {
			t.Fatalf("%+v, %v", res, err)
		}
		if err := r.keys.load(); err != nil {
			t.Fatal(err)
		}
		c, err := r.staged()
		if err != nil {
			t.Fatal(err)
		}
		if err := r.signRole(c, metadata.ROOT, true); err != nil {
			t.Fatal(err)
		}
		if err := r.stage(c); err != nil {
			t.Fatal(err)
		}
		cut := []func() error{
			func() error { return write(c.sheet("targets"), r.path(metadataDir, "2.targets.json")) },
			func() error { return write(c.sheet("root"), r.path(metadataDir, "2.root.json")) },
			func() error { return os.WriteFile(r.path(metadataDir, "2.snapshot.json"), []byte("half"), 0o600) },
		}
		for _, f := range cut[:written] {
			if err := f(); err != nil {
				t.Fatal(err)
			}
		}
		if old[r.path(metadataDir, "timestamp.json")] != tree(t, r.Public())[r.path(metadataDir, "timestamp.json")] {
			t.Fatal("timestamp moved before its time")
		}
		if res, err := r.Sign(); err != nil || !res.Published {
			t.Fatalf("after %d files: %+v, %v", written, res, err)
		}
		s, err := r.published()
		if err != nil || s.root.Signed.Version != 2 || s.targets["targets"].Signed.Version != 2 {
			t.Errorf("after %d files: %v", written, err)
		}
	}
}
