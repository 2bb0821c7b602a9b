package outbox

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

// The times of a device, twenty times faster.
const (
	killSealAfter   = 250 * time.Millisecond
	killCommitAfter = 100 * time.Millisecond
)

// killed is one life of a device: what it said until it was killed.
type killed struct {
	lines []string
	at    time.Time
}

func liveAndDie(t *testing.T, j childJob, life time.Duration) killed {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), childEnv+"="+j.String())
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var k killed
	timer := time.AfterFunc(life, func() { k.at = time.Now(); _ = cmd.Process.Kill() })
	defer timer.Stop()
	for s := bufio.NewScanner(out); s.Scan(); {
		k.lines = append(k.lines, s.Text())
	}
	_ = cmd.Wait()
	return k
}

// toll is the account of a SIGKILL campaign.
type toll struct {
	*facts
	pending map[string]int64 // results put and not promised yet, with the time of their Put
	have    map[string]bool
	oldest  time.Duration // of a result that was lost with its process
	slow    time.Duration // the slowest transaction of that life, and the longest that its process was not run
	late    time.Duration
	worst   time.Duration // by how much, at most, a lost result was older than it may be
	beyond  int           // such results
	lost    int           // such results
	broken  int           // promises broken
	opened  int
	given   int // results that the outbox gave up while it lived
	slowest time.Duration
}

// bound is how old a result may be that is lost when the process dies: the time until its group is sealed, the time that the group may wait for its
// acknowledgement, what is left of the transaction under way then, and its own transaction. What the machine kept the process from running
// comes on top, and the 10 ms by which the times are read.
func (x *toll) bound() time.Duration {
	return killSealAfter + killCommitAfter + 2*x.slow + 2*x.late + 10*time.Millisecond
}

func (x *toll) life(k killed) {
	x.have = map[string]bool{}
	before := x.clone()
	for _, l := range k.lines {
		w := strings.Fields(l)
		if len(w) < 2 {
			continue
		}
		switch w[0] {
		case "put":
			x.pending[w[2]], _ = strconv.ParseInt(w[1], 10, 64)
		case "have":
			for _, id := range w[1:] {
				x.have[id] = true
			}
		case "opened":
			x.opened++
			for id := range before.safe {
				if !strings.HasPrefix(id, "gap") && !before.acking[id] && !x.have[id] {
					x.broken++
				}
			}
			for id, ms := range x.pending { // what the last life left without a promise
				if !x.have[id] && !before.acking[id] {
					x.lost++
					age := time.Duration(x.diedAt-ms) * time.Millisecond
					x.oldest = max(x.oldest, age)
					if over := age - x.bound(); over > 0 {
						x.beyond++
						x.worst = max(x.worst, over)
					}
				}
			}
			clear(x.pending)
			x.slow, x.late = 0, 0
		case "slow":
			slow, _ := strconv.Atoi(w[1])
			late, _ := strconv.Atoi(w[2])
			x.slow, x.late = time.Duration(slow)*time.Millisecond, time.Duration(late)*time.Millisecond
			x.slowest = max(x.slowest, x.slow)
		case "lost":
			x.given += len(w) - 1
			for _, id := range w[1:] {
				delete(x.pending, id)
			}
		}
		x.hear(l)
		if w[0] == "safe" || w[0] == "acking" {
			for _, id := range w[1:] {
				delete(x.pending, id)
			}
		}
	}
}

// TestFault_S5_TortureKill kills a device under load, again and again, on one outbox.
func TestFault_S5_TortureKill(t *testing.T) {
	s, kills, longest := seed(t), 6, 600
	if long() {
		kills, longest = 250, 1500
	}
	rng := rand.New(rand.NewPCG(s, 3))
	dir := t.TempDir()
	x := &toll{facts: newFacts(), pending: map[string]int64{}}
	for i := range kills {
		k := liveAndDie(t, childJob{steps: 0, seed: s + uint64(i), first: uint64(1 + i*100_000), end: "never", dir: dir}, time.Duration(20+rng.IntN(longest))*time.Millisecond)
		x.life(k)
		x.diedAt = k.at.UnixMilli()
	}
	b := start(t, config(dir))
	rs := b.drain()
	st := b.Stats()
	x.life(killed{lines: []string{"have " + strings.Join(names(rs), " "), "opened now"}})
	t.Logf("%d kills, %d of them after opening: %d promises, %d broken; %d results lost that had no promise, the oldest put %v before its end; slowest transaction %v",
		kills, x.opened-1, len(x.safe), x.broken, x.lost, x.oldest, x.slowest)
	if x.broken > 0 || st.Quarantined > 0 || x.given > 0 {
		t.Errorf("%d promises broken, %d files set aside, %d results given up", x.broken, st.Quarantined, x.given)
	}
	slack := 2 * time.Second // on a machine that is busy with other tests; what is never sealed or committed shows all the same
	if long() {
		slack = 0
	}
	if x.worst > slack {
		t.Errorf("%d lost results were older than %v and two transactions, by up to %v", x.beyond, killSealAfter+killCommitAfter, x.worst)
	}
	x.account(t, rs)
}

func names(rs []rec) (ids []string) {
	for _, r := range rs {
		switch {
		case r.frame >= 0:
			ids = append(ids, fmt.Sprint("r", r.frame))
		case r.gap == nil:
			ids = append(ids, r.code)
		}
	}
	return ids
}

// account checks that every number up to the last is known: sent in some life, come at the end, or named by a gap record.
func (x *toll) account(t *testing.T, rs []rec) {
	seen, last, epochs := map[uint64]bool{}, uint64(0), map[string]bool{}
	name := func(from, to uint64) {
		for n := from; n <= to; n++ {
			seen[n] = true
		}
	}
	for key, id := range x.sent {
		e, n, _ := strings.Cut(key, "/")
		seq, _ := strconv.ParseUint(n, 10, 64)
		epochs[e] = true
		name(seq, seq)
		last = max(last, seq)
		var from, to uint64
		if _, err := fmt.Sscanf(id, "gap:%d-%d", &from, &to); err == nil {
			name(from, to)
		}
	}
	for _, r := range rs {
		epochs[r.epoch] = true
		name(r.seq, r.seq)
		last = max(last, r.seq)
		if r.gap != nil {
			name(r.gap.From, r.gap.To)
			if r.gap.To-r.gap.From > 1000 {
				t.Errorf("a gap of %d numbers", r.gap.To-r.gap.From+1)
			}
		}
	}
	missing := 0
	for n := uint64(1); n <= last; n++ {
		if !seen[n] {
			missing++
		}
	}
	if missing > 0 || len(epochs) != 1 {
		t.Errorf("%d of %d numbers are nowhere; %d epochs", missing, last, len(epochs))
	}
}
