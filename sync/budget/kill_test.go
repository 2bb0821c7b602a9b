package budget

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"heron/internal/fetch"
)

const childEnv = "HERON_BUDGET_TEST_CHILD"

func TestMain(m *testing.M) {
	if job := os.Getenv(childEnv); job != "" {
		os.Exit(child(strings.Split(job, "|")))
	}
	os.Exit(m.Run())
}

// child is a heron that fetches within a budget, and says how many bytes it has got, until it is killed, or the budget is spent (3).
func child(job []string) int {
	size, _ := strconv.ParseInt(job[2], 10, 64)
	b, err := New(Config{Path: filepath.Join(filepath.Dir(job[1]), "budget"), PerDay: 8 * mib, PerMonth: 1 << 30})
	if err != nil {
		return 1
	}
	c, err := fetch.New(fetch.Config{Hosts: []string{job[0]}, AllowLoopbackHTTP: true, Budget: b})
	if err != nil {
		return 1
	}
	err = c.File(context.Background(), fetch.Request{URLs: []string{job[0]}, Path: job[1], Size: size, SHA256: job[3], Progress: func(int64, int64) { fmt.Println(c.Stats().Received) }})
	var spent *fetch.BudgetError
	switch {
	case errors.As(err, &spent):
		fmt.Fprintln(os.Stderr, err)
		return 3
	case err != nil:
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// SIGKILL at random moments of a download from a real server: no byte comes for free, and a kill costs a block at most. When the budget is
// spent the download stops by itself; with a larger one it goes on where it was, and ends.
func TestFault_U1_KilledInTheMiddle(t *testing.T) {
	data := make([]byte, 20*mib)
	seed := uint64(time.Now().UnixNano())
	rnd := rand.New(rand.NewPCG(seed, 1))
	for i := range data {
		data[i] = byte(rnd.Uint32())
	}
	sum := sha256.Sum256(data)
	dir := t.TempDir()
	url := server(t, data)
	job := fmt.Sprintf("%s|%s|%d|%s", url, filepath.Join(dir, "model"), len(data), hex.EncodeToString(sum[:]))
	received, kills, says := int64(0), int64(0), ""
	for says == "" {
		got, code, text := runChild(t, job, 1+rnd.Int64N(3*mib))
		received += got
		switch code {
		case 3:
			says = text
		case -1:
			kills++
		default:
			t.Fatalf("seed %d: exit code %d: %s", seed, code, text)
		}
		if kills > 40 {
			t.Fatalf("seed %d: %d bytes received in %d lives, and nothing is spent", seed, received, kills)
		}
	}
	b, err := New(Config{Path: filepath.Join(dir, "budget"), PerDay: 64 * mib, PerMonth: 1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	b.Check(t.Context())
	day := b.State().Day
	t.Logf("seed %d: %d kills, %d bytes received, %d in the ledger; then: %s", seed, kills, received, day, strings.TrimSpace(says))
	if received > 8*mib || day < received || day > received+(kills+1)*(block+ask) || !strings.Contains(says, "the day's budget of 8 MiB is spent; goes on") {
		t.Error("bytes came for free, were lost, or nobody says why it waits")
	}
	c, err := fetch.New(fetch.Config{Hosts: []string{url}, AllowLoopbackHTTP: true, Budget: b})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.File(t.Context(), fetch.Request{URLs: []string{url}, Path: filepath.Join(dir, "model"), Size: int64(len(data)), SHA256: hex.EncodeToString(sum[:])}); err != nil {
		t.Error(err)
	}
	if s := c.Stats(); s.Resumed != 1 || s.Received > int64(len(data))-received+(kills+1)*mib {
		t.Errorf("the rest: %+v", s)
	}
}

// runChild kills it when it has got stop bytes; code is then -1.
func runChild(t *testing.T, job string, stop int64) (got int64, code int, says string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, os.Args[0])
	c.Env = append(os.Environ(), childEnv+"="+job)
	var errOut strings.Builder
	c.Stderr = &errOut
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	for s := bufio.NewScanner(out); s.Scan(); {
		if got, err = strconv.ParseInt(s.Text(), 10, 64); err != nil {
			t.Fatal(s.Text())
		}
		if got >= stop {
			_ = c.Process.Kill()
		}
	}
	_ = c.Wait()
	return got, c.ProcessState.ExitCode(), errOut.String()
}
