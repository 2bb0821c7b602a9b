package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What a person gets wrong is told before anything is asked, dialled or written: exit code 2, and nothing else is.
func TestWrongUsageIsCodeTwo(t *testing.T) {
	dir := t.TempDir()
	phrase := filepath.Join(dir, "passphrase")
	if err := os.WriteFile(phrase, []byte("one two three four\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	repository := filepath.Join(dir, "repository")
	if _, msg, code := heron(t, "fleet", "repo", "init", "--repo", repository, "--passphrase-file", phrase); code != 0 {
		t.Fatalf("exit %d: %s", code, msg)
	}
	nobodyThere := []string{"--broker", "mqtt://127.0.0.1:1", "--group", "acme"}
	repo := func(verb string, more ...string) []string {
		return append([]string{"fleet", "repo", verb, "--dry-run", "--repo", repository}, more...)
	}
	push := append([]string{"fleet", "push", "--model", "bottles/1.0.0"}, nobodyThere...)
	for _, c := range []struct {
		name string
		args []string
		says string
	}{
		{"the help of a command of a command", []string{"fleet", "export", "--for", "soon"}, "see heron fleet export --help"},
		{"a word that is no command", []string{"fleet", "repo", "frob"}, "see heron fleet repo --help"},
		{"a window that is none", append(push[:len(push):len(push)], "--window", "22-5"), "window"},
		{"a salt too long", append(push[:len(push):len(push)], "--salt", strings.Repeat("s", 3000)), "salt"},
		{"a pattern that is none", append(push[:len(push):len(push)], "--label", "site=["), "labels.site"},
		{"no time for an answer", append([]string{"fleet", "cmd", "dev-1", "ping", "--timeout", "0"}, nobodyThere...), "--timeout"},
		{"a page nowhere", []string{"demo", "--listen", "rubbish!"}, "--listen"},
		{"a page's address that is none", []string{"status", "--address", "rubbish!"}, "--address"},
		{"no heron-vision", []string{"accel", "list", "--vision", "rubbish!"}, `vision.command: "rubbish!" is neither`},
		{"a lifetime of nothing", []string{"fleet", "repo", "init", "--repo", filepath.Join(dir, "new"), "--root-expires", "0s"}, "lifetime"},
		{"no keys", []string{"fleet", "repo", "init", "--repo", filepath.Join(dir, "new"), "--root-keys", "0"}, "0 keys"},
		{"a folder that is taken", []string{"fleet", "repo", "init", "--repo", repository}, "not empty"},
		{"no repository", []string{"fleet", "repo", "refresh", "--repo", dir}, "fleet repo init"},
		{"a file for a repository", []string{"fleet", "repo", "refresh", "--repo", phrase}, "fleet repo init"},
		{"no repository to verify", []string{"fleet", "repo", "verify", "--repo", dir}, "fleet repo init"},
		{"no repository to serve", []string{"fleet", "repo", "serve", "--dry-run", "--repo", dir}, "fleet repo init"},
		{"an address that is none", repo("serve", "--listen", "rubbish!"), "--listen"},
		{"a URL that is none", repo("verify", "--url", "rubbish!"), "--url"},
		{"a role that is none", repo("rotate", "captain"), "captain"},
		{"a role to refresh that is none", repo("refresh", "captain"), "captain"},
		{"a key that is none", repo("rotate", "targets", "--replace", "nobody"), "nobody"},
		{"another number of timestamp's keys", repo("rotate", "timestamp", "--add"), "one key"},
		{"a threshold too high", repo("rotate", "targets", "--threshold", "3"), "threshold of 3"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, msg, code := heron(t, c.args...)
			if code != 2 || !strings.Contains(msg, c.says) {
				t.Errorf("exit %d, want 2 and %q: %s", code, c.says, msg)
			}
			oneLine(t, msg)
		})
	}
}
