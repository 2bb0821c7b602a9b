package camera

import "time"

// Stale: a frame that was old when its inference began, because models wait for one another, the process was stopped, or the
// camera hands out old frames with honest timestamps. The limit is 2 s, or five times the camera's own interval where that is more: of a camera
// that gives one frame in ten seconds the newest is rightly up to ten seconds old. The pace of inference itself does not count (a slow model
// is given the newest frame and is slow, not late), nor does how long inference takes: age_ms tells that.
// It ends below three quarters of the limit.
const (
	staleLeast     = 2 * time.Second
	staleIntervals = 5
	slowest        = time.Minute // of intervals that are believed
)

// lag remembers the camera's pace.
type lag struct {
	interval time.Duration // between two frames of the camera, smoothed
	at       time.Time     // of the last frame
	seq      uint64
	stale    bool
}

// note learns the pace; the frames in between that nobody looked at count.
func (l *lag) note(f *Frame) {
	if n := f.Seq - l.seq; !l.at.IsZero() && f.Seq > l.seq {
		if d := f.At.Sub(l.at) / time.Duration(n); d > 0 && d < slowest {
			if l.interval == 0 {
				l.interval = d
			}
			l.interval += (d - l.interval) / 8
		}
	}
	l.at, l.seq = f.At, f.Seq
}

// Stale says whether the live frame that was assessed last is too old at now, the moment at which its inference begins.
// wanted is the interval at which frames are asked for; 0 is as they come.
func (q *Quality) Stale(now time.Time, wanted time.Duration) bool {
	l := &q.lag
	limit := max(staleLeast, staleIntervals*max(l.interval, wanted))
	if l.stale {
		limit = limit * 3 / 4
	}
	l.stale = !l.at.IsZero() && now.Sub(l.at) > limit
	return l.stale
}
