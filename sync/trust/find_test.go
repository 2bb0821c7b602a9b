package trust

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// The case that the updater of go-tuf 2.4.2 misses: the delegating role withdraws a key, and what that key signed is still in the cache
// with the very version that snapshot names.
func TestCachedDelegatedRoleIsVerifiedAgainWhenItsDelegatorHasChanged(t *testing.T) {
	s, dir := newSim(t), t.TempDir()
	s.delegate("targets", "bottles", true, "bottles/*")
	s.target("bottles", "bottles/1", []byte("one"))
	s.publish("bottles", "targets", "snapshot", "timestamp")
	if _, err := s.refreshed(dir).Target(context.Background(), "bottles/1"); err != nil {
		t.Fatal(err)
	}
	s.targets["targets"].Signed.Delegations = nil
	s.signers["bottles"] = nil
	s.delegate("targets", "bottles", true, "bottles/*")
	s.publish("targets", "snapshot", "timestamp")
	if _, err := s.refreshed(dir).Target(context.Background(), "bottles/1"); !errors.Is(err, ErrThreshold) {
		t.Errorf("a target of a withdrawn key: %v", err)
	}
	s.publish("bottles", "snapshot", "timestamp")
	if _, err := s.refreshed(dir).Target(context.Background(), "bottles/1"); err != nil {
		t.Errorf("signed by the new key: %v", err)
	}
}

// One process, two ways to the same role: being trusted through one delegator must not open the other.
func TestARoleIsVerifiedByTheDelegatorThroughWhichItIsReached(t *testing.T) {
	s := newSim(t)
	s.delegate("targets", "a", false, "a/*")
	s.delegate("targets", "b", false, "b/*")
	s.delegate("a", "shared", false, "*/*")
	rightful := s.signers["shared"]
	s.signers["shared"] = nil
	s.delegate("b", "shared", false, "*/*") // b names another key
	s.signers["shared"] = rightful
	s.target("shared", "a/1", []byte("1"))
	s.target("shared", "b/1", []byte("1"))
	s.publish("shared", "a", "b", "targets", "snapshot", "timestamp")
	c := s.refreshed(t.TempDir())
	if _, err := c.Target(context.Background(), "a/1"); err != nil {
		t.Error(err)
	}
	if _, err := c.Target(context.Background(), "b/1"); !errors.Is(err, ErrThreshold) {
		t.Errorf("%v", err)
	}
}

func TestDelegationsAreSearchedInOrderAndBounded(t *testing.T) {
	type arrow struct {
		from, to    string
		terminating bool
		pattern     string
	}
	for _, c := range []struct {
		name   string
		arrows []arrow
		want   []string
	}{
		{"depth first", []arrow{{"targets", "A", false, "*"}, {"targets", "B", false, "*"}, {"A", "C", false, "*"}, {"C", "D", false, "*"}}, []string{"A", "C", "D", "B"}},
		{"terminating ends it", []arrow{{"targets", "A", false, "*"}, {"targets", "B", false, "*"}, {"A", "C", true, "*"}, {"A", "D", false, "*"}}, []string{"A", "C"}},
		{"patterns", []arrow{{"targets", "A", false, "*.py"}, {"targets", "B", false, "*"}, {"A", "C", false, "*"}}, []string{"B"}},
		{"a circle", []arrow{{"targets", "A", false, "*"}, {"A", "B", false, "*"}, {"B", "A", false, "*"}}, []string{"A", "B"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSim(t)
			roles := []string{}
			for _, a := range c.arrows {
				s.delegate(a.from, a.to, a.terminating, a.pattern)
				if !slices.Contains(roles, a.to) {
					roles = append(roles, a.to)
				}
			}
			s.publish(append(roles, "targets", "snapshot", "timestamp")...)
			client := s.refreshed(t.TempDir())
			s.requests()
			if _, err := client.Target(context.Background(), "missing"); !errors.Is(err, ErrNotFound) {
				t.Error(err)
			}
			var got []string
			for _, name := range s.requests() {
				got = append(got, strings.TrimSuffix(strings.TrimPrefix(name, "metadata/1."), ".json"))
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("visited %v, want %v", got, c.want)
			}
		})
	}
}

func TestManyDelegationsEnd(t *testing.T) {
	s := newSim(t)
	roles := []string{}
	for i := range 50 {
		role := "r" + strings.Repeat("x", i)
		s.delegate("targets", role, false, "*")
		roles = append(roles, role)
	}
	s.publish(append(roles, "targets", "snapshot", "timestamp")...)
	c := s.refreshed(t.TempDir())
	s.requests()
	if _, err := c.Target(context.Background(), "missing"); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	if n := len(s.requests()); n > maxDelegation {
		t.Errorf("%d roles were asked for", n)
	}
}

// A family may not name what is outside its delegation, nor a role call itself root.
func TestARoleSpeaksOnlyForWhatIsDelegated(t *testing.T) {
	s := newSim(t)
	s.delegate("targets", "bottles", true, "bottles/*")
	s.target("bottles", "cans/1", []byte("one"))
	s.publish("bottles", "targets", "snapshot", "timestamp")
	c := s.refreshed(t.TempDir())
	if _, err := c.Target(context.Background(), "cans/1"); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	if _, err := c.All(context.Background()); !errors.Is(err, ErrNotFound) {
		t.Errorf("All: %v", err)
	}
	s.targets["targets"].Signed.Delegations.Roles[0].Name = "snapshot"
	s.publish("targets", "snapshot", "timestamp")
	if _, err := s.refreshed(t.TempDir()).Target(context.Background(), "bottles/1"); !errors.Is(err, ErrMalformed) {
		t.Error(err)
	}
}

func TestRoleNamesStayInTheFolder(t *testing.T) {
	for _, role := range []string{"?", "#", "../up", "/etc/passwd", "a b", "..", "é", strings.Repeat("x", 200)} {
		name, err := fileName(role)
		if back, _ := url.PathUnescape(strings.TrimSuffix(name, ".json")); err == nil && (strings.ContainsAny(name, "/?# ") || back != role) {
			t.Errorf("%q became %q", role, name)
		}
	}
	for _, role := range []string{"", strings.Repeat("x", 201), strings.Repeat("/", 70)} {
		if name, err := fileName(role); err == nil {
			t.Errorf("%.20q became %q", role, name)
		}
	}
}

func TestPatternsAndHashPrefixes(t *testing.T) {
	for _, c := range []struct {
		pattern, name string
		want          bool
	}{
		{"bottles/*", "bottles/1.4.2", true}, {"bottles/*", "bottles/a/b", false}, {"bottles/*", "bottlesx/1", false},
		{"*", "a/b", false}, {"a/[", "a/[", false}, {"re?/x", "red/x", true},
	} {
		if got := covers(&metadata.DelegatedRole{Paths: []string{c.pattern}}, c.name); got != c.want {
			t.Errorf("%s covers %s: %v", c.pattern, c.name, got)
		}
	}
	// printf bottles/1 | sha256sum
	if !covers(&metadata.DelegatedRole{PathHashPrefixes: []string{"zz", "beb"}}, "bottles/1") {
		t.Error("the prefix of its own digest does not cover it")
	}
}
