package camera

import (
	"context"
	"time"
)

// ticks is a schedule on a grid, so that neither jitter nor drift adds up. Whoever is late by less than a period is served at once
// and the grid stays; whoever is later starts a new grid: no burst follows a pause.
type ticks struct {
	period time.Duration // 0 is no schedule
	next   time.Time
}

// period is the time between two frames at fps a second, an hour at most; 0, every frame, has none.
func period(fps float64) time.Duration {
	if fps <= 0 {
		return 0
	}
	return time.Duration(min(float64(time.Second)/fps, float64(time.Hour)))
}

// SetFPS bounds a live camera to fps frames a second, below its configured rate, from the next frame on; 0 takes the bound away.
// Files and folders are never slowed: nobody is served by their pictures coming later. It may be called from any goroutine.
func (s *Source) SetFPS(fps float64) {
	s.mu.Lock()
	s.limit = max(0, fps)
	s.mu.Unlock()
}

func (t *ticks) wait(ctx context.Context) error {
	d := time.Until(t.next)
	if t.period == 0 || t.next.IsZero() || d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (t *ticks) taken(now time.Time) {
	if t.period == 0 {
		return
	}
	if t.next.IsZero() || now.Sub(t.next) > t.period {
		t.next = now
	}
	t.next = t.next.Add(t.period)
}

// demand foresees when the consumer will want its next frame, so that a Grabber decodes only frames that can be the newest then.
type demand struct {
	waiting  bool          // the consumer is waiting now
	due      time.Time     // when the consumer is expected to come for the next frame
	handed   time.Time     // when it got the last one
	busy     time.Duration // smoothed: how long it keeps one
	arrived  time.Time     // when the last frame arrived
	interval time.Duration // smoothed: between two frames
	decode   time.Duration // smoothed: cost of decoding one
}

// returned notes that the consumer is done with its last frame.
func (d *demand) returned(now time.Time) {
	if !d.handed.IsZero() {
		d.busy = smooth(d.busy, now.Sub(d.handed))
		d.handed = time.Time{}
	}
}

// served notes that the consumer got a frame and will not get another before tick.
func (d *demand) served(now, tick time.Time) {
	d.waiting, d.handed = false, now
	d.due = now.Add(d.busy * 3 / 4) // it may be quicker than usual
	if tick.After(d.due) {
		d.due = tick
	}
}

// came notes that a frame arrived.
func (d *demand) came(now time.Time) {
	if !d.arrived.IsZero() {
		d.interval = smooth(d.interval, now.Sub(d.arrived))
	}
	d.arrived = now
}

// wants says whether the frame that just arrived is to be decoded: somebody waits, or the next one would be ready too late.
// Should the next one come later than foreseen, the consumer waits for it for as long as it is late.
func (d *demand) wants(now time.Time) bool {
	return d.waiting || !now.Add(d.interval+d.decode).Before(d.due)
}

func smooth(old, sample time.Duration) time.Duration {
	if old == 0 {
		return sample
	}
	return old + (sample-old)/8
}
