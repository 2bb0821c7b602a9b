package outbox

import (
	"bufio"
	"bytes"
	"os"
	"testing"
)

// FuzzSurvey shows the reader of pages any bytes: it must come to an end, without a panic and within the file.
func FuzzSurvey(f *testing.F) {
	cfg := config(f.TempDir())
	b := start(f, cfg)
	for i := range 300 {
		b.Put(result(i))
	}
	b.Put(alarm(1))
	if err := b.stop(); err != nil {
		f.Fatal(err)
	}
	whole, err := os.ReadFile(cfg.Path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte{})
	f.Add([]byte{0, 48, 8, 1, 0, 64, 17, 255, 0, 32, 0, 4})
	f.Add([]byte{0, 80, 20, 0x80, 0, 0, 70, 1, 0, 16, 70, 1})
	f.Fuzz(func(t *testing.T, edits []byte) { // each: 3 bytes where, 1 byte what
		b := bytes.Clone(whole)
		for ; len(edits) >= 4; edits = edits[4:] {
			b[(int(edits[0])<<16|int(edits[1])<<8|int(edits[2]))%len(b)] ^= edits[3]
		}
		groups := 0
		count := func(found) error { groups++; return nil }
		_, _ = surveyPages(bytes.NewReader(b), int64(len(b)), true, count)
		_ = scavenge(bytes.NewReader(b), int64(len(b)), count, &salvaged{})
		if groups > len(b) {
			t.Errorf("%d groups in %d bytes", groups, len(b))
		}
	})
}

// FuzzReadSalvage shows the parent what a child gone mad could send.
func FuzzReadSalvage(f *testing.F) {
	var whole bytes.Buffer
	whole.WriteString(salvageMagic)
	h := head{epoch: "12345678", first: 7, stream: "result", count: 1, size: 10}
	if err := writeGroup(&whole, 7, h, []byte("a body")); err != nil {
		f.Fatal(err)
	}
	f.Add(whole.Bytes())
	f.Add(append(bytes.Clone(whole.Bytes()), "e\x00\x00\x00\x02{}"...))
	f.Fuzz(func(t *testing.T, b []byte) {
		n := 0
		_, _ = readSalvage(bufio.NewReader(bytes.NewReader(b)), func(gs []*group) error { n += len(gs); return nil })
		if n*headBytes > len(b) {
			t.Errorf("%d groups out of %d bytes", n, len(b))
		}
	})
}
