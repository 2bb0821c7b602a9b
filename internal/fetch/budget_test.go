package fetch

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"
)

// budget grants what the test says.
type budget struct {
	mu            sync.Mutex
	left, counted int64
	pause         time.Duration
}

func (b *budget) Allow(_ context.Context, n int64) (time.Duration, string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if n > b.left {
		return time.Hour, "all is spent"
	}
	b.left -= n
	return b.pause, ""
}

func (b *budget) Count(_ context.Context, n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.counted += n
}

func TestBudgetStopsAndTheRestComesLater(t *testing.T) {
	o := &object{data: random(1 << 20), etag: `"1"`}
	url := serve(t, o)
	b := &budget{left: 300_000, pause: time.Microsecond}
	c := client(t, func(c *Config) { c.Budget = b }, url)
	r := want(t, o.data, url)
	var spent *BudgetError
	if err := c.File(limit(t), r); !errors.As(err, &spent) || spent.Wait != time.Hour || !strings.Contains(err.Error(), "all is spent") {
		t.Fatalf("got %v", err)
	}
	first := c.Stats().Received
	if first == 0 || first > 300_000 {
		t.Errorf("%d bytes on a budget of 300000", first)
	}
	if err := c.File(limit(t), r); !errors.As(err, &spent) {
		t.Fatalf("got %v", err)
	}
	if n := len(o.requests()); n != 1 {
		t.Errorf("%d requests: one was made on a budget that was spent", n)
	}
	b.left = 1 << 30
	before := b.left
	if err := c.File(limit(t), r); err != nil {
		t.Fatal(err)
	}
	arrived(t, r, o.data)
	if s := c.Stats(); s.Received != 1<<20 || s.Resumed != 1 {
		t.Errorf("%+v", s)
	}
	if used := before - b.left; used < 1<<20-first || used > 1<<20-first+blockSize {
		t.Errorf("%d granted for %d", used, 1<<20-first)
	}
	if _, err := c.Put(limit(t), url, strings.NewReader("much"), 4, "text/plain"); err != nil {
		t.Error(err)
	}
	b.left, b.counted = 0, 0
	if _, err := c.Put(limit(t), url, strings.NewReader("much"), 4, "text/plain"); err != nil || b.counted != 4 {
		t.Errorf("put on a spent budget: %v, %d counted", err, b.counted)
	}
	if _, err := c.Get(limit(t), url, 2<<20); err != nil || b.counted < 1<<20+4 {
		t.Errorf("get on a spent budget: %v, %d counted", err, b.counted)
	}
}

// What comes over the link for nothing when a transfer pauses in the middle is bounded, however fast the server is.
func TestAPauseCostsLittle(t *testing.T) {
	o := &object{data: random(16 << 20), etag: `"1"`}
	l := &link{narrow: true}
	url := l.listen(t, strings.TrimPrefix(serve(t, o), "http://"))
	b := &budget{}
	c := client(t, func(c *Config) { c.Budget = b }, url)
	r := want(t, o.data, url)
	var spent *BudgetError
	pauses := int64(0)
	for err := error(nil); ; pauses++ {
		b.mu.Lock()
		b.left, b.pause = 1<<20, 5*time.Millisecond // the reader is slower than the link
		b.mu.Unlock()
		if err = c.File(limit(t), r); err == nil {
			break
		}
		if !errors.As(err, &spent) || pauses > 20 {
			t.Fatal(pauses, err)
		}
	}
	arrived(t, r, o.data)
	more := l.passed.Load() - c.Stats().Received
	t.Logf("%d pauses; %d bytes over the link that were not counted, %d each", pauses, more, more/max(pauses, 1))
	if pauses < 15 || more > pauses*(512<<10) {
		t.Errorf("%d pauses cost %d bytes", pauses, more)
	}
}
