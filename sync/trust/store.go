package trust

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"heron/internal/atomicfile"
)

// store is the folder of the trusted metadata: root.json, timestamp.json, … without their versions, and the floor in two copies.
// What it holds is never believed because it is there: each file is verified again when it is read.
type store struct{ dir string }

// floor is what must survive the loss of the metadata: the time, and the versions that were once trusted.
type floor struct {
	Time      time.Time `json:"time"`
	Root      int64     `json:"root"`
	Timestamp int64     `json:"timestamp"`
	Snapshot  int64     `json:"snapshot"`
}

// saveTimeEvery spares the card: a floor that only gained time is written this seldom.
const saveTimeEvery = time.Hour

// maxNameLength keeps an escaped role name, with its ending, under the 255 bytes that a file name may have.
const maxNameLength = 200

// fileName is the part of a URL, and of a path on disk, that stands for a role: nothing in it can leave the folder.
func fileName(role string) (string, error) {
	name := strings.ReplaceAll(url.QueryEscape(role), "+", "%20")
	if role == "" || len(name) > maxNameLength {
		return "", fmt.Errorf("%w: the role name %.40q is empty or too long", ErrMalformed, role)
	}
	return name + ".json", nil
}

// read returns nil where there is no such file or it cannot be one of ours.
func (s store) read(role string) []byte {
	name, err := fileName(role)
	if err != nil {
		return nil
	}
	f, err := os.Open(filepath.Join(s.dir, name))
	if err != nil {
		return nil
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limitOf(role)+1))
	if err != nil || int64(len(data)) > limitOf(role) {
		return nil
	}
	return data
}

func (s store) write(role string, data []byte) error {
	name, err := fileName(role)
	if err != nil {
		return err
	}
	if err := atomicfile.Write(filepath.Join(s.dir, name), data, 0o600); err != nil {
		return fmt.Errorf("keeping the metadata of %s: %w", role, err)
	}
	return nil
}

func (s store) remove(role string) error {
	name, err := fileName(role)
	if err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(s.dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forgetting the metadata of %s: %w", role, err)
	}
	return atomicfile.SyncDir(s.dir)
}

// sweep removes what a power cut left half written. It is never read; but each would stay for ever.
func (s store) sweep() error {
	left, err := filepath.Glob(filepath.Join(s.dir, ".*"))
	for _, path := range left {
		if name := filepath.Base(path); strings.Contains(name, ".json") || strings.HasPrefix(name, ".floor.") {
			err = errors.Join(err, os.Remove(path))
		}
	}
	return err
}

func (s store) floorFiles() [2]string {
	return [2]string{filepath.Join(s.dir, "floor.a"), filepath.Join(s.dir, "floor.b")}
}

// loadFloor takes the higher of both copies, number by number; a damaged copy counts for nothing.
func (s store) loadFloor() floor {
	var f floor
	for _, path := range s.floorFiles() {
		c := readFloor(path)
		f = floor{latest(f.Time, c.Time), max(f.Root, c.Root), max(f.Timestamp, c.Timestamp), max(f.Snapshot, c.Snapshot)}
	}
	return f
}

func readFloor(path string) floor {
	st, err := os.Stat(path)
	if err != nil || st.Size() > 4096 {
		return floor{}
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return floor{}
	}
	sum, body, _ := strings.Cut(string(data), " ")
	var f floor
	if sum != checksum([]byte(body)) || json.Unmarshal([]byte(body), &f) != nil {
		return floor{}
	}
	return f
}

func checksum(data []byte) string {
	return fmt.Sprintf("%08x", crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli)))
}

// saveFloor writes both copies, one after the other, when there is something to gain.
func (s store) saveFloor(f floor) error {
	old := [2]floor{readFloor(s.floorFiles()[0]), readFloor(s.floorFiles()[1])}
	for i, path := range s.floorFiles() {
		o := old[i]
		if f.Root == o.Root && f.Timestamp == o.Timestamp && f.Snapshot == o.Snapshot && f.Time.Sub(o.Time) < saveTimeEvery {
			continue
		}
		body, err := json.Marshal(f)
		if err != nil {
			return err
		}
		if err := atomicfile.Write(path, []byte(checksum(body)+" "+string(body)), 0o600); err != nil {
			return fmt.Errorf("keeping the floor: %w", err)
		}
	}
	return nil
}
