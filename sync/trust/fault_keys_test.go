package trust

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

func TestFault_U4_WrongThreshold(t *testing.T) {
	for _, role := range []string{"timestamp", "snapshot", "targets"} {
		t.Run(role, func(t *testing.T) {
			s := newSim(t)
			s.addKey(role)
			s.root.Signed.Roles[role].Threshold = 2
			s.publish("root")
			s.signers[role] = s.signers[role][:1]
			s.publish("targets", "snapshot", "timestamp")
			refuses(t, s.client(t.TempDir()), ErrThreshold)
		})
	}
	t.Run("one key under two names", func(t *testing.T) {
		s := newSim(t)
		role := s.root.Signed.Roles["timestamp"]
		twin := *s.root.Signed.Keys[role.KeyIDs[0]]
		s.root.Signed.Keys["twin"] = &twin
		role.KeyIDs, role.Threshold = append(role.KeyIDs, "twin"), 2
		s.publish("root")
		var doc *metadata.Metadata[metadata.TimestampType]
		doc, err := parse[metadata.TimestampType]("timestamp", signed(s, "timestamp", s.timestamp))
		if err != nil {
			t.Fatal(err)
		}
		again := doc.Signatures[0]
		again.KeyID = "twin"
		doc.Signatures = append(doc.Signatures, again)
		data, err := doc.ToBytes(false)
		if err != nil {
			t.Fatal(err)
		}
		s.put("timestamp", data)
		refuses(t, s.client(t.TempDir()), ErrThreshold)
	})
	t.Run("a root that the old keys did not sign", func(t *testing.T) {
		s := newSim(t)
		s.root.Signed.Roles["root"].KeyIDs, s.signers["root"] = nil, nil
		s.addKey("root")
		s.publish("root")
		refuses(t, s.client(t.TempDir()), ErrThreshold)
	})
	t.Run("a threshold of zero", func(t *testing.T) {
		s := newSim(t)
		s.root.Signed.Roles["timestamp"].Threshold = 0
		s.signers["timestamp"] = nil
		s.publish("root", "timestamp")
		refuses(t, s.client(t.TempDir()), ErrThreshold)
	})
}

// A key of a kind that is not known, or cut short, neither counts nor stops the others.
func TestKeysThatCannotBeUsedArePassedOver(t *testing.T) {
	s := newSim(t)
	s.root.Signed.Keys["new"] = &metadata.Key{Type: "ml-dsa", Scheme: "ml-dsa", Value: metadata.KeyVal{PublicKey: "00"}}
	s.root.Signed.Keys["cut"] = &metadata.Key{Type: "ed25519", Scheme: "ed25519", Value: metadata.KeyVal{PublicKey: "0011"}}
	role := s.root.Signed.Roles["timestamp"]
	role.KeyIDs = append([]string{"new", "cut", "gone"}, role.KeyIDs...)
	s.publish("root", "timestamp")
	s.refreshed(t.TempDir())
}

func TestFault_U4_RotationOverFiveRoots(t *testing.T) { rotationOverFiveRoots(t) }

func TestFault_U14_KeysRotatedWhileOfflineForAYear(t *testing.T) { rotationOverFiveRoots(t) }

func rotationOverFiveRoots(t *testing.T) {
	s, dir := newSim(t), t.TempDir()
	s.refreshed(dir)
	for i := range 6 {
		s.root.Signed.Expires = day0.Add(time.Duration(i+2) * 60 * day) // each but the last has expired when the device comes back
		s.rotate("root")
		s.publish("root")
		s.signers["root"] = s.signers["root"][:1]
		s.rotate("timestamp")
		s.rotate("targets")
	}
	s.root.Signed.Expires = day0.Add(500 * day)
	end := day0.Add(380 * day)
	s.timestamp.Signed.Expires, s.snapshot.Signed.Expires, s.targets["targets"].Signed.Expires = end, end, end
	s.publish("root", "targets", "snapshot", "timestamp")
	s.now = day0.Add(370 * day)
	c := s.refreshed(dir)
	if v := c.State().Roles[0].Version; v != 8 {
		t.Errorf("root %d", v)
	}
	s.requests()
	s.refreshed(dir)
	if asked := s.requests(); len(asked) != 2 || asked[0] != "metadata/9.root.json" {
		t.Errorf("the walk was not remembered: %v", asked)
	}
}

func TestFault_U4_ExpiredEverything(t *testing.T) {
	for _, role := range []string{"root", "timestamp", "snapshot", "targets"} {
		t.Run(role, func(t *testing.T) {
			s := newSim(t)
			past := day0.Add(-time.Second)
			switch role {
			case "root":
				s.root.Signed.Expires = past
			case "timestamp":
				s.timestamp.Signed.Expires = past
			case "snapshot":
				s.snapshot.Signed.Expires = past
			case "targets":
				s.targets[role].Signed.Expires = past
			}
			s.publish("root", "targets", "snapshot", "timestamp")
			refuses(t, s.client(t.TempDir()), ErrExpired)
		})
	}
	t.Run("a family", func(t *testing.T) {
		s := newSim(t)
		s.delegate("targets", "bottles", true, "bottles/*")
		s.targets["bottles"].Signed.Expires = day0.Add(-time.Second)
		s.target("bottles", "bottles/1", []byte("one"))
		s.publish("bottles", "targets", "snapshot", "timestamp")
		if _, err := s.client(t.TempDir()).Target(context.Background(), "bottles/1"); !errors.Is(err, ErrExpired) {
			t.Error(err)
		}
	})
}
