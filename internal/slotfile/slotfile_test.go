package slotfile

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

func open(t testing.TB, path string) *File {
	t.Helper()
	s, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func read(t testing.TB, s *File) string {
	t.Helper()
	text, _, err := s.Read()
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestTheNewestRecordIsRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	s := open(t, path)
	if text, blank, err := s.Read(); text != nil || !blank || err != nil {
		t.Errorf("a new file holds %q, blank %v, %v", text, blank, err)
	}
	for i := range 5 {
		want := fmt.Sprint("record ", i)
		if err := s.Write([]byte(want)); err != nil {
			t.Fatal(err)
		}
		if got := read(t, open(t, path)); got != want {
			t.Errorf("read %q, want %q", got, want)
		}
	}
	if err := s.Write(make([]byte, Size)); err == nil {
		t.Error("a record larger than its slot was taken")
	}
	if got := read(t, s); got != "record 4" {
		t.Errorf("after a refusal it holds %q", got)
	}
}

// Fault S4: a power cut at any byte of a write leaves the new record or the one before it, and a writer that goes on from there.
func TestFault_S4_TornAtAnyByte(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	s := open(t, path)
	for _, text := range []string{"one", "two"} {
		if err := s.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	before, _ := os.ReadFile(path)
	if err := s.Write([]byte("three")); err != nil {
		t.Fatal(err)
	}
	after, _ := os.ReadFile(path)
	for cut := range len(after) + 1 {
		if err := os.WriteFile(path, append(bytes.Clone(after[:cut]), before[cut:]...), 0o600); err != nil {
			t.Fatal(err)
		}
		torn := open(t, path)
		if got := read(t, torn); got != "two" && got != "three" {
			t.Fatalf("cut after %d bytes: %q", cut, got)
		}
		if err := torn.Write([]byte("four")); err != nil || read(t, torn) != "four" {
			t.Fatalf("cut after %d bytes: the next record is %q, %v", cut, read(t, torn), err)
		}
		_ = torn.Close()
	}
}

// FuzzSlot: a slot that was hit anywhere is the record that was written, or none.
func FuzzSlot(f *testing.F) {
	f.Add(uint16(0), byte(1), []byte(`{"done":5}`))
	f.Add(uint16(30), byte(255), []byte("Sat, 21 Nov 2026 12:00:00 GMT"))
	f.Fuzz(func(t *testing.T, at uint16, xor byte, text []byte) {
		path := filepath.Join(t.TempDir(), "f")
		s := open(t, path)
		if err := s.Write(text); err != nil {
			t.Skip(err)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		slot := b[Size:] // the first record is number 1
		slot[int(at)%Size] ^= xor
		if got, n, ok := Parse(slot); ok && (n != 1 || !bytes.Equal(got, text)) {
			t.Errorf("%q became %d %q", text, n, got)
		}
	})
}
