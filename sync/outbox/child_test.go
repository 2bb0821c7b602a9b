package outbox

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"heron/sync/message"
)

// The test binary, started again with childEnv set to "steps,seed,first,end,dir", is a device that works on the outbox in dir and says on standard
// output what it was promised, one line a write, so that whoever watches its system calls sees promises and writes in one order:
//
//	safe IDS       the promise of these records was kept
//	acking IDS     the broker has them, the outbox is about to be told
//	sent E SEQ IDS the uplink was given these records under these numbers
//	have IDS       after opening: what waits; then: opened
//	put MS ID      (only with end never) a result was put at that time
//	lost IDS       the outbox gave these records up, and said so
//	slow MS MS     (only with end never) the longest transaction till now, the one under way included, and the longest that this process was not run
//	session N
const childEnv = "HERON_OUTBOX_TEST_CHILD"

type childJob struct {
	steps       int
	seed, first uint64
	end         string // clean, exit (without stopping), never (to be killed); with +compact it drains and compacts at times
	dir         string
	compact     bool // as parsed from end
}

func (j childJob) String() string {
	return fmt.Sprintf("%d,%d,%d,%s,%s", j.steps, j.seed, j.first, j.end, j.dir)
}

func parseJob(s string) (j childJob) {
	f := strings.SplitN(s, ",", 5)
	j.steps, _ = strconv.Atoi(f[0])
	j.seed, _ = strconv.ParseUint(f[1], 10, 64)
	j.first, _ = strconv.ParseUint(f[2], 10, 64)
	j.end, j.dir = f[3], f[4]
	j.end, j.compact = strings.CutSuffix(j.end, "+compact")
	return j
}

func say(format string, args ...any) { os.Stdout.WriteString(fmt.Sprintf(format, args...) + "\n") }

// promise is a run of records that share a receipt.
type promise struct {
	receipt *Receipt
	ids     []string
}

type worker struct {
	*Outbox
	rng      *rand.Rand
	n        uint64
	promises chan promise
	ctx      context.Context
	times    bool
}

func childMain(arg string) int {
	j := parseJob(arg)
	cfg := config(j.dir)
	cfg.MaxBytes, cfg.CommitAfter = minBytes, 8*time.Millisecond
	cfg.SealAfter = map[message.Stream]time.Duration{message.Result: 4 * time.Millisecond, message.Alarm: time.Millisecond, message.Audit: time.Millisecond}
	if j.end == "never" { // the times of a device, twenty times faster
		cfg.SealAfter[message.Result], cfg.CommitAfter = killSealAfter, killCommitAfter
	}
	o, err := New(cfg)
	if err != nil {
		say("failed %v", err)
		return 1
	}
	if j.compact {
		o.limits.compactAbove, o.limits.compactEvery = 0, 5*time.Millisecond
	}
	ctx, end := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- o.Run(ctx) }()
	w := worker{Outbox: o, rng: rand.New(rand.NewPCG(j.seed, 1)), n: j.first, promises: make(chan promise, 1000), ctx: ctx, times: j.end == "never"}
	var wg sync.WaitGroup
	wg.Go(w.keepPromises)
	w.tellWhatWaits()
	if w.times {
		go w.watchTimes() // until it is killed
	}
	for i := 0; i < j.steps || j.end == "never"; i++ {
		w.step()
		if j.compact && i%5 == 4 {
			w.drain()
		}
	}
	st := o.Stats()
	say("damage %d", st.Quarantined+st.Dropped["corrupt"])
	if j.end == "clean" {
		end()
		if err := <-ran; err != nil {
			say("failed %v", err)
			return 1
		}
		close(w.promises)
		wg.Wait()
	}
	end()
	return 0
}

// keepPromises says which promises were kept, in the order they were given; a promise that is kept late keeps nobody from being told.
func (w *worker) keepPromises() {
	for p := range w.promises {
		select {
		case <-p.receipt.Done():
			if p.receipt.Err() == nil {
				say("safe %s", strings.Join(p.ids, " "))
			} else {
				say("lost %s", strings.Join(p.ids, " "))
			}
		case <-time.After(700 * time.Millisecond):
			say("late %s", strings.Join(p.ids, " "))
		}
	}
}

// watchTimes says how slow the disk and the machine are.
func (w *worker) watchTimes() {
	const every = 5 * time.Millisecond
	var slow, late, said time.Duration
	for last := time.Now(); ; time.Sleep(every) {
		now := time.Now()
		late = max(late, now.Sub(last)-every)
		last = now
		w.mu.Lock()
		slow = max(slow, w.stats.SlowestCommit)
		if !w.onDisk.busyAt.IsZero() {
			slow = max(slow, now.Sub(w.onDisk.busyAt))
		}
		w.mu.Unlock()
		if slow+late > said+5*time.Millisecond {
			say("slow %d %d", slow.Milliseconds()+1, late.Milliseconds()+1)
			said = slow + late
		}
	}
}

func (w *worker) step() {
	if w.times {
		time.Sleep(2 * time.Millisecond) // a device that makes more than its disk can take is another test
	}
	switch k := w.rng.IntN(20); {
	case k < 8:
		p := promise{}
		for range 1 + w.rng.IntN(40) {
			r := w.Put(result(int(w.n)))
			if p.receipt != nil && r != p.receipt {
				w.promises <- p
				p = promise{}
			}
			p.receipt, p.ids = r, append(p.ids, fmt.Sprint("r", w.n))
			if w.times {
				say("put %d r%d", time.Now().UnixMilli(), w.n)
			}
			w.n++
		}
		w.promises <- p
	case k < 10:
		w.promises <- promise{w.Put(alarm(int(w.n))), []string{fmt.Sprint("alarm-", w.n)}}
		w.n++
	case k < 12:
		w.Link(w.rng.IntN(3) > 0)
	case k < 18:
		w.uplink()
	case k < 19:
		if n, err := w.Session(w.ctx); err == nil {
			say("session %d", n)
		}
	default:
		time.Sleep(time.Duration(w.rng.IntN(8)) * time.Millisecond)
	}
}

// uplink takes a group or two as an uplink would, and acknowledges, gives back or forgets it.
func (w *worker) uplink() {
	ctx, stop := context.WithTimeout(w.ctx, 2*time.Millisecond)
	defer stop()
	g, err := w.Next(ctx, w.rng.IntN(2) == 0)
	if err != nil {
		return
	}
	ids := identify(g)
	say("sent %s %d %s", g.Epoch, mustSeq(g), strings.Join(ids, " "))
	switch w.rng.IntN(6) {
	case 0:
		w.Release(g.ID)
	case 1: // no answer
	default:
		say("acking %s", strings.Join(ids, " "))
		w.Ack(g.ID)
	}
}

// drain acknowledges all that waits and then has it deleted, with a session.
func (w *worker) drain() {
	w.Link(false) // nothing is leased
	if w.Flush(w.ctx) != nil {
		return
	}
	for _, g := range collect(w.Outbox, time.Second) {
		ids := identify(g)
		say("sent %s %d %s", g.Epoch, mustSeq(g), strings.Join(ids, " "))
		say("acking %s", strings.Join(ids, " "))
		w.Ack(g.ID)
	}
	if n, err := w.Session(w.ctx); err == nil {
		say("session %d", n)
	}
	time.Sleep(5 * time.Millisecond)
}

func (w *worker) tellWhatWaits() {
	gs := collect(w.Outbox, 10*time.Second)
	for _, g := range gs {
		say("have %s", strings.Join(identify(g), " "))
	}
	say("opened now")
	for _, g := range gs {
		w.Release(g.ID)
	}
}

// collect leases all that waits in an outbox that has just been started, or fails to within the time.
func collect(o *Outbox, wait time.Duration) (gs []Group) {
	ctx, stop := context.WithTimeout(context.Background(), wait)
	defer stop()
	if o.wait(ctx, func() bool { return o.stats.State != opening }) != nil {
		return nil
	}
	for {
		var have, all int64
		for _, g := range gs {
			have += int64(g.Count)
		}
		for _, n := range o.Stats().Records {
			all += n
		}
		if have >= all {
			return gs
		}
		g, err := o.Next(ctx, false)
		if err != nil {
			return gs
		}
		gs = append(gs, g)
	}
}

// identify names the records of a group: r12, alarm-3, gap:7-9.
func identify(g Group) []string {
	_, ids := readGroup(g)
	return ids
}

func mustSeq(g Group) uint64 {
	n, _ := readGroup(g)
	return n
}

// readGroup reads the first number of a group and the names of its records.
func readGroup(g Group) (first uint64, ids []string) {
	dec, err := newDecoder()
	if err != nil {
		panic(err)
	}
	defer dec.Close()
	b, err := openGroup(dec, g.Body)
	if err != nil {
		panic(err)
	}
	first, err = message.Seq(b.Data.Records[0])
	if err != nil {
		panic(err)
	}
	for _, raw := range b.Data.Records {
		r := string(raw)
		switch {
		case strings.Contains(r, `"gap":`):
			var x struct{ Gap message.Gap }
			if err := json.Unmarshal(raw, &x); err != nil {
				panic(err)
			}
			ids = append(ids, fmt.Sprintf("gap:%d-%d", x.Gap.From, x.Gap.To))
		case strings.Contains(r, `"code":"`):
			_, r, _ = strings.Cut(r, `"code":"`)
			r, _, _ = strings.Cut(r, `"`)
			ids = append(ids, r)
		default:
			_, r, _ = strings.Cut(r, `"frame":`)
			r, _, _ = strings.Cut(r, `,`)
			ids = append(ids, "r"+r)
		}
	}
	return first, ids
}
