package camera

import "time"

// State is what a Source is doing.
type State string

// The states of a Source.
const (
	Opening   State = "opening"   // no frame yet, nothing has failed
	Running   State = "running"   // frames come (see Stats.FrameAge for whether they still do)
	Reopening State = "reopening" // it failed; it is opened anew with a back-off
	Ended     State = "ended"     // a file or folder was read to its end
)

// Stats is a copy of a Source's counters.
type Stats struct {
	State State
	Live  bool // frames are replaced by newer ones; false for folders of pictures and video files, and before the first opening

	// FrameAge is the time since the newest frame arrived; −1 before the first. It is 0 while a lossless source waits
	// for its consumer: it has a frame at hand.
	FrameAge time.Duration
	Reading  time.Duration // how long the present call into the driver has taken; 0 between calls

	Width, Height int // of the newest decoded frame

	Read       uint64 // frames that arrived; what could not be decoded is none
	Damaged    uint64 // … and was this many
	Dropped    uint64 // frames, decoded or not, replaced by a newer one before anybody looked: the one place where frames are lost
	Reopened   uint64 // tries to open the device anew after a failure
	Errors     uint64 // failures to open, read or close
	ClockJumps uint64 // times the driver's own timestamps went back or jumped; frames carry our clock
	LastError  string // the latest failure or note, also after it was overcome

	Jitter time.Duration // by how much the time between two frames differs from that between the two before, on average; live sources
}

// progress is what Stats is made of; the Source's mutex guards it.
type progress struct {
	state         State
	live          bool
	newest        time.Time // arrival of the newest frame
	captured      time.Time // … and its capture
	claimed       time.Time // … as the driver told it
	calling       time.Time // begin of the present call into the driver
	holding       bool      // a lossless reader waits for its consumer
	width, height int
	device        time.Duration // the driver's last timestamp
	deviceAt      time.Time     // … and when it came
	read, dropped uint64
	damaged       uint64
	reopened      uint64
	errors, jumps uint64
	lastError     string
	noted         string        // the last note
	jitter        time.Duration // smoothed: by how much an interval differs from the one before
	lastInterval  time.Duration
}

// Stats copies the counters. It never waits for the driver.
func (s *Source) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := &s.stats
	out := Stats{State: p.state, Live: p.live, FrameAge: -1, Width: p.width, Height: p.height, Read: p.read, Dropped: p.dropped, Damaged: p.damaged,
		Reopened: p.reopened, Errors: p.errors, ClockJumps: p.jumps, LastError: p.lastError, Jitter: p.jitter}
	if p.holding {
		out.FrameAge = 0
	} else if !p.newest.IsZero() {
		out.FrameAge = time.Since(p.newest)
	}
	if !p.calling.IsZero() {
		out.Reading = time.Since(p.calling)
	}
	return out
}

func (s *Source) calling() time.Time {
	now := time.Now()
	s.mu.Lock()
	s.stats.calling = now
	s.mu.Unlock()
	return now
}

func (s *Source) called() time.Time {
	now := time.Now()
	s.mu.Lock()
	s.stats.calling = time.Time{}
	s.mu.Unlock()
	return now
}

func (s *Source) opened(lossless bool) {
	s.mu.Lock()
	s.stats.live = !lossless
	s.stats.deviceAt = time.Time{}
	s.demand.arrived = time.Time{}
	s.mu.Unlock()
}

func (s *Source) reopening() {
	s.mu.Lock()
	s.stats.reopened++
	s.mu.Unlock()
}

func (s *Source) failed(err error) {
	s.noteError(err)
	s.mu.Lock()
	s.stats.state = Reopening
	s.mu.Unlock()
}

func (s *Source) noteError(err error) {
	s.mu.Lock()
	s.stats.errors++
	s.stats.lastError = err.Error()
	s.mu.Unlock()
}

// note is Options.Note: said once, counted as no error.
func (s *Source) note(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if what != s.stats.noted {
		s.stats.noted, s.stats.lastError = what, what
	}
}

func (p *progress) arrived(at time.Time) {
	if !p.newest.IsZero() && p.state == Running {
		interval := at.Sub(p.newest)
		if p.lastInterval > 0 {
			p.jitter += (max(interval-p.lastInterval, p.lastInterval-interval) - p.jitter) / 16 // as RFC 3550 does
		}
		p.lastInterval = interval
	}
	p.state = Running
	p.newest = at
}

// capture is the time of a frame that arrived at came, of which the driver claims (if it does) that it was taken at claimed. It is
// believed when it lies after the claim before it, not in the future, and not longer ago than a driver has buffers for: else a clock jumped.
// Capture times never go back.
func (s *Source) capture(claimed, came time.Time, lossless bool) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch p := &s.stats; {
	case claimed.IsZero() || lossless:
	case claimed.After(came) || came.Sub(claimed) > oldest:
		claimed = time.Time{}
	default:
		before := p.claimed
		if p.claimed = claimed; !claimed.After(before) {
			claimed = time.Time{}
		} else if !claimed.After(p.captured) {
			claimed = p.captured.Add(1) // the frame before had to do with its arrival
		}
	}
	if claimed.IsZero() {
		return came
	}
	return claimed
}

// oldest is the greatest age at arrival that is believed.
const oldest = 10 * time.Second

// frame notes a decoded frame.
func (p *progress) frame(f *Frame, lossless bool) {
	p.width, p.height, p.captured = f.Width, f.Height, f.At
	f.Jumps = p.jumps
	if f.Device == 0 || lossless { // a looping file starts its time anew by design
		return
	}
	if !p.deviceAt.IsZero() {
		off := (f.Device - p.device) - f.At.Sub(p.deviceAt)
		if f.Device < p.device || off > clockJumped || off < -clockJumped {
			p.jumps++
		}
	}
	p.device, p.deviceAt = f.Device, f.At
	f.Jumps = p.jumps
}
