package fetch

import (
	"encoding/json"
	"fmt"
	"hash/crc32"
	"os"

	"golang.org/x/sys/unix"
)

// record is what the journal says of a part.
type record struct {
	N         uint64 `json:"n"` // rises; the higher of two slots counts
	Size      int64  `json:"size"`
	SHA256    string `json:"sha256"`
	Done      int64  `json:"done"`                // bytes that were synced
	Validator string `json:"validator,omitempty"` // the strong ETag or the Last-Modified of the object they are from
	From      string `json:"from,omitempty"`      // which mirror's it is (a digest of its URL, which may be secret)
	Mixed     bool   `json:"mixed,omitempty"`     // bytes of several mirrors: a wrong digest is nobody's fault
}

const slotSize = 4096 // a page of the disk: a torn write of one slot does not touch the other

// journal is a file of two slots written in turns, in place: nothing is allocated or renamed for it once it is there.
type journal struct {
	f *os.File
	n uint64
}

func openJournal(path string) (*journal, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	j := &journal{f: f}
	if st, err := f.Stat(); err != nil || st.Size() != 2*slotSize {
		if err == nil {
			_, err = f.WriteAt(make([]byte, 2*slotSize), 0)
		}
		if err == nil {
			err = f.Truncate(2 * slotSize)
		}
		if err != nil {
			f.Close()
			return nil, err
		}
	}
	return j, nil
}

// read gives the newest slot that is whole, or nothing.
func (j *journal) read() record {
	var best record
	b := make([]byte, 2*slotSize)
	if _, err := j.f.ReadAt(b, 0); err != nil {
		return best
	}
	for _, slot := range [][]byte{b[:slotSize], b[slotSize:]} {
		if r, ok := parseSlot(slot); ok && r.N > best.N {
			best = r
		}
	}
	j.n = best.N
	return best
}

// A slot is the CRC-32C of the rest in eight hex digits, a blank, the length in four, a blank, and the record as JSON.
func parseSlot(b []byte) (r record, ok bool) {
	var sum, n uint32
	if _, err := fmt.Sscanf(string(b[:14]), "%08x %04x ", &sum, &n); err != nil || n > slotSize-14 {
		return r, false
	}
	text := b[14 : 14+n]
	if crc32.Checksum(text, crc32.MakeTable(crc32.Castagnoli)) != sum {
		return r, false
	}
	return r, json.Unmarshal(text, &r) == nil
}

func (j *journal) write(r record) error {
	j.n++
	r.N = j.n
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	slot := fmt.Appendf(nil, "%08x %04x %s", crc32.Checksum(text, crc32.MakeTable(crc32.Castagnoli)), len(text), text)
	if len(slot) > slotSize {
		return fmt.Errorf("a record of %d bytes", len(slot))
	}
	if _, err := j.f.WriteAt(slot, int64(j.n%2)*slotSize); err != nil {
		return err
	}
	return uninterrupted(func() error { return unix.Fdatasync(int(j.f.Fd())) })
}
