package vision

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"time"

	"heron/inference"
)

// session is one connection: one heron-vision process from its start to its end. Fields below mu belong to Client.mu.
type session struct {
	c      *Client
	conn   net.Conn
	proc   *process // nil when somebody else started it
	w      *writer
	begun  time.Time
	places chan struct{} // bounds requests in flight

	// Under Client.mu:
	hello      bool
	progress   time.Time // of loading: the last step forward
	lastBeat   time.Time
	delivering bool   // inside OnObservation, which is heron's own time
	loading    string // slot being loaded
	engine     string // on which engine, as the order has it; empty before the first
	slots      map[string]*slotProgress
	firstObs   time.Time
	lastObs    time.Time
	readyAt    time.Time
	beat       beat
	fresh      map[string]time.Time // since when a camera's frames have kept coming
	requests   map[uint64]chan any
	nextID     uint64
	ended      bool
	boundsTold uint64      // Client.boundsSet when the process was told
	gone       error       // why requests cannot be answered any more
	trial      *trial      // of an engine; watch's goroutine alone uses it
	end        chan string // a wish that the process be replaced, with the reason
}

// slotProgress is how far one slot has come in this process.
type slotProgress struct {
	settled       bool // loaded or refused once
	loaded        bool
	model, engine string
	choice        string // engine as the slot's order has it, its device included where one was asked for
	on            string // … and as an order has it that asks for the device in use
	accelerated   bool
	earlier       [2]string // model and engine before a promotion: an observation of theirs may still be on its way
	firstObs      time.Time
	lastObs       time.Time
	retryAt       time.Time // of a refused one
}

func newSession(c *Client, conn net.Conn, proc *process) *session {
	now := time.Now()
	s := &session{c: c, conn: conn, proc: proc, w: newWriter(conn, time.Second), begun: now, progress: now, lastBeat: now,
		slots: map[string]*slotProgress{}, fresh: map[string]time.Time{}, requests: map[uint64]chan any{}, places: make(chan struct{}, maxInFlight), end: make(chan string, 1)}
	for name := range c.known.slots {
		s.slots[name] = &slotProgress{}
	}
	return s
}

// run serves the session until ctx ends, the sources end (nil, nil), or the process is lost. It returns after the process and the reader are gone.
func (s *session) run(ctx context.Context, h *history) (*loss, error) {
	read := make(chan error, 1)
	go func() {
		defer close(read)
		read <- s.read()
	}()
	l, err := s.watch(ctx, h, read)
	s.endTrial()
	if l != nil {
		l.at = time.Now()
	}
	s.conn.Close()
	s.endProcess(l == nil || l.cause == CauseExit || l.planned)
	for range read { // until the reader is gone
	}
	if l != nil && l.cause == CauseExit {
		s.explainExit(l)
	}
	return l, err
}

// endProcess makes sure that a spawned process is gone. One that was asked politely (its connection is closed) has a second to go.
func (s *session) endProcess(politely bool) {
	if s.proc == nil || politely && s.proc.wait(time.Second) {
		return
	}
	s.proc.kill()
	if !s.proc.wait(5 * time.Second) {
		s.c.log.Error("heron-vision does not go after SIGKILL; a driver in the kernel holds it", "pid", s.proc.pid)
	}
}

// watch waits for the end: by ctx, by the reader, or by a deadline.
func (s *session) watch(ctx context.Context, h *history, read <-chan error) (*loss, error) {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	last := time.Now()
	for {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case err := <-read:
			h.forget(s, time.Now())
			return s.lostReader(err, h.failures), nil
		case why := <-s.end:
			return &loss{cause: CauseReturn, planned: true, reason: why}, nil
		case err := <-s.results():
			if l := s.tried(err); l != nil {
				return l, nil
			}
		case now := <-tick.C:
			now = time.Now() // a tick may have waited
			if gap := now.Sub(last); gap > 5*watchEvery {
				s.forgive(gap) // heron itself was stopped or starved: what the process said meanwhile has not been read yet
			}
			last = now
			if l := s.verdict(now, h); l != nil {
				return l, nil
			}
			s.retry(now, h)
			s.tryEngines(ctx, now)
		}
	}
}

// lostReader turns the reader's end into a loss; nil after all sources have ended. failures are the losses before it, in a row.
func (s *session) lostReader(err error, failures int) *loss {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	var bad *protocolError
	var lost *engineError
	switch {
	case s.ended:
		return nil
	case errors.As(err, &lost):
		return &loss{cause: CauseEngine, slot: lost.Slot, engine: lost.Engine, known: lost.Known, reason: fmt.Sprintf("engine %s of slot %s failed: %s", lost.Engine, lost.Slot, lost.Reason)}
	case errors.As(err, &bad):
		return &loss{cause: CauseProtocol, reason: s.name() + " broke the protocol: " + bad.what}
	}
	return &loss{cause: CauseExit, slot: s.loading, loading: s.loading != "", engine: s.engine, suspect: s.suspect(failures)}
}

// explainExit says why a process closed its connection. Who kills a process from outside says nothing about a model.
func (s *session) explainExit(l *loss) {
	l.reason = s.name() + " closed the connection"
	if s.proc != nil {
		how, killed := s.proc.end()
		l.reason = s.name() + " " + how
		if killed {
			l.slot, l.loading, l.engine, l.suspect, l.outside = "", false, "", "", true
		}
	} else if !s.hello {
		l.reason += " before saying hello (too many connections, or it cannot start: see its log)"
	}
	if l.loading {
		l.reason += s.whose(l)
	}
}

func (s *session) name() string {
	switch {
	case s.proc != nil:
		return "heron-vision (pid " + strconv.Itoa(s.proc.pid) + ")"
	case s.c.stats.PID > 0:
		return "heron-vision (pid " + strconv.Itoa(s.c.stats.PID) + ")"
	}
	return "heron-vision"
}

// read takes messages until the connection ends. It alone calls OnObservation.
func (s *session) read() error {
	r := newReader(s.conn)
	for {
		k, b, err := r.next()
		if err != nil {
			if errors.Is(err, io.EOF) {
				return io.EOF
			}
			return err
		}
		m, err := decode(k, b)
		if err != nil {
			return err
		}
		if err := s.handle(k, m); err != nil {
			return err
		}
		if k == kindEnded {
			return nil
		}
	}
}

func (s *session) handle(k kind, m any) error {
	if h, ok := m.(*hello); ok != !s.hello { // s.hello is written by this goroutine alone
		return badf("message of kind %d in the wrong place", k)
	} else if ok {
		return s.onHello(h)
	}
	switch m := m.(type) {
	case *Observation:
		return s.onObservation(m)
	case *beat:
		return s.onBeat(m)
	case *loading:
		return s.onLoading(m)
	case *loaded:
		return s.onLoaded(m)
	case *Refused:
		return s.onRefused(m)
	case *picture:
		return s.answer(m.ID, m)
	case *classified:
		return s.answer(m.ID, m)
	case *engineLost:
		return s.onEngineLost(m)
	case *engines:
		return s.onEngines(m)
	case *staged:
		return s.answer(m.ID, m)
	case *promoted:
		return s.onPromoted(m)
	case *Shadow:
		return s.onShadow(m)
	}
	s.c.mu.Lock()
	s.ended = true
	s.c.mu.Unlock()
	return nil
}

func (s *session) onHello(h *hello) error {
	if h.Protocol != ProtocolVersion {
		return badf("it speaks protocol %d (version %s), this heron %d; install heron and heron-vision of the same release", h.Protocol, h.Version, ProtocolVersion)
	}
	c := s.c
	c.change(func() {
		now := time.Now()
		s.hello, s.lastBeat, s.progress = true, now, now
		c.stats.PID, c.stats.Version, c.stats.Engines = h.PID, h.Version, h.Engines
		c.state(StateLoading)
		s.settle(now)
	})
	c.sendPace()
	return nil
}

// onBeat keeps the newest beat; one that names anything not configured is damage (and would grow heron's metrics without bound).
func (s *session) onBeat(b *beat) error {
	now := time.Now()
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	for i, m := range b.Cameras {
		if _, ok := s.c.known.cameras[m.Name]; !ok || slices.ContainsFunc(b.Cameras[:i], func(o CameraStats) bool { return o.Name == m.Name }) {
			return badf("beat with a camera %.40q that was not configured", m.Name)
		}
		if m.FrameAge < 0 || m.FrameAge > s.c.known.cameras[m.Name].Stall.Seconds() {
			delete(s.fresh, m.Name)
		} else if s.fresh[m.Name].IsZero() {
			s.fresh[m.Name] = now
		}
	}
	for i, m := range b.Slots {
		if s.slots[m.Slot] == nil || slices.ContainsFunc(b.Slots[:i], func(o SlotStats) bool { return o.Slot == m.Slot }) {
			return badf("beat with a slot %.40q that was not configured", m.Slot)
		}
	}
	s.lastBeat, s.beat = now, *b
	s.c.stats.Cameras, s.c.stats.Slots, s.c.stats.RSS = b.Cameras, b.Slots, b.RSS
	return nil
}

func (s *session) onObservation(o *Observation) error {
	now := time.Now()
	s.c.mu.Lock()
	cam, ok := s.c.known.cameras[o.Camera]
	slot := s.slots[o.Slot]
	if !ok || cam.Slot != o.Slot || slot == nil || !slot.loaded ||
		(o.Model != slot.model || o.Engine != slot.engine) && (o.Model == "" || [2]string{o.Model, o.Engine} != slot.earlier) {
		s.c.mu.Unlock()
		return badf("observation of camera %.40q, slot %.40q, model %.40q, engine %.40q, which was not configured or announced", o.Camera, o.Slot, o.Model, o.Engine)
	}
	if s.firstObs.IsZero() {
		s.firstObs = now
	}
	if slot.firstObs.IsZero() {
		slot.firstObs = now
	}
	s.lastObs, slot.lastObs, s.delivering = now, now, true
	s.c.mu.Unlock()
	if s.c.cfg.OnObservation != nil {
		s.c.cfg.OnObservation(*o)
	}
	s.c.mu.Lock()
	if s.delivering = false; time.Since(now) > watchEvery {
		s.lastBeat = time.Now()
	}
	s.c.mu.Unlock()
	return nil
}

func (s *session) onLoading(l *loading) error {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	if s.slots[l.Slot] == nil || s.loading != "" && s.loading != l.Slot {
		return badf("loading of slot %.40q, which was not configured, or beside another", l.Slot)
	}
	s.loading, s.engine, s.progress = l.Slot, l.Engine, time.Now()
	s.c.courses[l.Slot].loading(l)
	return nil
}

func (s *session) onLoaded(l *loaded) error {
	slot := s.slots[l.Slot]
	if slot == nil {
		return badf("slot %.40q was loaded, which was not configured", l.Slot)
	}
	s.c.change(func() {
		now := time.Now()
		slot.loaded, slot.model, slot.engine, slot.choice, slot.settled = true, l.Model, l.Engine, l.choice(), true
		slot.on, slot.accelerated = inference.Choice(l.Engine, l.Device), onAccelerator(l.Device)
		delete(s.c.refused, l.Slot)
		if s.c.courses[l.Slot].loaded(l, now, s.c.cfg.EngineRetry) {
			s.c.stats.Returns++
		}
		s.loading, s.engine, s.progress = "", "", now
		s.settle(now)
	})
	return nil
}

func (s *session) onRefused(r *Refused) error {
	slot := s.slots[r.Slot]
	if slot == nil {
		return badf("slot %.40q was refused, which was not configured", r.Slot)
	}
	s.c.change(func() {
		now := time.Now()
		slot.loaded, slot.settled, slot.retryAt = false, true, now.Add(s.c.pace.refused)
		s.c.refused[r.Slot] = *r
		s.loading, s.engine, s.progress = "", "", now
		s.settle(now)
	})
	return nil
}

// settle sets the state once every slot has been loaded or refused; Client.mu is held.
func (s *session) settle(now time.Time) {
	c := s.c
	usable := len(s.slots) == 0
	for _, slot := range s.slots {
		if !slot.settled {
			return
		}
		usable = usable || slot.loaded
	}
	if s.readyAt.IsZero() {
		s.readyAt = now
		if !c.lostAt.IsZero() {
			c.stats.LastReason += fmt.Sprintf("; replaced after %.2f s", now.Sub(c.lostAt).Seconds())
			c.lostAt = time.Time{}
		}
	}
	if usable {
		c.state(StateRunning)
	} else {
		c.state(StateRefused)
	}
}
