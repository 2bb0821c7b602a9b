package outbox

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"heron/sync/message"
)

func TestLiveGroupNeverTouchesTheDisk(t *testing.T) {
	cfg := config(t.TempDir())
	cfg.CommitAfter = time.Hour
	b := start(t, cfg)
	b.Link(true)
	b.until("open", func(s Stats) bool { return s.State == stateOK })
	before := b.Stats().Commits
	r := b.Put(result(1))
	g := b.next(true)
	if !g.Live || g.Count != 1 || g.ID != 1 || g.Stream != message.Result {
		t.Errorf("got %+v", g)
	}
	select {
	case <-r.Done():
		t.Error("the promise was kept before anybody had the record")
	default:
	}
	b.Ack(g.ID)
	<-r.Done()
	if err := r.Err(); err != nil {
		t.Error(err)
	}
	if s := b.Stats(); s.Commits != before || s.Acked != 1 || len(s.Records) != 0 {
		t.Errorf("%+v", s)
	}
}

func TestUrgentGroupIsCommittedBeforeItIsOffered(t *testing.T) {
	b := start(t, config(t.TempDir()))
	b.Link(true)
	r := b.Put(alarm(1))
	g := b.next(true)
	select {
	case <-r.Done():
	default:
		t.Error("offered before the commit")
	}
	b.Ack(g.ID)
	if err := b.Drained(limit(t)); err != nil {
		t.Fatal(err)
	}
}

func TestOfflineThenDrained(t *testing.T) {
	cfg := config(t.TempDir())
	b := start(t, cfg)
	const n = 2345
	var last *Receipt
	for i := range n {
		last = b.Put(result(i))
	}
	b.Put(alarm(1))
	b.flush()
	if last.Err() != nil {
		t.Fatal(last.Err())
	}
	if s := b.Stats(); s.Records[message.Result] != n || s.Records[message.Alarm] != 1 || s.Oldest.IsZero() || s.FileBytes == 0 {
		t.Errorf("%+v", s)
	}
	b.Link(true)
	g := b.next(false)
	if g.Stream != message.Alarm || g.Live {
		t.Errorf("the backlog began with %s, live %v", g.Stream, g.Live)
	}
	b.Release(g.ID)
	frames := ledger(t, b.drain())
	if len(frames) != n {
		t.Errorf("%d of %d came", len(frames), n)
	}
	if err := b.stop(); err != nil {
		t.Fatal(err)
	}
	rep, err := Verify(cfg.Path)
	if err != nil || rep.Groups != 0 || rep.Damaged != 0 || !rep.Clean {
		t.Errorf("%+v, %v", rep, err)
	}
}

func TestCleanStopLeavesNoGap(t *testing.T) {
	cfg := config(t.TempDir())
	var all []rec
	var epoch string
	for run := range 3 {
		b := start(t, cfg)
		for i := range 10 {
			b.Put(result(10*run + i))
		}
		if err := b.stop(); err != nil {
			t.Fatal(err)
		}
		if s := b.Stats(); epoch != "" && s.Epoch != epoch {
			t.Errorf("epoch %s became %s", epoch, s.Epoch)
		} else {
			epoch = s.Epoch
		}
	}
	b := start(t, cfg)
	all = b.drain()
	if frames := ledger(t, all); len(frames) != 30 || len(all) != 30 {
		t.Errorf("%d frames in %d records", len(frames), len(all))
	}
}

func TestCommitAfterAndRelease(t *testing.T) {
	cfg := config(t.TempDir())
	cfg.CommitAfter = 20 * time.Millisecond
	b := start(t, cfg)
	b.Link(true)
	r := b.Put(result(1))
	g := b.next(true)
	<-r.Done() // committed, though leased and not acknowledged
	if b.Stats().Records[message.Result] != 1 {
		t.Errorf("%+v", b.Stats())
	}
	b.Release(g.ID)
	h := b.next(false)
	if h.ID != g.ID || h.Live || !bytes.Equal(h.Body, g.Body) {
		t.Errorf("%+v came back as %+v", g, h)
	}
	b.Link(false)
	b.Link(true)
	if h = b.next(false); h.ID != g.ID {
		t.Errorf("after the link was lost came %d, not %d", h.ID, g.ID)
	}
	b.Ack(h.ID)
	if err := b.Drained(limit(t)); err != nil {
		t.Error(err)
	}
}

func TestSessionsGoOn(t *testing.T) {
	cfg := config(t.TempDir())
	for want := uint64(1); want < 4; want++ {
		b := start(t, cfg)
		n, err := b.Session(limit(t))
		if err != nil || n != want {
			t.Errorf("session %d, %v, want %d", n, err, want)
		}
		b.stop()
	}
}

func TestClosedOutbox(t *testing.T) {
	b := start(t, config(t.TempDir()))
	b.stop()
	if r := b.Put(result(1)); !errors.Is(r.Err(), ErrClosed) {
		t.Error(r.Err())
	}
	if _, err := b.Next(limit(t), true); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	if b.Stats().Dropped["closed"] != 1 {
		t.Errorf("%+v", b.Stats())
	}
}

func TestFault_B3_TooLargeIsRefusedAtPut(t *testing.T) {
	b := start(t, config(t.TempDir()))
	big := alarm(1)
	big.Text = strings.Repeat("x", 5<<20)
	if r := b.Put(big); !errors.Is(r.Err(), ErrTooLarge) {
		t.Error(r.Err())
	}
	b.Put(alarm(2))
	rs := b.drain()
	if len(rs) != 1 || rs[0].code != "alarm-2" || b.Stats().Dropped["too-large"] != 1 {
		t.Errorf("%v, %+v", rs, b.Stats())
	}
}

func TestFault_B2_RefusedRecordDies(t *testing.T) {
	b := start(t, config(t.TempDir()))
	for i := range 100 {
		b.Put(result(i))
	}
	b.flush()
	b.Link(true)
	var all []rec
	for {
		done := b.Stats().Dropped["poison"] == 1 && b.Stats().Records[message.Result] == 0
		if done {
			break
		}
		g := b.next(false)
		rs, poison := open(t, g), false
		for _, r := range rs {
			poison = poison || r.frame == 37
		}
		if poison {
			b.Refuse(g.ID, "payload format invalid")
			b.until("dealt with", func(Stats) bool {
				b.mu.Lock()
				defer b.mu.Unlock()
				return len(b.refused) == 0 && b.groups.bytes == 0
			})
			continue
		}
		all = append(all, rs...)
		b.Ack(g.ID)
	}
	all = append(all, b.drain()...)
	if frames := ledger(t, all); len(frames) != 99 || frames[37] != 0 {
		t.Errorf("%d frames came", len(frames))
	}
	if s := b.Stats(); s.Dead != 1 {
		t.Errorf("%+v", s)
	}
}

func TestExport(t *testing.T) {
	cfg := config(t.TempDir())
	b := start(t, cfg)
	b.Put(result(7))
	b.stop()
	var out bytes.Buffer
	if err := Export(cfg.Path, &out); err != nil {
		t.Fatal(err)
	}
	if s := out.String(); strings.Count(s, "\n") != 1 || !strings.Contains(s, `"record":{"seq":1,`) || !strings.Contains(s, `"frame":7`) {
		t.Error(s)
	}
}

func TestConfigIsChecked(t *testing.T) {
	for _, c := range []Config{{}, {Path: "x", MaxBytes: 1}, {Path: "x", SealRecords: 501}, {Path: "x", SealBytes: 1 << 20}, {Path: "x", LossRate: -1}} {
		if _, err := New(c); err == nil {
			t.Errorf("%+v was accepted", c)
		}
	}
}
