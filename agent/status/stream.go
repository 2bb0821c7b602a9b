package status

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// Live view. A feed pulls the frames of one camera in one form while somebody wants one, and each is encoded once for all
// who look at it. A viewer that is late is given the newest frame, never a queue. When the last viewer leaves, its feed ends:
// what nobody looks at is neither asked for nor encoded.

// streams are all feeds and viewers of a Server, with their bounds.
type streams struct {
	provider Provider
	limits   streamLimits
	bytes    budget
	running  sync.WaitGroup // feeds

	mu      sync.Mutex
	feeds   map[form]*feed
	viewers int

	frames, sent, refused, encodes atomic.Uint64
}

// streamLimits bound what live view may cost. They are fields so that a test need not wait for minutes.
type streamLimits struct {
	viewers int           // in all; so there are at most as many feeds
	rate    int           // bytes a second to all viewers
	life    time.Duration // of one viewer; who wants more asks again
	write   time.Duration // of one frame to one viewer
	pull    time.Duration // for one frame from heron-vision; then a card says so
	again   time.Duration // between two pictures that differ only in the age that they tell
}

func defaultLimits() streamLimits {
	return streamLimits{viewers: 4, rate: 1 << 20, life: 10 * time.Minute, write: 10 * time.Second, pull: 2 * time.Second, again: time.Second}
}

// form is what makes two viewers' pictures the same bytes.
type form struct {
	camera string
	width  int
	draw   bool
}

func newStreams(p Provider) *streams {
	l := defaultLimits()
	return &streams{provider: p, limits: l, bytes: budget{rate: l.rate}, feeds: map[form]*feed{}}
}

// wait returns when all feeds have ended; their viewers must be on their way out.
func (s *streams) wait() { s.running.Wait() }

// join admits a viewer; nil when there are too many. Each join is followed by one leave.
func (s *streams) join(k form, fps float64) *viewer {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.viewers >= s.limits.viewers {
		s.refused.Add(1)
		return nil
	}
	s.viewers++
	f := s.feeds[k]
	if f == nil {
		ctx, cancel := context.WithCancel(context.Background())
		f = &feed{s: s, form: k, stop: cancel, done: make(chan struct{}), want: make(chan struct{}, 1), changed: make(chan struct{}), viewers: map[*viewer]bool{}}
		s.feeds[k] = f
		s.running.Go(func() { f.run(ctx) })
	}
	v := &viewer{feed: f, period: time.Duration(float64(time.Second) / fps)}
	f.viewers[v] = true
	return v
}

// leave takes a viewer out, and with the last one its feed, whose end it waits for.
func (s *streams) leave(v *viewer) {
	s.mu.Lock()
	s.viewers--
	delete(v.feed.viewers, v)
	last := len(v.feed.viewers) == 0
	if last {
		delete(s.feeds, v.feed.form)
		v.feed.stop()
	}
	s.mu.Unlock()
	if last {
		<-v.feed.done
	}
}

func (s *streams) count() Live {
	return Live{Viewers: s.watching(), Frames: s.frames.Load(), Bytes: s.sent.Load(), Refused: s.refused.Load(), Encodes: s.encodes.Load()}
}

// watching is the number of viewers.
func (s *streams) watching() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.viewers
}

// viewer is one connection's place at a feed. It belongs to the goroutine of its request.
type viewer struct {
	feed   *feed
	period time.Duration // between two frames
	next   time.Time     // when it may have another
	seen   uint64        // number of the last picture it was given
	size   int           // bytes of it
}

// take waits for the viewer's turn and for a picture that it has not seen. Its wait for the budget comes before the choice of the picture,
// so that what is sent is the newest at that moment.
func (v *viewer) take(ctx context.Context) (*shot, error) {
	if err := pause(ctx, time.Until(v.next)); err != nil {
		return nil, err
	}
	if err := pause(ctx, v.feed.s.bytes.reserve(time.Now(), v.size)); err != nil {
		v.feed.s.bytes.settle(-v.size)
		return nil, err
	}
	p, err := v.feed.newer(ctx, v.seen)
	if err != nil {
		v.feed.s.bytes.settle(-v.size)
		return nil, err
	}
	v.feed.s.bytes.settle(len(p.jpeg) - v.size)
	now := time.Now()
	if v.next = v.next.Add(v.period); v.next.Before(now) {
		v.next = now.Add(v.period * 3 / 4) // late: the schedule starts anew, without a burst
	}
	v.seen, v.size = p.n, len(p.jpeg)
	return p, nil
}

// pause waits for d, not at all where it is not positive.
func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// budget is bytes a second for all viewers together, with half a second's worth at once.
type budget struct {
	rate int

	mu   sync.Mutex
	free time.Time // when all that was reserved is paid for
}

// reserve takes n bytes and says how long to wait before they may be sent. Who reserves first goes first.
func (b *budget) reserve(now time.Time, n int) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	if earliest := now.Add(-time.Second / 2); b.free.Before(earliest) {
		b.free = earliest
	}
	b.free = b.free.Add(b.span(n))
	return b.free.Sub(now)
}

// settle corrects a reservation by what was sent more or less.
func (b *budget) settle(n int) {
	b.mu.Lock()
	b.free = b.free.Add(b.span(n))
	b.mu.Unlock()
}

func (b *budget) span(n int) time.Duration {
	return time.Duration(float64(n) / float64(b.rate) * float64(time.Second))
}
