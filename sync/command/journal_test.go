package command

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"heron/sync/message"
)

func ended(id, status string, at time.Time) entry {
	return entry{Answer: message.Answer{V: 1, ID: id, Status: status, At: at}, Kind: "ping"}
}

func opened(t *testing.T, path string) *journal {
	t.Helper()
	j, err := openJournal(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(j.close)
	return j
}

// The last thousand are known, over a restart, too; refusals do not push out what was done; the file stays small.
func TestThousandAreKnown(t *testing.T) {
	path := filepath.Join(t.TempDir(), "j")
	j := opened(t, path)
	for i := range 600 {
		put(t, j, ended(fmt.Sprint("done", i), message.StatusSucceeded, now()))
	}
	for i := range 2000 {
		put(t, j, ended(fmt.Sprint("refused", i), message.StatusRejected, now()))
	}
	check := func(j *journal, first int) {
		t.Helper()
		if len(j.known) != maxKnown {
			t.Errorf("%d known", len(j.known))
		}
		for i := range 1000 {
			if _, ok := j.known[fmt.Sprint("done", i)]; ok != (i >= first && i < first+1000 && (first > 0 || i < 600)) {
				t.Fatalf("done%d: known %v", i, ok)
			}
		}
	}
	check(j, 0)
	j.close()
	j = opened(t, path)
	check(j, 0)
	for i := 600; i < 1500; i++ {
		put(t, j, ended(fmt.Sprint("done", i), message.StatusSucceeded, now()))
	}
	check(j, 500)
	check(opened(t, path), 500)
	if st, err := os.Stat(path); err != nil || st.Size() > 1<<20 {
		t.Errorf("%d bytes, %v", st.Size(), err)
	}
}

func put(t *testing.T, j *journal, e entry) {
	t.Helper()
	if err := j.put(e, true); err != nil {
		t.Fatal(err)
	}
}

func TestSevenDays(t *testing.T) {
	j := opened(t, filepath.Join(t.TempDir(), "j"))
	old := now().Add(-maxAge - time.Minute)
	if err := j.put(ended("old", message.StatusSucceeded, old), false); err != nil {
		t.Fatal(err)
	}
	if err := j.put(ended("running", message.StatusRunning, old), false); err != nil {
		t.Fatal(err)
	}
	if len(j.known) != 2 {
		t.Error("forgotten by a clock that is not in sync")
	}
	put(t, j, ended("new", message.StatusSucceeded, now()))
	if _, ok := j.known["old"]; ok || len(j.known) != 2 {
		t.Errorf("%d known", len(j.known))
	}
}

// A power cut at any byte: what was synced before is known, and the journal goes on.
func TestPowerCutAtEveryByte(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "j")
	j := opened(t, path)
	for i := range 5 {
		put(t, j, ended(fmt.Sprint("c", i), message.StatusSucceeded, now()))
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for cut := range len(whole) + 1 {
		torn := filepath.Join(dir, "torn")
		if err := os.WriteFile(torn, whole[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		j, err := openJournal(torn)
		if err != nil {
			t.Fatalf("cut at %d: %v", cut, err)
		}
		if want := bytes.Count(whole[:cut], []byte("\n")); len(j.known) != want {
			t.Fatalf("cut at %d: %d known, want %d", cut, len(j.known), want)
		}
		if cut%20 == 0 {
			put(t, j, ended("next", message.StatusSucceeded, now()))
			j.close()
			if again := opened(t, torn); again.known["next"].ID == "" {
				t.Fatalf("cut at %d: the next one is lost", cut)
			}
		}
		j.close()
	}
}

// Every flipped byte is found, told, and costs its line only.
func TestDamagedLineIsLeftOut(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "j")
	j := opened(t, path)
	for i := range 3 {
		put(t, j, ended(fmt.Sprint("c", i), message.StatusSucceeded, now()))
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	second := bytes.IndexByte(whole, '\n') + 1
	third := second + bytes.IndexByte(whole[second:], '\n') + 1
	for at := second; at < third-1; at++ {
		b := bytes.Clone(whole)
		b[at] ^= 1
		bad := filepath.Join(dir, "bad")
		if err := os.WriteFile(bad, b, 0o600); err != nil {
			t.Fatal(err)
		}
		j, err := openJournal(bad)
		if err == nil || !strings.Contains(err.Error(), "damaged lines left out") || len(j.known) != 2 {
			t.Fatalf("byte %d: %v, %d known", at, err, len(j.known))
		}
	}
}

func FuzzJournal(f *testing.F) {
	f.Add([]byte("00000000 {}\n"))
	f.Add(writeLine(line{Last: map[string]moment{"reboot": {Boot: "a"}}}))
	e := ended("a", message.StatusRunning, time.Date(2026, 11, 20, 13, 0, 0, 0, time.UTC))
	f.Add(writeLine(line{Entry: &e}))
	f.Fuzz(func(t *testing.T, b []byte) {
		path := filepath.Join(t.TempDir(), "j")
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		j, _ := openJournal(path)
		n := len(j.known)
		if again, err := openJournal(path); err != nil || len(again.known) != n {
			t.Fatalf("%v: %d, then %d", err, n, len(again.known))
		}
	})
}
