package trust

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// day0 is the present of these tests.
var day0 = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

const day = 24 * time.Hour

// sim is a repository that signs whatever a test asks for, right or wrong, and serves it over HTTP.
type sim struct {
	t         *testing.T
	root      *metadata.Metadata[metadata.RootType]
	timestamp *metadata.Metadata[metadata.TimestampType]
	snapshot  *metadata.Metadata[metadata.SnapshotType]
	targets   map[string]*metadata.Metadata[metadata.TargetsType]
	signers   map[string][]ed25519.PrivateKey
	published map[string]bool
	first     []byte // root 1
	url       string
	now       time.Time

	mu     sync.Mutex
	files  map[string][]byte
	asked  []string
	answer func(http.ResponseWriter, *http.Request) bool // true: it has answered
}

func newSim(t *testing.T) *sim {
	t.Helper()
	s := &sim{t: t, now: day0, files: map[string][]byte{}, signers: map[string][]ed25519.PrivateKey{}, published: map[string]bool{}}
	end := day0.Add(30 * day)
	s.root, s.timestamp, s.snapshot = metadata.Root(end), metadata.Timestamp(end), metadata.Snapshot(end)
	s.targets = map[string]*metadata.Metadata[metadata.TargetsType]{"targets": metadata.Targets(end)}
	for _, role := range []string{"root", "timestamp", "snapshot", "targets"} {
		s.addKey(role)
	}
	s.publish("root", "targets", "snapshot", "timestamp")
	s.first = s.files["metadata/1.root.json"]
	srv := httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(srv.Close)
	s.url = srv.URL
	return s
}

func (s *sim) serve(w http.ResponseWriter, req *http.Request) {
	name := strings.TrimPrefix(req.URL.EscapedPath(), "/")
	s.mu.Lock()
	s.asked = append(s.asked, name)
	data, ok := s.files[name]
	answer := s.answer
	s.mu.Unlock()
	switch {
	case answer != nil && answer(w, req):
	case !ok:
		http.NotFound(w, req)
	default:
		_, _ = w.Write(data)
	}
}

// requests since the last call.
func (s *sim) requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.asked
	s.asked = nil
	return out
}

func (s *sim) edit(f func(files map[string][]byte)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(s.files)
}

func newKey() ed25519.PrivateKey {
	_, priv, err := ed25519.GenerateKey(nil)
	if err != nil {
		panic(err)
	}
	return priv
}

func tufKey(priv ed25519.PrivateKey) *metadata.Key {
	k, err := metadata.KeyFromPublicKey(priv.Public())
	if err != nil {
		panic(err)
	}
	return k
}

// addKey gives a top-level role one more key, which also signs from now on.
func (s *sim) addKey(role string) {
	s.t.Helper()
	priv := newKey()
	if err := s.root.Signed.AddKey(tufKey(priv), role); err != nil {
		s.t.Fatal(err)
	}
	s.signers[role] = append(s.signers[role], priv)
}

// rotate replaces all keys of a role by one new one. For root the old ones go on signing the next version.
func (s *sim) rotate(role string) {
	s.t.Helper()
	old := s.signers[role]
	s.root.Signed.Roles[role].KeyIDs = nil
	s.signers[role] = nil
	s.addKey(role)
	if role == "root" {
		s.signers[role] = append(s.signers[role], old...)
	}
}

// delegate adds a role below another, with a key of its own.
func (s *sim) delegate(from, role string, terminating bool, patterns ...string) {
	s.t.Helper()
	if s.signers[role] == nil {
		s.signers[role] = []ed25519.PrivateKey{newKey()}
	}
	doc := &s.targets[from].Signed
	if doc.Delegations == nil {
		doc.Delegations = &metadata.Delegations{Keys: map[string]*metadata.Key{}}
	}
	key := tufKey(s.signers[role][0])
	id, err := key.ID()
	if err != nil {
		s.t.Fatal(err)
	}
	doc.Delegations.Keys[id] = key
	doc.Delegations.Roles = append(doc.Delegations.Roles, metadata.DelegatedRole{Name: role, KeyIDs: []string{id}, Threshold: 1, Terminating: terminating, Paths: patterns})
	if s.targets[role] == nil {
		s.targets[role] = metadata.Targets(day0.Add(30 * day))
	}
}

// target puts bytes under a name.
func (s *sim) target(role, name string, data []byte) {
	sum := sha256.Sum256(data)
	s.targets[role].Signed.Targets[name] = &metadata.TargetFiles{Length: int64(len(data)), Hashes: metadata.Hashes{"sha256": sum[:]}, Path: name}
	i := strings.LastIndex(name, "/") + 1
	s.edit(func(f map[string][]byte) { f["targets/"+name[:i]+hex.EncodeToString(sum[:])+"."+name[i:]] = data })
}

// publish raises versions (not of what is published for the first time), signs, and puts the files up.
func (s *sim) publish(roles ...string) {
	s.t.Helper()
	for _, role := range roles {
		step := int64(0)
		if s.published[role] {
			step = 1
		}
		s.published[role] = true
		switch role {
		case "root":
			s.root.Signed.Version += step
			s.put(fmt.Sprintf("%d.root", s.root.Signed.Version), signed(s, role, s.root))
		case "timestamp":
			s.timestamp.Signed.Version += step
			s.put("timestamp", signed(s, role, s.timestamp))
		case "snapshot":
			s.snapshot.Signed.Version += step
			s.put(fmt.Sprintf("%d.snapshot", s.snapshot.Signed.Version), signed(s, role, s.snapshot))
			s.timestamp.Signed.Meta["snapshot.json"] = metadata.MetaFile(s.snapshot.Signed.Version)
		default:
			doc := s.targets[role]
			doc.Signed.Version += step
			name, err := fileName(role)
			if err != nil {
				s.t.Fatal(err)
			}
			s.put(fmt.Sprintf("%d.%s", doc.Signed.Version, strings.TrimSuffix(name, ".json")), signed(s, role, doc))
			s.snapshot.Signed.Meta[role+".json"] = metadata.MetaFile(doc.Signed.Version)
		}
	}
}

func (s *sim) put(name string, data []byte) {
	s.edit(func(f map[string][]byte) { f["metadata/"+name+".json"] = data })
}

func signed[T metadata.Roles](s *sim, role string, doc *metadata.Metadata[T]) []byte {
	s.t.Helper()
	doc.ClearSignatures()
	for _, priv := range s.signers[role] {
		signer, err := signature.LoadSigner(priv, crypto.Hash(0))
		if err != nil {
			s.t.Fatal(err)
		}
		if _, err := doc.Sign(signer); err != nil {
			s.t.Fatal(err)
		}
	}
	data, err := doc.ToBytes(false)
	if err != nil {
		s.t.Fatal(err)
	}
	return data
}

// client opens one in a folder; the same folder is the same device after a restart.
func (s *sim) client(dir string) *Client {
	s.t.Helper()
	c, err := Open(Config{Dir: dir, Root: s.first, MetadataURL: s.url + "/metadata", TargetsURL: s.url + "/targets", Now: func() time.Time { return s.now }})
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

// refreshed is a client that has seen the repository as it is.
func (s *sim) refreshed(dir string) *Client {
	s.t.Helper()
	c := s.client(dir)
	if err := c.Refresh(context.Background()); err != nil {
		s.t.Fatal(err)
	}
	return c
}

// version of a trusted role on disk; 0: none.
func version(t *testing.T, dir, role string) int64 {
	t.Helper()
	data := store{dir}.read(role)
	i := bytes.Index(data, []byte(`"version":`))
	var signed struct {
		Signed struct {
			Version int64 `json:"version"`
		} `json:"signed"`
	}
	if i < 0 {
		return 0
	}
	if err := json.Unmarshal(data, &signed); err != nil {
		t.Fatal(err)
	}
	return signed.Signed.Version
}
