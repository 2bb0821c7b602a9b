package repo

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/theupdateframework/go-tuf/v2/metadata"

	"heron/internal/atomicfile"
)

// state is one consistent whole, as published.
type state struct {
	root      *metadata.Metadata[metadata.RootType]
	targets   map[string]*metadata.Metadata[metadata.TargetsType] // targets, and each family
	snapshot  *metadata.Metadata[metadata.SnapshotType]
	timestamp *metadata.Metadata[metadata.TimestampType]
}

// published reads what a client would be given now.
func (r *Repo) published() (*state, error) {
	s := &state{targets: map[string]*metadata.Metadata[metadata.TargetsType]{}}
	var err error
	for n := int64(1); ; n++ {
		next, readErr := read[metadata.RootType](r.path(metadataDir, fmt.Sprintf("%d.root.json", n)))
		if errors.Is(readErr, fs.ErrNotExist) {
			break
		}
		if readErr != nil {
			return nil, readErr
		}
		s.root = next
	}
	if s.root == nil {
		return nil, fmt.Errorf("%s holds no 1.root.json", r.path(metadataDir))
	}
	if s.timestamp, err = read[metadata.TimestampType](r.path(metadataDir, "timestamp.json")); err != nil {
		return nil, err
	}
	named := s.timestamp.Signed.Meta["snapshot.json"]
	if named == nil {
		return nil, errors.New("timestamp.json names no snapshot")
	}
	if s.snapshot, err = read[metadata.SnapshotType](r.path(metadataDir, fmt.Sprintf("%d.snapshot.json", named.Version))); err != nil {
		return nil, err
	}
	for name, m := range s.snapshot.Signed.Meta {
		doc, err := read[metadata.TargetsType](r.path(metadataDir, fmt.Sprintf("%d.%s", m.Version, name)))
		if err != nil {
			return nil, err
		}
		s.targets[strings.TrimSuffix(name, ".json")] = doc
	}
	return s, nil
}

func read[T metadata.Roles](path string) (*metadata.Metadata[T], error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	doc, err := (&metadata.Metadata[T]{}).FromBytes(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return doc, nil
}

// sheet is one role's metadata, whatever its kind.
type sheet interface {
	Sign(signature.Signer) (*metadata.Signature, error)
	ToBytes(pretty bool) ([]byte, error)
	signatures() *[]metadata.Signature
	verifiable() any // as VerifyDelegate wants it
}

type sheetOf[T metadata.Roles] struct{ *metadata.Metadata[T] }

func (s sheetOf[T]) signatures() *[]metadata.Signature { return &s.Signatures }
func (s sheetOf[T]) verifiable() any                   { return s.Metadata }

// sheet of a role: root, snapshot, timestamp, targets or a family.
func (s *state) sheet(role string) sheet {
	switch role {
	case metadata.ROOT:
		return sheetOf[metadata.RootType]{s.root}
	case metadata.SNAPSHOT:
		return sheetOf[metadata.SnapshotType]{s.snapshot}
	case metadata.TIMESTAMP:
		return sheetOf[metadata.TimestampType]{s.timestamp}
	}
	return sheetOf[metadata.TargetsType]{s.targets[role]}
}

func (s *state) version(role string) int64 {
	switch role {
	case metadata.ROOT:
		return s.root.Signed.Version
	case metadata.SNAPSHOT:
		return s.snapshot.Signed.Version
	case metadata.TIMESTAMP:
		return s.timestamp.Signed.Version
	}
	return s.targets[role].Signed.Version
}

func write(s sheet, path string) error {
	data, err := s.ToBytes(false)
	if err != nil {
		return err
	}
	return atomicfile.Write(path, data, 0o644)
}

// metadataPath is where a version of a role is published.
func (r *Repo) metadataPath(role string, version int64) string {
	if role == metadata.TIMESTAMP {
		return r.path(metadataDir, "timestamp.json")
	}
	return r.path(metadataDir, fmt.Sprintf("%d.%s.json", version, role))
}

// freeVersion is the first number from version on that has no file: what was public once, if only in a publication that was cut short
// and dropped, never gets other bytes.
func (r *Repo) freeVersion(role string, version int64) int64 {
	for {
		if _, err := os.Lstat(r.metadataPath(role, version)); err != nil {
			return version
		}
		version++
	}
}

// until is when a signature made now ends: whole seconds, as the format has it.
func (r *Repo) until(d time.Duration) time.Time {
	return r.conf.Now().UTC().Truncate(time.Second).Add(d)
}
