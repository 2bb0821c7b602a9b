package uplink

import (
	"sync"
	"time"
)

// room is what the window has place for.
type room int

const (
	roomNone room = iota
	roomLive      // live groups only: the backlog may not fill the last quarter
	roomAll
)

// window bounds what is sent and not yet acknowledged, in publishes and in bytes. It grows while PUBACKs come back fast, by one for
// each, and is halved when they come slow, so that on a thin link what is under way stays a matter of seconds and an alarm does not
// queue behind minutes of backlog. One group may always be under way, whatever its size.
type window struct {
	most, mostBytes int
	slow            time.Duration
	grows           bool
	freed           chan struct{} // holds a token when something was freed since it was last read

	mu       sync.Mutex
	limit    int // of publishes now; bytes in proportion
	groups   int
	bytes    int
	pressed  bool // somebody found it full
	shrunkAt time.Time
}

func newWindow(most, mostBytes, start int, slow time.Duration, grows bool) *window {
	return &window{most: most, mostBytes: mostBytes, slow: slow, grows: grows, limit: min(start, most), freed: make(chan struct{}, 1)}
}

func (w *window) room() room {
	w.mu.Lock()
	defer w.mu.Unlock()
	bytes := w.mostBytes * w.limit / w.most
	switch {
	case w.groups == 0:
		return roomAll
	case w.groups >= w.limit || w.bytes >= bytes:
		w.pressed = true
		return roomNone
	case w.groups >= w.limit-w.limit/4 || w.bytes >= bytes-bytes/4:
		w.pressed = true
		return roomLive
	}
	return roomAll
}

func (w *window) take(bytes int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.groups++
	w.bytes += bytes
}

// acked frees what one group held; after is how long its PUBACK took.
func (w *window) acked(bytes int, after time.Duration) {
	w.mu.Lock()
	w.groups--
	w.bytes -= bytes
	switch {
	case after > w.slow:
		if time.Since(w.shrunkAt) > after { // once for each round trip: those under way were sent before
			w.limit, w.shrunkAt = max(1, w.limit/2), time.Now()
		}
	case after < w.slow/3 && w.pressed && w.grows && w.limit < w.most:
		w.limit++
		w.pressed = false
	}
	w.mu.Unlock()
	select {
	case w.freed <- struct{}{}:
	default:
	}
}

// release lets a window grow that was held at one.
func (w *window) release() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.grows = true
}

func (w *window) held() (groups, bytes int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.groups, w.bytes
}

func (w *window) size() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.limit
}
