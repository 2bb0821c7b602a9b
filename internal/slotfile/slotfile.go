// Package slotfile keeps one small record in a file of two slots, written in turns and in place: a torn write takes the new record and
// never the old one, and once the file is there nothing is allocated or renamed for it. One write is one page and one sync.
package slotfile

import (
	"fmt"
	"hash/crc32"
	"os"

	"golang.org/x/sys/unix"
)

// Size of a slot: a page of the disk, so that a torn write of one does not touch the other.
const Size = 4096

const head = 31 // of a slot, before its text

// File is open. It is for one goroutine at a time; whoever shares the path with others locks something first.
type File struct {
	f *os.File
	n uint64 // of the newest slot
}

// Open opens the file, and makes it where there is none. A file of another length becomes an empty one.
func Open(path string) (*File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	st, err := f.Stat()
	if err == nil && st.Size() != 2*Size {
		_, err = f.WriteAt(make([]byte, 2*Size), 0)
		if err == nil {
			err = f.Truncate(2 * Size)
		}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return &File{f: f}, nil
}

// Read gives the newest record that is whole; nil: there is none. blank: nothing was ever written here, so that nothing is lost either.
func (s *File) Read() (text []byte, blank bool, err error) {
	b := make([]byte, 2*Size)
	if _, err := s.f.ReadAt(b, 0); err != nil {
		return nil, false, err
	}
	s.n = 0
	for _, slot := range [][]byte{b[:Size], b[Size:]} {
		if t, n, ok := Parse(slot); ok && n > s.n {
			text, s.n = t, n
		}
	}
	return text, allZero(b), nil
}

func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// Write puts a record in the older slot and syncs it. After an error nobody knows whether it is there.
func (s *File) Write(text []byte) error {
	if len(text) > Size-head {
		return fmt.Errorf("a record of %d bytes, at most %d are possible", len(text), Size-head)
	}
	s.n++
	body := fmt.Appendf(nil, "%016x %04x %s", s.n, len(text), text)
	slot := fmt.Appendf(nil, "%08x %s", sum(body), body)
	if _, err := s.f.WriteAt(slot, int64(s.n%2)*Size); err != nil {
		return err
	}
	for {
		if err := unix.Fdatasync(int(s.f.Fd())); err != unix.EINTR {
			return err
		}
	}
}

// Close lets go of the file.
func (s *File) Close() error { return s.f.Close() }

func sum(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }

// Parse reads one slot: the CRC-32C of what follows in eight hex digits, a blank, its number in sixteen, a blank, the length of the text in
// four, a blank, the text.
func Parse(slot []byte) (text []byte, n uint64, ok bool) {
	var crc, size uint32
	if len(slot) < head {
		return nil, 0, false
	}
	if _, err := fmt.Sscanf(string(slot[:head]), "%08x %016x %04x ", &crc, &n, &size); err != nil || int(size) > len(slot)-head {
		return nil, 0, false
	}
	if n == 0 || sum(slot[9:head+size]) != crc {
		return nil, 0, false
	}
	return slot[head : head+size], n, true
}
