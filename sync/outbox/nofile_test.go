package outbox

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// What is no file at all is nobody's damaged outbox: it stays where it is, and results stay in memory.
func TestWhatIsNoFileIsLeftAlone(t *testing.T) {
	for kind, put := range map[string]func(path string) error{
		"pipe":   func(path string) error { return unix.Mkfifo(path, 0o600) },
		"folder": func(path string) error { return os.Mkdir(path, 0o700) },
	} {
		cfg := config(t.TempDir())
		if err := put(cfg.Path); err != nil {
			t.Fatal(err)
		}
		b := start(t, cfg)
		s := b.until("found out", func(s Stats) bool { return s.State == memory })
		got, _ := filepath.Glob(filepath.Join(filepath.Dir(cfg.Path), "*"))
		if !strings.Contains(s.Reason, kind) || !strings.Contains(s.Reason, "outbox.path") || s.Quarantined != 0 || len(got) != 1 {
			t.Errorf("%s: %q, %d set aside, there is %v", kind, s.Reason, s.Quarantined, got)
		}
	}
}
