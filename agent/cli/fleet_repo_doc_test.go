package cli

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestRepositoryPage runs the commands of docs/operations/repository.md as they stand: the ceremony, two versions of a model, two people
// who must both sign, and every key exchanged.
func TestRepositoryPage(t *testing.T) {
	notShort(t)
	page, err := os.ReadFile("../../docs/operations/repository.md")
	must(t, err)
	dir := t.TempDir()
	packBundle(t, filepath.Join(dir, "bottles-1.4.2.tar.zst"), "bottles", "1.4.2", []byte("one"))
	packBundle(t, filepath.Join(dir, "bottles-1.5.0.tar.zst"), "bottles", "1.5.0", []byte("two"))
	web := filepath.Join(dir, "web")
	srv := httptest.NewServer(http.FileServer(http.Dir(web)))
	defer srv.Close()
	for _, name := range []string{"alice", "bob", "stick", "web/targets", "web/metadata", "bin"} {
		must(t, os.MkdirAll(filepath.Join(dir, name), 0o700))
	}
	typist(t, dir)
	var script strings.Builder
	for _, b := range shellBlocks.FindAllStringSubmatch(string(page), -1) {
		script.WriteString(b[1])
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, "bash", "-xc", script.String())
	c.Dir, c.WaitDelay = dir, 5*time.Second
	c.Env = append(os.Environ(), "PATH="+filepath.Join(dir, "bin")+":"+os.Getenv("PATH"), "ALICE="+dir+"/alice", "BOB="+dir+"/bob", "STICK="+dir+"/stick", "WEB="+web, "URL="+srv.URL)
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{"new key  root-3", "root needs 1 more of: root-2, root-3", "root 2: timestamp loses the key timestamp-1 (", "bottles needs 1 more of: bottles-2",
		"bottles 4: bottles/1.5.0, ", "snapshot needs 1 more of: snapshot-1", "2 targets, ", "5 targets, "} {
		if !strings.Contains(string(out), want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
}

// typist puts a heron into dir/bin whose passphrases nobody need type, and, where there is none, an rsync that copies just so much.
func typist(t *testing.T, dir string) {
	t.Helper()
	must(t, os.WriteFile(filepath.Join(dir, "phrase"), []byte("a test's passphrase\n"), 0o600))
	heron := fmt.Sprintf("#!/bin/sh\nHERON_TEST_ROLE=heron exec %q \"$@\" --passphrase-file %q\n", os.Args[0], filepath.Join(dir, "phrase"))
	must(t, os.WriteFile(filepath.Join(dir, "bin/heron"), []byte(heron), 0o700))
	if _, err := exec.LookPath("rsync"); err == nil {
		return
	}
	t.Log("no rsync here: a few lines of shell copy in its place")
	const rsync = `#!/bin/bash
set -eu
skip=()
while [ $# -gt 2 ]; do
	case $1 in -a) shift ;; --exclude) skip+=("$2"); shift 2 ;; esac
done
if [ -f "$1" ]; then cp "$1" "$2"; exit; fi
(cd "$1"; find . -type f) | while read -r f; do
	for p in "${skip[@]}"; do case ${f##*/} in $p) continue 2 ;; esac; done
	mkdir -p "$(dirname "$2/$f")"; cp "$1/$f" "$2/$f"
done
`
	must(t, os.WriteFile(filepath.Join(dir, "bin/rsync"), []byte(rsync), 0o700))
}
