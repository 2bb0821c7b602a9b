package fetch

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

const childEnv = "HERON_FETCH_TEST_CHILD"

// child is a device: it fetches and says how far it is, until it is killed.
func child(job string) int {
	f := strings.Split(job, "|")
	size, _ := strconv.ParseInt(f[2], 10, 64)
	c, err := New(Config{Hosts: []string{f[0]}, AllowLoopbackHTTP: true, Limits: quick()})
	if err == nil {
		err = c.File(context.Background(), Request{URLs: []string{f[0]}, Path: f[1], Size: size, SHA256: f[3],
			Progress: func(done, _ int64) { fmt.Println(done) }})
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

// SIGKILL at random points: nothing that was received more than a megabyte before is asked for again.
func TestKilledProcessesLoseAtMostAMegabyte(t *testing.T) { killing(t, 12<<20, 5) }

func TestTortureKills(t *testing.T) {
	if os.Getenv("HERON_TORTURE") == "" {
		t.Skip("a hundred kills take a while; HERON_TORTURE=1 runs them")
	}
	killing(t, 64<<20, 100)
}

func killing(t *testing.T, size, kills int) {
	seed := uint64(time.Now().UnixNano())
	if s, err := strconv.ParseUint(os.Getenv("HERON_TORTURE_SEED"), 10, 64); err == nil {
		seed = s
	}
	rnd := rand.New(rand.NewPCG(seed, 1))
	o := &object{data: random(size), etag: `"1"`}
	url := serve(t, o)
	r := want(t, o.data, url)
	said, worst := int64(0), int64(0)
	for killed := 0; ; killed++ {
		stop := said + 1 + rnd.Int64N(int64(size)/int64(kills))
		if killed >= kills {
			stop = 1 << 62
		}
		before := len(o.requests())
		last, done := runChild(t, fmt.Sprintf("%s|%s|%d|%s", url, r.Path, r.Size, r.SHA256), stop)
		if asked := o.requests()[before:]; said > 0 && len(asked) > 0 {
			var from int64
			if asked[0] != "" {
				if _, err := fmt.Sscanf(asked[0], "bytes=%d-", &from); err != nil {
					t.Fatal(err)
				}
			}
			worst = max(worst, said-from)
		}
		if done {
			t.Logf("seed %d: %d kills, at most %d bytes fetched again", seed, killed, worst)
			break
		}
		said = last
	}
	arrived(t, r, o.data)
	if worst > 1<<20 {
		t.Errorf("seed %d: %d bytes were received and asked for again", seed, worst)
	}
}

// runChild kills it when it has said stop bytes or more; done: it ended by itself.
func runChild(t *testing.T, job string, stop int64) (last int64, done bool) {
	t.Helper()
	cmd := exec.CommandContext(limit(t), os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+job)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	killed := false
	for s := bufio.NewScanner(out); s.Scan(); {
		n, err := strconv.ParseInt(s.Text(), 10, 64)
		if err != nil {
			t.Fatalf("the child says %s", s.Text())
		}
		if last = n; n >= stop && !killed {
			killed = cmd.Process.Kill() == nil
		}
	}
	err = cmd.Wait()
	if err != nil && !killed {
		t.Fatal(err)
	}
	return last, err == nil
}
