package repo

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// shared is a repository in which targets and the family bottles want two signatures of two keys each, and root two of three.
func shared(t *testing.T) *Repo {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "repo")
	if _, err := Init(config(dir), InitOptions{RootKeys: 3, Threshold: 2, TargetsKeys: 2, TargetsThreshold: 2, Expiry: DefaultExpiry()}); err != nil {
		t.Fatal(err)
	}
	r := opened(t, config(dir))
	if _, err := r.Add(bundle(t, "one"), "bottles/1", nil); err != nil {
		t.Fatal(err)
	}
	if res, err := r.Rotate("bottles", Rotation{Add: true, Threshold: 2}); err != nil || !res.Published || !slices.Equal(res.NewKeys, []string{"bottles-2"}) {
		t.Fatalf("%+v, %v", res, err)
	}
	return r
}

// ringNow is what is published: the names of the keys, and how many must sign.
func ringNow(t *testing.T, r *Repo, role string) (names string, threshold int) {
	t.Helper()
	c, err := r.begin()
	if err != nil {
		t.Fatal(err)
	}
	ring, err := c.ring(role)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(r.keys.names(ring.ids), " "), ring.threshold
}

// whole verifies everything that is published, as if all of it had been edited.
func whole(r *Repo) error {
	c, err := r.begin()
	if err != nil {
		return err
	}
	c.edited[metadata.ROOT], c.oldRoot = true, nil
	for role := range c.targets {
		c.edited[role] = true
	}
	return c.verify()
}

func TestKeysAreAddedRemovedAndReplaced(t *testing.T) {
	r := shared(t)
	for _, c := range []struct {
		role      string
		o         Rotation
		names     string
		threshold int
		refused   string
	}{
		{"targets", Rotation{}, "targets-1 targets-2", 2, "--replace (targets-1, targets-2)"},
		{"targets", Rotation{Replace: "targets-1"}, "targets-2 targets-3", 2, ""},
		{"targets", Rotation{Add: true}, "targets-2 targets-3 targets-4", 2, ""},
		{"targets", Rotation{Remove: "targets-2"}, "targets-3 targets-4", 2, ""},
		{"targets", Rotation{Remove: "targets-3"}, "targets-3 targets-4", 2, "a threshold no higher"},
		{"targets", Rotation{Remove: "targets-3", Threshold: 1}, "targets-4", 1, ""},
		{"targets", Rotation{Remove: "targets-4"}, "targets-4", 1, "0 keys of targets"},
		{"targets", Rotation{Threshold: 2}, "targets-4", 1, "a threshold no higher"},
		{"targets", Rotation{Add: true, Remove: "targets-4"}, "targets-4", 1, "at a time"},
		{"bottles", Rotation{Replace: "bottles-1"}, "bottles-2 bottles-3", 2, ""},
		{"bottles", Rotation{Add: true, Threshold: 3}, "bottles-2 bottles-3 bottles-4", 3, ""},
		{"bottles", Rotation{Threshold: 1}, "bottles-2 bottles-3 bottles-4", 1, ""},
		{"bottles", Rotation{Remove: "bottles-9"}, "bottles-2 bottles-3 bottles-4", 1, "no key \"bottles-9\""},
		{"root", Rotation{Add: true, Threshold: 3}, "root-1 root-2 root-3 root-4", 3, ""},
		{"root", Rotation{Remove: "root-1", Threshold: 2}, "root-2 root-3 root-4", 2, ""},
		{"snapshot", Rotation{Add: true}, "snapshot-1", 1, "snapshot has one key"},
		{"timestamp", Rotation{Threshold: 1}, "timestamp-1", 1, "timestamp has one key"},
		{"timestamp", Rotation{Replace: "timestamp-1"}, "timestamp-2", 1, ""},
	} {
		res, err := r.Rotate(c.role, c.o)
		if c.refused == "" && (err != nil || !res.Published) || c.refused != "" && (err == nil || !strings.Contains(err.Error(), c.refused)) {
			t.Errorf("%s %+v: %+v, %v", c.role, c.o, res, err)
		}
		if names, threshold := ringNow(t, r, c.role); names != c.names || threshold != c.threshold {
			t.Errorf("%s %+v: now %s, %d", c.role, c.o, names, threshold)
		}
		if err := whole(r); err != nil {
			t.Errorf("%s %+v: what is public does not hold: %v", c.role, c.o, err)
		}
	}
}

// Alice has the offline keys of one holder of each role and the online keys. Bob has his own keys, and a copy of what is public and staged.
func TestTwoPeopleOnTwoMachinesSignOneChange(t *testing.T) {
	for _, c := range []struct {
		name  string
		order func(r *Repo) (Result, error)
		role  string // that waits for Bob
		bob   []string
		told  string // to Bob, before he signs
	}{
		{"root", func(r *Repo) (Result, error) { return r.Rotate("timestamp", Rotation{}) }, "root", []string{"root-2"}, "root 2: timestamp gets the key timestamp-2 ("},
		{"targets", func(r *Repo) (Result, error) { return r.Refresh([]string{"targets"}) }, "targets", []string{"targets-2"}, "targets 4: good until "},
		{"a family", func(r *Repo) (Result, error) { return r.Add(bundle(t, "two"), "bottles/2", nil) }, "bottles", []string{"bottles-2"}, "bottles 3: bottles/2, 3 bytes, SHA-256 3fc4ccfe745870e2c0d99f71f30ff0656c8dedd41cc1d7d3d376b0dbe685e2f3"},
		{"a new family", func(r *Repo) (Result, error) { return r.Add(bundle(t, "can"), "cans/1", nil) }, "targets", []string{"targets-2"}, "targets 4: new family cans, for cans/*"},
		{"targets by a new root", func(r *Repo) (Result, error) { return r.Rotate("targets", Rotation{Add: true}) }, "root", []string{"root-2", "targets-2"}, "root 2: targets gets the key targets-3 ("},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := shared(t)
			alice, bob := r.conf.Dir, filepath.Join(t.TempDir(), "bob")
			move(t, r, bob, "root-2", "root-3", "targets-2", "bottles-2")
			r = opened(t, config(alice))
			before := tree(t, r.path(metadataDir))
			res, err := c.order(r)
			if err != nil || res.Published || !slices.ContainsFunc(res.Missing, func(m Missing) bool { return m.Role == c.role && m.Need == 1 }) {
				t.Fatalf("%+v, %v", res, err)
			}
			carry(t, alice, bob, settingsFile, metadataDir, stagedDir)
			conf := config(bob)
			for _, name := range c.bob {
				conf.Keys = append(conf.Keys, filepath.Join(bob, "stick", name+".key"))
			}
			conf.DryRun = true
			dry := opened(t, conf)
			if res, err = dry.Sign(); err != nil || !strings.Contains(strings.Join(res.Notes, "\n"), c.told) {
				t.Errorf("Bob was told %q, %v", res.Notes, err)
			}
			if err := dry.Close(); err != nil {
				t.Fatal(err)
			}
			conf.DryRun = false
			res, err = opened(t, conf).Sign()
			if err != nil || res.Published || len(res.Missing) != 2 || res.Missing[0].Role != "snapshot" || res.Missing[1].Role != "timestamp" {
				t.Fatalf("Bob: %+v, %v", res, err)
			}
			if after := tree(t, r.path(metadataDir)); len(after) != len(before) {
				t.Error("something is public already")
			}
			carry(t, bob, alice, stagedDir)
			if res, err = r.Sign(); err != nil || !res.Published || strings.Contains(strings.Join(res.Notes, "\n"), "old key") {
				t.Fatalf("Alice: %+v, %v", res, err)
			}
			s, err := r.published()
			if err != nil || whole(r) != nil || s.version(c.role) < 2 && c.name != "a family" {
				t.Errorf("%v, %v; %s %d", err, whole(r), c.role, s.version(c.role))
			}
		})
	}
}

// move takes keys away, to another's stick, and closes the repository.
func move(t *testing.T, r *Repo, to string, names ...string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(to, "stick"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if err := os.Rename(r.path(keysDir, name+".key"), filepath.Join(to, "stick", name+".key")); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
}

// carry copies files and folders from one machine to another, over what is there.
func carry(t *testing.T, from, to string, what ...string) {
	t.Helper()
	for path, data := range tree(t, from) {
		rel, err := filepath.Rel(from, path)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(what, func(w string) bool { return rel == w || strings.HasPrefix(rel, w+"/") }) {
			continue
		}
		if err := os.MkdirAll(filepath.Dir(filepath.Join(to, rel)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(to, rel), []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// A change that has all its signatures, and of which a part is public, is published by whatever comes next.
func TestWhatIsCompleteIsPublishedByTheNextCommand(t *testing.T) {
	for next, do := range map[string]func(r *Repo) (Result, error){
		"add":     func(r *Repo) (Result, error) { return r.Add(bundle(t, "one"), "bottles/1", nil) },
		"rotate":  func(r *Repo) (Result, error) { return r.Rotate("snapshot", Rotation{}) },
		"refresh": func(r *Repo) (Result, error) { return r.Refresh(nil) },
		"sign":    func(r *Repo) (Result, error) { return r.Sign() },
	} {
		r := made(t)
		c, err := r.begin()
		if err != nil {
			t.Fatal(err)
		}
		r.editTargets(c, "targets")
		for _, step := range []func() error{
			func() error { return r.signRole(c, "targets", false) },
			func() error { return r.stage(c) },
			func() error { return write(c.sheet("targets"), r.metadataPath("targets", 2)) },
		} {
			if err := step(); err != nil {
				t.Fatal(err)
			}
		}
		res, err := do(r)
		s, readErr := r.published()
		if err != nil || readErr != nil || !res.Published || s.version("targets") < 2 {
			t.Errorf("%s: %+v, %v, %v", next, res, err, readErr)
		}
		if next == "rotate" && !strings.Contains(res.Note, "run the command again") {
			t.Errorf("%s did something else and did not say so: %+v", next, res)
		}
	}
}

func TestDiscardRefusesWhatIsPublic(t *testing.T) {
	r := made(t)
	delete(r.keys.keys, r.keyID(t, "root-1"))
	delete(r.keys.keys, r.keyID(t, "root-2"))
	if _, err := r.Rotate("timestamp", Rotation{}); err != nil {
		t.Fatal(err)
	}
	c, err := r.staged()
	if err != nil {
		t.Fatal(err)
	}
	if err := write(c.sheet("root"), r.metadataPath("root", 2)); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Discard(); err == nil || !strings.Contains(err.Error(), "root 2 is public already") {
		t.Errorf("%v", err)
	}
}

// What was once in public under a number, if only in a publication that was dropped, never gets other bytes.
func TestVersionsAreNotUsedTwice(t *testing.T) {
	r := made(t)
	if err := os.WriteFile(r.metadataPath("targets", 2), []byte("of an earlier try"), 0o600); err != nil {
		t.Fatal(err)
	}
	if res, err := r.Refresh([]string{"targets"}); err != nil || !slices.Contains(res.Changed, "targets 3") {
		t.Errorf("%+v, %v", res, err)
	}
}

// An old key that is gone, or whose passphrase is, holds a rotation up no more than it must: the command says what that means for devices.
func TestALostKeyIsExchangedAndTheGapIsSaid(t *testing.T) {
	for name, lose := range map[string]func(r *Repo){
		"file": func(r *Repo) { delete(r.keys.keys, r.keyID(t, "timestamp-1")) },
		"passphrase": func(r *Repo) {
			r.keys.keys[r.keyID(t, "timestamp-1")].priv = nil
			ask := r.keys.ask
			r.keys.ask = func(key string, fresh bool) ([]byte, error) {
				if key == "timestamp-1" {
					return []byte("forgotten"), nil
				}
				return ask(key, fresh)
			}
		},
	} {
		r := made(t)
		lose(r)
		res, err := r.Rotate("timestamp", Rotation{})
		said := strings.Join(res.Notes, "\n")
		if err != nil || !res.Published || !strings.Contains(said, "devices install nothing") || strings.Contains(said, "did not open") != (name == "passphrase") {
			t.Errorf("%s: %+v, %v", name, res, err)
		}
		if err := whole(r); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	r := made(t)
	if res, err := r.Rotate("timestamp", Rotation{}); err != nil || len(res.Notes) > 0 {
		t.Errorf("nothing was lost: %+v, %v", res, err)
	}
}
