package trust

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// refuses asserts that a refresh ends with an error of one kind.
func refuses(t *testing.T, c *Client, kind error) {
	t.Helper()
	if err := c.Refresh(context.Background()); !errors.Is(err, kind) {
		t.Errorf("refresh: %v; it should be refused because: %v", err, kind)
	}
}

func TestFault_U4_Rollback(t *testing.T) {
	old := func(s *sim, name string) []byte { return s.files["metadata/"+name+".json"] }
	for _, c := range []struct {
		name   string
		attack func(s *sim) func()
	}{
		{"timestamp", func(s *sim) func() {
			was := old(s, "timestamp")
			s.publish("timestamp")
			return func() { s.put("timestamp", was) }
		}},
		{"snapshot named by a newer timestamp", func(s *sim) func() {
			s.publish("snapshot", "timestamp")
			return func() { s.timestamp.Signed.Meta["snapshot.json"].Version = 1; s.publish("timestamp") }
		}},
		{"targets named by a newer snapshot", func(s *sim) func() {
			s.publish("targets", "snapshot", "timestamp")
			return func() { s.snapshot.Signed.Meta["targets.json"].Version = 1; s.publish("snapshot", "timestamp") }
		}},
		{"a role that is gone from the snapshot", func(s *sim) func() {
			s.delegate("targets", "bottles", true, "bottles/*")
			s.publish("bottles", "targets", "snapshot", "timestamp")
			return func() { delete(s.snapshot.Signed.Meta, "bottles.json"); s.publish("snapshot", "timestamp") }
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, dir := newSim(t), t.TempDir()
			attack := c.attack(s)
			client := s.refreshed(dir)
			attack()
			refuses(t, client, ErrRollback)
			refuses(t, s.client(dir), ErrRollback) // after a restart too
		})
	}
}

func TestFault_U4_RollbackAfterTheCacheIsGone(t *testing.T) {
	s, dir := newSim(t), t.TempDir()
	old := s.files["metadata/timestamp.json"]
	s.publish("root", "targets", "snapshot", "timestamp")
	s.refreshed(dir)
	for _, role := range []string{"root", "timestamp", "snapshot", "targets"} {
		if err := os.Remove(filepath.Join(dir, role+".json")); err != nil {
			t.Fatal(err)
		}
	}
	s.put("timestamp", old)
	refuses(t, s.client(dir), ErrRollback)
	s.edit(func(f map[string][]byte) { delete(f, "metadata/2.root.json") })
	refuses(t, s.client(dir), ErrRollback)
}

func TestFault_U4_Freeze(t *testing.T) {
	s, dir := newSim(t), t.TempDir()
	s.timestamp.Signed.Expires = day0.Add(3 * day)
	s.target("targets", "bottles/1", []byte("one"))
	s.publish("targets", "snapshot", "timestamp")
	c := s.refreshed(dir)
	s.now = day0.Add(4 * day)
	refuses(t, c, ErrExpired)
	if _, err := c.Target(context.Background(), "bottles/1"); !errors.Is(err, ErrExpired) {
		t.Errorf("a target from expired metadata: %v", err)
	}
	s.timestamp.Signed.Expires = day0.Add(9 * day)
	s.publish("timestamp")
	if err := c.Refresh(context.Background()); err != nil {
		t.Errorf("fresh again: %v", err)
	}
}

// What was fresh at the last refresh is not fresh for ever.
func TestFault_U4_FreezeWithoutAnyRefresh(t *testing.T) {
	s := newSim(t)
	s.target("targets", "bottles/1", []byte("one"))
	s.publish("targets", "snapshot", "timestamp")
	c := s.refreshed(t.TempDir())
	s.now = day0.Add(31 * day)
	if _, err := c.Target(context.Background(), "bottles/1"); !errors.Is(err, ErrExpired) {
		t.Errorf("%v", err)
	}
}

func TestFault_U4_MixAndMatch(t *testing.T) {
	for _, role := range []string{"snapshot", "targets"} {
		t.Run(role, func(t *testing.T) {
			s := newSim(t)
			s.publish("targets", "snapshot", "timestamp")
			s.edit(func(f map[string][]byte) { f["metadata/2."+role+".json"] = f["metadata/1."+role+".json"] })
			refuses(t, s.client(t.TempDir()), ErrMismatch)
		})
	}
	t.Run("same version, other bytes", func(t *testing.T) {
		s := newSim(t)
		meta := metadata.MetaFile(1)
		meta.Hashes = metadata.Hashes{"sha256": bytes.Repeat([]byte{7}, 32)}
		s.snapshot.Signed.Meta["targets.json"] = meta
		s.publish("snapshot", "timestamp")
		refuses(t, s.client(t.TempDir()), ErrMismatch)
	})
}

func TestFault_U4_FastForward(t *testing.T) {
	s, dir := newSim(t), t.TempDir()
	s.timestamp.Signed.Version, s.snapshot.Signed.Version = 1_000_000, 1_000_000
	s.publish("snapshot", "timestamp")
	s.refreshed(dir) // the thief of the online keys has burnt a million versions
	s.timestamp.Signed.Version, s.snapshot.Signed.Version = 1, 1
	s.publish("snapshot", "timestamp")
	refuses(t, s.client(dir), ErrRollback)
	s.rotate("snapshot")
	s.rotate("timestamp")
	s.publish("root", "snapshot", "timestamp")
	s.refreshed(dir)
	if v := version(t, dir, "snapshot"); v != 3 {
		t.Errorf("snapshot %d after the recovery", v)
	}
	s.timestamp.Signed.Version = 1
	s.publish("timestamp")
	refuses(t, s.client(dir), ErrRollback) // and from there on no way back again
}
