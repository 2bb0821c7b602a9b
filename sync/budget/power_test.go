package budget

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"heron/internal/slotfile"
)

var (
	call   = regexp.MustCompile(`^\d+ +(\w+)\((\d+)?.*\) += (-?\d+)`)
	quoted = regexp.MustCompile(`"((?:\\x[0-9a-f]{2})*)"`)
)

// bytesOf are those that strace -xx shows.
func bytesOf(line string) []byte {
	m := quoted.FindStringSubmatch(line)
	if m == nil {
		return nil
	}
	b, _ := hex.DecodeString(strings.ReplaceAll(m[1], `\x`, ""))
	return b
}

// At every moment of a download what a power cut leaves on the disk counts all that came: the ledger is written and synced first.
func TestFault_S4_PowerCutAtAnyMomentForgetsNoByte(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("strace is not installed")
	}
	data := make([]byte, 3*mib+1234)
	rnd := rand.New(rand.NewPCG(1, 2))
	for i := range data {
		data[i] = byte(rnd.Uint32())
	}
	sum := sha256.Sum256(data)
	dir := t.TempDir()
	log := filepath.Join(dir, "log")
	cmd := exec.CommandContext(t.Context(), strace, "-f", "-xx", "-s", "4096", "-e", "trace=openat,pwrite64,fdatasync,write", "-o", log, os.Args[0])
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s|%s|%d|%s", childEnv, server(t, data), filepath.Join(dir, "model"), len(data), hex.EncodeToString(sum[:])))
	if out, err := cmd.CombinedOutput(); err != nil {
		if strings.Contains(string(out), "ptrace") {
			t.Skipf("strace may not trace here: %.200s", out)
		}
		t.Fatalf("%v: %.300s", err, out)
	}
	text, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	ledger, unfinished := "", map[string]string{} // descriptor; by thread
	var written, safe, came, worst int64
	for _, line := range strings.Split(string(text), "\n") {
		pid, _, _ := strings.Cut(line, " ")
		if head, ok := strings.CutSuffix(line, " <unfinished ...>"); ok {
			unfinished[pid] = head
			continue
		}
		if _, tail, ok := strings.Cut(line, " resumed>"); ok {
			line = unfinished[pid] + tail
		}
		m := call.FindStringSubmatch(line)
		switch {
		case m == nil:
		case m[1] == "openat" && strings.HasSuffix(string(bytesOf(line)), "/budget"):
			ledger = m[3]
		case m[1] == "pwrite64" && m[2] == ledger:
			if text, _, ok := slotfile.Parse(bytesOf(line)); ok {
				p := pages{}
				if err := json.Unmarshal(text, &p); err != nil {
					t.Fatal(err)
				}
				written = p.Day.Spent
			}
		case m[1] == "fdatasync" && m[2] == ledger:
			safe = written
		case m[1] == "write" && m[2] == "1":
			if n, err := strconv.ParseInt(strings.TrimSpace(string(bytesOf(line))), 10, 64); err == nil {
				came = n
			}
			if worst = max(worst, safe-came); came > safe {
				t.Fatalf("%d bytes came when the ledger on the disk had %d", came, safe)
			}
		}
	}
	t.Logf("%d bytes came; the ledger was never behind and at most %d bytes ahead", came, worst)
	if came != int64(len(data)) || worst == 0 || worst > block+ask {
		t.Error("the trace is not that of the download, or the ledger is too far ahead")
	}
}
