package outbox

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"heron/sync/message"
)

// TestModel lets rapid do what agents and uplinks do in any order, stops and restarts included; every record must come out at least once,
// the same every time, and none that was acknowledged to a running outbox may come again from it.
func TestModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		cfg := config(t.TempDir())
		cfg.SealRecords = rapid.IntRange(1, 60).Draw(rt, "seal records")
		cfg.SealAfter = map[message.Stream]time.Duration{message.Result: time.Millisecond, message.Alarm: time.Millisecond, message.Audit: time.Millisecond}
		cfg.CommitAfter = 2 * time.Millisecond
		b := start(t, cfg)
		n, leases, all := 0, map[uint64]Group{}, []rec{}
		gone := map[string]bool{} // acknowledged
		rt.Repeat(map[string]func(*rapid.T){
			"put": func(rt *rapid.T) {
				for range rapid.IntRange(1, 100).Draw(rt, "records") {
					b.Put(result(n))
					n++
				}
			},
			"alarm": func(rt *rapid.T) { b.Put(alarm(n)); n++ },
			"link": func(rt *rapid.T) {
				up := rapid.Bool().Draw(rt, "up")
				b.Link(up)
				if !up {
					clear(leases)
				}
			},
			"flush": func(rt *rapid.T) { b.flush() },
			"take": func(rt *rapid.T) {
				ctx, stop := context.WithTimeout(context.Background(), 3*time.Millisecond)
				defer stop()
				g, err := b.Next(ctx, rapid.Bool().Draw(rt, "live"))
				if err != nil {
					return
				}
				if _, twice := leases[g.ID]; twice {
					rt.Fatalf("group %d was leased twice", g.ID)
				}
				for _, r := range open(t, g) {
					if gone[fmt.Sprint(r.epoch, r.seq)] {
						rt.Fatalf("record %d came again after it was acknowledged", r.seq)
					}
				}
				leases[g.ID] = g
			},
			"answer": func(rt *rapid.T) {
				for id, g := range leases {
					if rapid.Bool().Draw(rt, "ack") {
						for _, r := range open(t, g) {
							all = append(all, r)
							gone[fmt.Sprint(r.epoch, r.seq)] = true
						}
						b.Ack(id)
					} else {
						b.Release(id)
					}
					delete(leases, id)
				}
			},
			"restart": func(rt *rapid.T) {
				if err := b.stop(); err != nil {
					rt.Fatal(err)
				}
				clear(leases)
				b = start(t, cfg)
			},
		})
		b.flush()
		b.Link(false)
		all = append(all, b.drain()...)
		frames := ledger(t, all)
		alarms := map[string]bool{}
		for _, r := range all {
			if r.code != "" {
				alarms[r.code] = true
			}
			if r.gap != nil {
				rt.Errorf("a gap %+v without a fault", *r.gap)
			}
		}
		if len(frames)+len(alarms) != n {
			rt.Errorf("%d of %d came", len(frames)+len(alarms), n)
		}
		if s := b.Stats(); len(s.Records) > 0 || len(s.Dropped) > 0 {
			rt.Errorf("%+v", s)
		}
		b.stop()
	})
}

// inBubble runs fn with an outbox in a bubble of its own time.
func inBubble(t *testing.T, fn func(t *testing.T, b *box)) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, config(t.TempDir()))
		defer b.stop()
		synctest.Wait()
		b.until("open", func(s Stats) bool { return s.State == stateOK })
		fn(t, b)
	})
}

func TestSealingTimes(t *testing.T) {
	inBubble(t, func(t *testing.T, b *box) {
		sealed := func() uint64 { synctest.Wait(); return b.Stats().Sealed }
		time.Sleep(time.Minute)
		b.Put(result(1))
		if n := sealed(); n != 1 {
			t.Errorf("after a quiet minute %d groups were sealed at once, want 1", n)
		}
		for i := range 49 {
			time.Sleep(100 * time.Millisecond)
			b.Put(result(2 + i))
		}
		if n := sealed(); n != 1 {
			t.Errorf("%d groups within 5 s, want 1", n)
		}
		time.Sleep(5 * time.Second)
		if n := sealed(); n != 2 {
			t.Errorf("%d groups after 5 s, want 2", n)
		}
		for i := range 1000 {
			b.Put(result(100 + i))
		}
		if n := sealed(); n < 4 {
			t.Errorf("%d groups after 1,000 more records at once: full ones wait for nothing", n)
		}
	})
}

// TestWritesOfADay counts what an hour at 10 results a second costs the card: with a link and without, with the real times.
func TestWritesOfADay(t *testing.T) {
	for _, link := range []bool{true, false} {
		inBubble(t, func(t *testing.T, b *box) {
			if link {
				b.Link(true)
				ctx, stop := context.WithCancel(t.Context())
				done := make(chan struct{})
				defer func() { stop(); <-done }()
				go func() {
					defer close(done)
					for {
						g, err := b.Next(ctx, true)
						if err != nil {
							return
						}
						time.Sleep(30 * time.Millisecond)
						b.Ack(g.ID)
					}
				}()
			}
			before := b.Stats()
			for i := range 36_000 {
				time.Sleep(100 * time.Millisecond)
				b.Put(result(i))
				if i%36_000 == 18_000 {
					b.Put(alarm(i))
				}
			}
			s := b.Stats()
			commits, bytes := s.Commits-before.Commits, s.Written-before.Written
			day := float64(bytes) * 24 / 1e6
			t.Logf("link %v: %d commits an hour, %.1f MB of pages a day", link, commits, day)
			if bound := map[bool]float64{true: 50, false: 500}[link]; day > bound {
				t.Errorf("%.0f MB a day, bound %.0f", day, bound)
			}
		})
	}
}

func TestDeletesAreBatched(t *testing.T) {
	inBubble(t, func(t *testing.T, b *box) {
		const n = 20
		for i := range n {
			b.Put(alarm(i))
			time.Sleep(time.Second)
		}
		b.Link(true)
		before := b.Stats().Commits
		for range n {
			b.Ack(b.next(false).ID)
		}
		time.Sleep(deleteAfter / 2)
		synctest.Wait()
		if s := b.Stats(); s.Commits != before || len(s.Records) != 0 {
			t.Errorf("%d commits at once", s.Commits-before)
		}
		time.Sleep(deleteAfter)
		synctest.Wait()
		if s := b.Stats(); s.Commits != before+1 {
			t.Errorf("%d commits for %d deletes", s.Commits-before, n)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if s := b.Stats(); s.Commits != before+1 {
			t.Errorf("%d commits while there was nothing to do", s.Commits-before-1)
		}
	})
}
