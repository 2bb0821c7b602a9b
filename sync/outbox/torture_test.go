package outbox

import (
	"context"
	"fmt"
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

// sentAt is a record that was sent, and when.
type sentAt struct {
	id string
	at int
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
	dir, steps, per := t.TempDir(), 60/slower, 3
	if long() {
		steps, per = 600, 14
	}
	ops := recordAll(t, []childJob{
		{steps: steps, seed: s, first: 1, end: "clean", dir: dir},
		{steps: steps, seed: s + 1, first: 100_000, end: "exit", dir: dir},
		{steps: steps, seed: s + 2, first: 200_000, end: "exit", dir: dir}})
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
