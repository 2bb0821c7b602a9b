package outbox

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// long tells whether the long campaigns are asked for: HERON_TORTURE=long go test -run Torture -timeout 60m ./sync/outbox
func long() bool { return os.Getenv("HERON_TORTURE") == "long" }

func seed(t *testing.T) uint64 {
	s := uint64(time.Now().UnixNano())
	if v := os.Getenv("HERON_TORTURE_SEED"); v != "" {
		s, _ = strconv.ParseUint(v, 10, 64)
	}
	t.Logf("HERON_TORTURE_SEED=%d", s)
	return s
}

// facts are what a device had been promised, and had done, when the power went.
type facts struct {
	safe, acking map[string]bool
	sent         map[string]string // epoch/seq -> record
	session      uint64
	damaged      bool
	diedAt       int64 // ms
}

func newFacts() *facts {
	return &facts{safe: map[string]bool{}, acking: map[string]bool{}, sent: map[string]string{}}
}

func (f *facts) clone() *facts {
	return &facts{maps.Clone(f.safe), maps.Clone(f.acking), maps.Clone(f.sent), f.session, f.damaged, f.diedAt}
}

func (f *facts) hear(line string) {
	w := strings.Fields(line)
	if len(w) < 2 {
		return
	}
	switch w[0] {
	case "safe", "have":
		for _, id := range w[1:] {
			f.safe[id] = true
		}
	case "acking":
		for _, id := range w[1:] {
			f.acking[id] = true
		}
	case "sent":
		n, _ := strconv.ParseUint(w[2], 10, 64)
		for i, id := range w[3:] {
			f.sent[fmt.Sprint(w[1], "/", n+uint64(i))] = id
		}
	case "session":
		f.session, _ = strconv.ParseUint(w[1], 10, 64)
	}
}

// record runs a job under strace and returns what it did.
func record(t *testing.T, j childJob) []diskOp {
	t.Helper()
	log := filepath.Join(t.TempDir(), "strace")
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(context.Background(), 5*time.Minute)
	defer stop()
	cmd := exec.CommandContext(ctx, "strace", append(straceArgs(log), exe)...)
	cmd.Env = append(os.Environ(), childEnv+"="+j.String())
	if out, err := cmd.CombinedOutput(); err != nil || bytes.Contains(out, []byte("failed ")) {
		if bytes.Contains(out, []byte("PTRACE")) || bytes.Contains(out, []byte("ptrace")) {
			t.Skipf("strace may not trace here: %s", out)
		}
		t.Fatalf("the recorded process: %v\n%s", err, out)
	}
	f, err := os.Open(log)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	p := newStraceParser(j.dir)
	var ops []diskOp
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 4<<20)
	for lines.Scan() {
		if op, ok := p.line(lines.Text()); ok {
			ops = append(ops, op)
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return ops
}

// view is what a state has to be compared with: cheap to copy, for there are many states.
type view struct {
	at      int             // the operation after which the power was cut
	due     map[string]bool // promised, and the broker does not have it
	known   []bool          // numbers sent, or named by a gap record that was sent
	session uint64
	damaged bool
}

// listen goes through what was said from one operation to the next.
func (v *view) listen(line string, epoch string) {
	f := newFacts()
	f.hear(line)
	for id := range f.safe {
		v.due[id] = true
	}
	for id := range f.acking {
		delete(v.due, id)
		v.due["-"+id] = true // said before the promise was: never due
	}
	for id := range f.safe {
		if v.due["-"+id] {
			delete(v.due, id)
		}
	}
	for key, id := range f.sent {
		if e, n, _ := strings.Cut(key, "/"); e == epoch {
			i, _ := strconv.ParseUint(n, 10, 64)
			v.know(i, i)
			v.knowGap(id)
		}
	}
	v.session = max(v.session, f.session)
}

func (v *view) know(from, to uint64) {
	for uint64(len(v.known)) <= to {
		v.known = append(v.known, false)
	}
	for n := from; n <= to; n++ {
		v.known[n] = true
	}
}

func (v *view) knowGap(id string) {
	var from, to uint64
	if !strings.HasPrefix(id, "gap:") {
		return
	}
	if _, err := fmt.Sscanf(id, "gap:%d-%d", &from, &to); err == nil && to < 1<<20 {
		v.know(from, to)
	}
}

func (v *view) clone() *view {
	return &view{v.at, maps.Clone(v.due), append([]bool(nil), v.known...), v.session, v.damaged}
}

// sentAt is a record that was sent, and when.
type sentAt struct {
	id string
	at int
}

// hole finds a number of the epoch that neither waits, nor was ever sent, nor is named by a gap record that waits or was sent.
func (f *facts) hole(got, seqs map[string]bool, epoch string) uint64 {
	known, last := map[uint64]bool{}, uint64(0)
	name := func(id string) {
		var from, to uint64
		if _, err := fmt.Sscanf(id, "gap:%d-%d", &from, &to); err == nil {
			for n := from; n <= to; n++ {
				known[n] = true
			}
		}
	}
	seq := func(key string) {
		if e, n, _ := strings.Cut(key, "/"); e == epoch {
			i, _ := strconv.ParseUint(n, 10, 64)
			known[i] = true
			last = max(last, i)
		}
	}
	for id := range got {
		name(id)
	}
	for key := range seqs {
		seq(key)
	}
	for key, id := range f.sent {
		seq(key)
		name(id)
	}
	for n := uint64(1); n < last; n++ {
		if !known[n] {
			return n
		}
	}
	return 0
}

// campaign replays recorded operations and judges the states that a power cut could leave.
type campaign struct {
	t      *testing.T
	root   string
	states atomic.Int64
	lost   atomic.Int64
	failed atomic.Int64
	sent   map[string][]sentAt // by epoch/seq, of the whole recording
	epoch  string              // the first one
	wg     sync.WaitGroup
	slots  chan struct{}
}

// judge opens one state with the real code and compares.
func (c *campaign) judge(files map[string][]byte, v *view, what string) {
	c.wg.Add(1)
	c.slots <- struct{}{}
	go func() {
		defer c.wg.Done()
		defer func() { <-c.slots }()
		n := c.states.Add(1)
		dir := filepath.Join(c.root, fmt.Sprint(n))
		if err := os.Mkdir(dir, 0o700); err != nil {
			c.t.Error(err)
			return
		}
		defer os.RemoveAll(dir)
		if err := lay(dir, files); err != nil {
			c.t.Error(err)
			return
		}
		if err := c.openAndCompare(dir, v.clone()); err != nil && c.failed.Add(1) < 20 {
			c.t.Errorf("%s: %v", what, err)
			if keep := os.Getenv("HERON_TORTURE_KEEP"); keep != "" {
				_ = lay(keep, files)
			}
		}
	}()
}

const probe = 99_999_999

func (c *campaign) openAndCompare(dir string, v *view) error {
	cfg := config(dir)
	cfg.MaxBytes = minBytes
	o, err := New(cfg)
	if err != nil {
		return err
	}
	ctx, end := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- o.Run(ctx) }()
	defer func() {
		end()
		<-ran
	}()
	o.Put(alarm(probe))
	wait, stop := context.WithTimeout(ctx, 30*time.Second)
	defer stop()
	if err := o.Flush(wait); err != nil {
		return err
	}
	got := map[string]bool{}
	last := uint64(0)
	for _, g := range collect(o, 30*time.Second) {
		first, ids := readGroup(g)
		for i, id := range ids {
			got[id] = true
			seq := first + uint64(i)
			for _, was := range c.sent[fmt.Sprint(g.Epoch, "/", seq)] {
				if was.at < v.at && was.id != id {
					return fmt.Errorf("number %s/%d was %s and is %s now", g.Epoch, seq, was.id, id)
				}
			}
			if g.Epoch == c.epoch {
				v.know(seq, seq)
				v.knowGap(id)
				last = max(last, seq)
			}
		}
	}
	var missing []string
	for id := range v.due {
		if id[0] != '-' && !strings.HasPrefix(id, "gap") && !got[id] {
			missing = append(missing, id)
		}
	}
	s := o.Stats()
	for n := uint64(1); n < last && !v.damaged; n++ {
		if !v.known[n] {
			return fmt.Errorf("number %d is nowhere, and no gap record names it; %+v", n, s)
		}
	}
	switch n, err := o.Session(wait); {
	case err != nil:
		return err
	case len(missing) > 0:
		c.lost.Add(int64(len(missing)))
		return fmt.Errorf("%d promised records are lost: %v; %+v", len(missing), missing[:min(5, len(missing))], s)
	case n <= v.session:
		return fmt.Errorf("session %d after %d", n, v.session)
	case !got[fmt.Sprint("alarm-", probe)] || s.State != stateOK:
		return fmt.Errorf("%+v", s)
	case s.Quarantined > 0 && !v.damaged:
		return fmt.Errorf("a power cut cost the file: %+v", s)
	}
	return nil
}

// replay goes through the operations; after every one that changes a file it judges some of the states that a cut there could leave.
func (c *campaign) replay(ops []diskOp, per int, rng *rand.Rand) {
	c.listen(ops)
	d, v := newSimDisk(), &view{due: map[string]bool{}}
	for i, o := range ops {
		v.at = i
		if o.kind == 'm' {
			v.listen(string(o.data), c.epoch)
			continue
		}
		d.do(o)
		if o.kind == 'x' {
			v.damaged, v.due = true, aheadHave(ops[i:])
		}
		if o.kind == 's' && per < 8 && rng.IntN(3) > 0 {
			continue // after a sync there is but one state, and the next write's first is the same
		}
		now := v.clone()
		for how := range per {
			if o.kind == 's' && how > 1 {
				break
			}
			c.judge(d.crash(how, rng), now, fmt.Sprintf("operation %d (%c %s), state %d", i, o.kind, o.file, how))
		}
	}
	c.wg.Wait()
}

// listen notes what was sent in the whole recording.
func (c *campaign) listen(ops []diskOp) {
	c.sent = map[string][]sentAt{}
	for i, o := range ops {
		if o.kind != 'm' {
			continue
		}
		f := newFacts()
		f.hear(string(o.data))
		for key, id := range f.sent {
			c.sent[key] = append(c.sent[key], sentAt{id, i})
			if c.epoch == "" {
				c.epoch, _, _ = strings.Cut(key, "/")
			}
		}
	}
}

// aheadHave is what a whole salvage, which follows in the recording, brings over: a cut in the midst of it must not cost any of that.
func aheadHave(ops []diskOp) map[string]bool {
	ahead := newFacts()
	for _, o := range ops {
		line := string(o.data)
		if o.kind == 'm' && strings.HasPrefix(line, "have") {
			ahead.hear(line)
		} else if o.kind == 'm' && len(ahead.safe) > 0 {
			break
		}
	}
	return ahead.safe
}

// TestFault_S1_TorturePowerCut records what a device writes, and cuts the power everywhere.
func TestFault_S1_TorturePowerCut(t *testing.T) {
	if _, err := exec.LookPath("strace"); err != nil {
		t.Skip("strace is not installed: what the outbox writes cannot be recorded")
	}
	s := seed(t)
	rng := rand.New(rand.NewPCG(s, 2))
	dir, steps, per := t.TempDir(), 60, 3
	if long() {
		steps, per = 600, 14
	}
	ops := record(t, childJob{steps: steps, seed: s, first: 1, end: "clean", dir: dir})
	ops = append(ops, record(t, childJob{steps: steps, seed: s + 1, first: 100_000, end: "exit", dir: dir})...)
	ops = append(ops, record(t, childJob{steps: steps, seed: s + 2, first: 200_000, end: "exit", dir: dir})...)
	ops = append(ops, spoil(t, dir)...)
	ops = append(ops, record(t, childJob{steps: steps / 2, seed: s + 3, first: 300_000, end: "clean", dir: dir})...)
	kinds := map[byte]int{}
	for _, o := range ops {
		kinds[o.kind]++
	}
	t.Logf("recorded %d writes, %d growths, %d syncs, %d changes of names, %d promises and acts", kinds['w'], kinds['t'], kinds['s']+kinds['d'],
		kinds['c']+kinds['r']+kinds['u'], kinds['m'])
	c := &campaign{t: t, root: fastDir(t), slots: make(chan struct{}, 6)}
	begun := time.Now()
	c.replay(ops, per, rng)
	t.Logf("%d states opened in %v: %d with a fault, %d promised records lost", c.states.Load(), time.Since(begun).Round(time.Second), c.failed.Load(), c.lost.Load())
}

// spoil zeroes a page in the middle of the tree of the file in dir, as a bad card would.
func spoil(t *testing.T, dir string) []diskOp {
	path := filepath.Join(dir, "outbox.db")
	page := usedValue(t, path, "result") / int64(os.Getpagesize())
	zero := make([]byte, os.Getpagesize())
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(zero, page*int64(len(zero))); err != nil {
		t.Fatal(err)
	}
	return []diskOp{{kind: 's', file: "outbox.db"}, {kind: 'x', file: "outbox.db", off: page * int64(len(zero)), data: zero}}
}

// fastDir is a folder in memory where there is one: the replay needs no disk.
func fastDir(t *testing.T) string {
	dir, err := os.MkdirTemp("/dev/shm", "heron-outbox-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}
