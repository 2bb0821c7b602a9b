package uplink

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// How long a device stays away after outages of several lengths, over many tries, by the rules as they ship.
func TestBackSoonAfterAnOutage(t *testing.T) {
	for _, c := range []struct{ outage, back time.Duration }{
		{2 * time.Second, 2 * time.Second}, {10 * time.Second, 3 * time.Second}, {time.Minute, 11 * time.Second}, {10 * time.Minute, 101 * time.Second}, {24 * time.Hour, 2 * time.Minute},
	} {
		synctest.Test(t, func(t *testing.T) {
			worst, tries := time.Duration(0), 0
			for range 50 {
				r := newRetry(defaultTiming().retry)
				lost := time.Now()
				end := ended{err: io.EOF, online: time.Hour, useful: true}
				for time.Since(lost) < c.outage {
					_, _, wait := r.after(end)
					time.Sleep(wait)
					end = ended{err: errors.New("refused")}
					tries++
				}
				worst = max(worst, time.Since(lost)-c.outage)
			}
			if worst > c.back {
				t.Errorf("after %v: back after %v, want %v at most", c.outage, worst, c.back)
			}
			t.Logf("after %v: back after %v at worst, %d tries", c.outage, worst, tries/50)
		})
	}
}

// No try comes sooner than a second after the one before, on average, from the first minute to the last.
func TestNoStormOfTries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRetry(defaultTiming().retry)
		start := time.Now()
		tries := 0
		for time.Since(start) < 10*time.Second {
			_, _, wait := r.after(ended{err: io.ErrUnexpectedEOF})
			time.Sleep(wait)
			tries++
		}
		if tries > 16 {
			t.Errorf("%d tries in 10 s", tries)
		}
	})
}

// A fleet that lost its broker together comes back spread over time.
func TestFleetSpreads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const outage = 10 * time.Minute
		first, last := time.Hour, time.Duration(0)
		for range 200 {
			r := newRetry(defaultTiming().retry)
			lost := time.Now()
			for time.Since(lost) < outage {
				_, _, wait := r.after(ended{err: io.ErrUnexpectedEOF})
				time.Sleep(wait)
			}
			first, last = min(first, time.Since(lost)), max(last, time.Since(lost))
		}
		if last-first < 40*time.Second {
			t.Errorf("200 devices came back within %v", last-first)
		}
	})
}

func TestTakeOverIsForgottenWhenTheNetworkIsToBlame(t *testing.T) {
	kicked := ended{err: io.EOF, online: time.Second, useful: true, kicked: true}
	r := newRetry(defaultTiming().retry)
	for i, end := range []ended{kicked, kicked, {err: errors.New("connection refused")}, kicked, kicked} {
		if state, reason, _ := r.after(end); state != StateOffline {
			t.Errorf("end %d: %s, %s", i, state, reason)
		}
	}
	if state, why, wait := r.after(kicked); state != StateRefused || wait < time.Second || !strings.Contains(why.next, "device.id") {
		t.Errorf("third in a row: %s, %v, %v", state, why, wait)
	}
}

func TestWindowFollowsTheLink(t *testing.T) {
	w := newWindow(64, 256<<10, 8, 3*time.Second, true)
	fill := func() (n int) {
		for w.room() == roomAll {
			w.take(1000)
			n++
		}
		return n
	}
	if n := fill(); n != 6 || w.room() != roomLive {
		t.Fatalf("%d groups of backlog in a window of 8, then %v", n, w.room())
	}
	for range 200 { // quick PUBACKs
		w.acked(1000, 10*time.Millisecond)
		fill()
	}
	if w.size() != 64 {
		t.Errorf("window %d after 200 quick PUBACKs", w.size())
	}
	for g, _ := w.held(); g > 0; g-- {
		w.acked(1000, time.Millisecond)
		w.shrunkAt = time.Time{}
	}
	for range 10 {
		w.take(1000)
		w.shrunkAt = time.Time{}
		w.acked(1000, 4*time.Second)
	}
	if w.size() != 1 {
		t.Errorf("window %d after ten slow PUBACKs", w.size())
	}
	w.take(10 << 20)
	if w.room() != roomNone {
		t.Error("room beside a huge group")
	}
	w.acked(10<<20, time.Second)
	if w.room() != roomAll {
		t.Error("no room for a huge group on its own")
	}
}

// The counters of the day begin anew at midnight UTC.
func TestMeterTurnsAtMidnight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // its clock begins at midnight UTC
		var m meter
		m.add(10, 20)
		time.Sleep(23 * time.Hour)
		m.add(1, 2)
		if s, r := m.today(); s != 11 || r != 22 {
			t.Errorf("%d, %d", s, r)
		}
		time.Sleep(61 * time.Minute)
		if s, r := m.today(); s != 0 || r != 0 {
			t.Errorf("after midnight: %d, %d", s, r)
		}
	})
}
