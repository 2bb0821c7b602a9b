package trust

import (
	"testing"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// Whatever a mirror sends: an error or metadata that can be looked through, never a panic.
func FuzzMetadata(f *testing.F) {
	f.Add([]byte(`{"signed":{"_type":"root","spec_version":"1.0.31","version":1,"expires":"2030-01-01T00:00:00Z","keys":{"a":null},"roles":{"root":null}},"signatures":[]}`))
	f.Add([]byte(`{"signed":{"_type":"root","spec_version":"1.0.31","version":1,"expires":"2030-01-01T00:00:00Z","keys":{"a":{"keytype":"ed25519","scheme":"ed25519","keyval":{"public":"00"}}},"roles":{"root":{"keyids":["a"],"threshold":1}}},"signatures":[{"keyid":"a","sig":"00"}]}`))
	f.Add([]byte(`{"signed":{"_type":"timestamp","spec_version":"1.0.31","version":1,"expires":"2030-01-01T00:00:00Z","meta":{"snapshot.json":{"version":1}}},"signatures":[]}`))
	f.Add([]byte(`{"signed":{"_type":"snapshot","spec_version":"1.0.31","version":1,"expires":"2030-01-01T00:00:00Z","meta":{"targets.json":null}},"signatures":[]}`))
	f.Add([]byte(`{"signed":{"_type":"targets","spec_version":"1.0.31","version":1,"expires":"2030-01-01T00:00:00Z","targets":{"a":null},"delegations":{"keys":{},"roles":[{"name":"b","keyids":[],"threshold":1,"paths":["["]}]}},"signatures":[]}`))
	f.Add([]byte(`{"signed":{"_type":"targets","spec_version":"1.0.31","version":1,"expires":"2030-01-01T00:00:00Z","targets":{},"delegations":{"keys":{},"succinct_roles":{"keyids":[],"threshold":1,"bit_length":99,"name_prefix":"b"}}},"signatures":[]}`))
	f.Fuzz(func(_ *testing.T, data []byte) {
		if root, err := selfSigned(data); err == nil {
			_, _ = ringOf(root, "timestamp")
		}
		_, _ = parse[metadata.TimestampType]("timestamp", data)
		if doc, err := parse[metadata.SnapshotType]("snapshot", data); err == nil {
			_ = holdsAll(doc, doc)
		}
		if doc, err := parse[metadata.TargetsType]("targets", data); err == nil {
			visits, _, _ := responsible(doc.Signed.Delegations, "bottles/1")
			for _, v := range append(visits, everyone(doc.Signed.Delegations)...) {
				_ = v.ring.check(v.role, doc)
			}
			for name, t := range doc.Signed.Targets {
				if t != nil {
					_, _ = (&Client{set: &set{root: metadata.Root()}}).info(name, t)
				}
			}
		}
	})
}
