package status

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// staleAfter is the age from which a frame is not what is before the camera now.
const staleAfter = 2 * time.Second

// shot is one encoded picture, the same bytes for all viewers of a feed. It is never changed.
type shot struct {
	n       uint64 // number of the picture within its feed, from 1
	jpeg    []byte
	frame   uint64 // 0: a card, not a frame
	caption string
}

// feed pulls pictures of one form while a viewer waits for one, no more often than its fastest viewer may have them.
type feed struct {
	s *streams
	form
	stop    context.CancelFunc
	done    chan struct{}
	want    chan struct{}    // one token: a viewer waits
	viewers map[*viewer]bool // under s.mu
	pulled  pulled           // of the goroutine

	mu      sync.Mutex
	newest  *shot
	checked time.Time     // when newest was known to be the newest
	changed chan struct{} // closed, and a new one made, when newest or checked change
	waiting int           // viewers
}

// pulled is what the feed's goroutine remembers of its last pictures.
type pulled struct {
	n       uint64
	have    FrameID   // the last frame that came
	told    time.Time // when the last picture was made
	why     string    // of a card; empty: it was a frame
	trouble time.Time // since when there have been cards
}

// newer waits for a picture after number seen that is no older than a period of the feed.
func (f *feed) newer(ctx context.Context, seen uint64) (*shot, error) {
	f.mu.Lock()
	f.waiting++
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		f.waiting--
		f.mu.Unlock()
	}()
	for {
		f.mu.Lock()
		p, checked, changed := f.newest, f.checked, f.changed
		f.mu.Unlock()
		if p != nil && p.n > seen && time.Since(checked) < f.period() {
			return p, nil
		}
		select {
		case f.want <- struct{}{}:
		default: // it has been told
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// period is the shortest of its viewers'.
func (f *feed) period() time.Duration {
	f.s.mu.Lock()
	defer f.s.mu.Unlock()
	d := 10 * time.Second // the slowest that can be asked for
	for v := range f.viewers {
		d = min(d, v.period)
	}
	return d
}

// run ends with ctx.
func (f *feed) run(ctx context.Context) {
	defer close(f.done)
	for {
		select {
		case <-f.want:
		case <-ctx.Done():
			return
		}
		if !f.wanted() {
			continue
		}
		began, period := time.Now(), f.period()
		p := f.pull(ctx)
		if ctx.Err() != nil {
			return
		}
		f.publish(p)
		if p == nil {
			period = max(period/4, 25*time.Millisecond) // nothing new: look again soon, it costs a message
		}
		if pause(ctx, period-time.Since(began)) != nil {
			return
		}
	}
}

func (f *feed) wanted() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.waiting > 0
}

// publish makes p the newest picture; nil says that the one there is still is.
func (f *feed) publish(p *shot) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if p != nil {
		f.newest = p
	}
	f.checked = time.Now()
	close(f.changed)
	f.changed = make(chan struct{})
}

// pull asks for the newest frame; nil: the last picture still tells the truth. A picture that is not from now has its age in it,
// which is told anew every second; where there is none, a card says why, and is told anew as well.
func (f *feed) pull(ctx context.Context) *shot {
	p, err := f.ask(ctx, f.pulled.have)
	due := time.Since(f.pulled.told) >= f.s.limits.again
	switch {
	case ctx.Err() != nil:
		return nil
	case err != nil:
		f.pulled.have = FrameID{}
		return f.card(ctx, err.Error(), due)
	case p.Age <= staleAfter && p.Same:
		return nil
	case p.Age > staleAfter && p.Same && !due:
		return nil
	}
	f.pulled.have = p.Frame
	if p.Age > staleAfter {
		if why := f.gone(p.Age); why != "" {
			return f.card(ctx, why, due)
		}
	}
	if p.Same { // its age has changed
		if p, err = f.ask(ctx, FrameID{}); err != nil {
			return f.card(ctx, err.Error(), due)
		}
	}
	f.pulled.why, f.pulled.trouble = "", time.Time{}
	return f.shot(p.JPEG, p.Frame.Seq, p.Caption)
}

// ask is one request to the provider, under the pull limit.
func (f *feed) ask(ctx context.Context, have FrameID) (Picture, error) {
	ctx, cancel := context.WithTimeout(ctx, f.s.limits.pull)
	defer cancel()
	p, err := f.s.provider.Picture(ctx, f.camera, PictureOptions{MaxWidth: f.width, Draw: f.draw, Age: true, Have: have})
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded) && err != nil:
		return p, fmt.Errorf("no answer from the vision process within %v", f.s.limits.pull)
	case err != nil || p.Same:
		return p, err
	}
	f.s.encodes.Add(1)
	if !bytes.HasPrefix(p.JPEG, []byte{0xff, 0xd8}) {
		return p, fmt.Errorf("what came from camera %s is not a JPEG", f.camera)
	}
	return p, nil
}

func (f *feed) shot(jpeg []byte, frame uint64, caption string) *shot {
	f.pulled.n++
	f.pulled.told = time.Now()
	return &shot{n: f.pulled.n, jpeg: jpeg, frame: frame, caption: caption}
}

// gone says why a frame of this age is not the camera's fault alone; empty where the camera runs and is only slow.
func (f *feed) gone(age time.Duration) string {
	snap := f.s.provider.Snapshot()
	i := slices.IndexFunc(snap.Cameras, func(c Camera) bool { return c.Name == f.camera })
	switch {
	case i < 0:
		return "This camera is not configured any more."
	case snap.Vision.State != "" && snap.Vision.State != "running":
		return "The vision process is not running (" + snap.Vision.State + ")."
	case snap.Cameras[i].State == "running":
		return ""
	case snap.Cameras[i].State == "ended":
		return "The source has come to its end."
	}
	why := "The camera is " + snap.Cameras[i].State + "; its last frame is " + duration(age.Seconds()) + " old."
	if e := snap.Cameras[i].LastError; e != "" {
		why += " " + e
	}
	return why
}

// card is a picture that says why there is none, with the time; nil where the last one says the same and is not due yet.
func (f *feed) card(ctx context.Context, why string, due bool) *shot {
	if ctx.Err() != nil || !due && f.pulled.why != "" {
		return nil
	}
	now := time.Now()
	if f.pulled.why == "" {
		f.pulled.trouble = now
	}
	f.pulled.why = why
	snap := f.s.provider.Snapshot()
	if v := snap.Vision; v.State != "" && v.State != "running" && v.LastReason != "" {
		why += " Last: " + v.LastReason
	}
	height := f.width * 3 / 4
	if i := slices.IndexFunc(snap.Cameras, func(c Camera) bool { return c.Name == f.camera }); i >= 0 && snap.Cameras[i].Height > 0 {
		height = f.width * min(2*snap.Cameras[i].Width, snap.Cameras[i].Height) / max(1, snap.Cameras[i].Width) // the page stays as it is
	}
	when := clockText(now)
	if d := now.Sub(f.pulled.trouble); d >= time.Second {
		when += ", for " + duration(d.Seconds())
	}
	jpeg, err := f.s.provider.Card(f.width, height, "No picture of "+f.camera, why, when, "It comes back here by itself.")
	if err != nil {
		return nil // a bug of ours: the viewers wait
	}
	f.s.encodes.Add(1)
	return f.shot(jpeg, 0, "no picture: "+why)
}
