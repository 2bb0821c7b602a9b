package vision

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"heron/inference"
)

// Standby is an engine that a slot should rather run on, and why it does not.
type Standby struct {
	Slot     string        `json:"slot"`
	Engine   string        `json:"engine"` // as in the slot's order: "edgetpu:usb:2-1" and "edgetpu:usb:2-2" are two
	Code     string        `json:"code"`   // that of inference.Refusal, or the Cause of the loss
	Reason   string        `json:"reason"`
	NextStep string        `json:"next_step,omitempty"`
	Lost     bool          `json:"lost"` // it ran here and failed; else it never started
	Since    time.Time     `json:"since"`
	RetryIn  time.Duration `json:"retry_in"` // until it is tried again by itself; 0 while it is being tried; −1: only when something is plugged in
	retryAt  time.Time
	wait     time.Duration    // between tries; doubling
	known    *inference.Known // what it answered while it worked here; nil: not known
}

// course is the engines of one slot: the order wanted, the one in use, and those before it that are not usable. Client.mu guards it.
type course struct {
	order   []string
	active  string
	since   time.Time // of active
	standby []Standby
	coming  string         // engine that a new process is to bring back
	short   map[string]int // engine → how many times in a row it was lost soon after it had come into use
	doubted time.Time      // when one was lost last
}

const (
	// acceleratorTimeout is the bound of one inference on an engine that another one can stand in for: nothing that is called an accelerator
	// takes so long, and results have to flow again within five seconds.
	acceleratorTimeout = 2 * time.Second
	freeShort          = 3  // so many short uses in a row are not called flapping
	longUse            = 6  // × EngineRetry: an engine that worked so long is not flapping
	mostRetry          = 60 // × EngineRetry: the longest wait between two tries of an engine that was lost
	idleRetry          = 12 // × EngineRetry: the first wait of one that never started; up to an hour
	plugSettle         = 500 * time.Millisecond
)

// heir is the course of another model in the slot: what is known of lost engines is known of their devices, the rest was the model's.
func (p *course) heir() *course {
	h := &course{short: p.short, doubted: p.doubted}
	for _, s := range p.standby {
		if s.Lost {
			h.standby = append(h.standby, s)
		}
	}
	return h
}

func (p *course) find(engine string) *Standby {
	for i := range p.standby {
		if p.standby[i].Engine == engine {
			return &p.standby[i]
		}
	}
	return nil
}

// alternative says whether the slot has an engine to go to when it loses this one.
func (p *course) alternative(engine string) bool {
	return slices.Contains(p.order, engine) && slices.ContainsFunc(p.order, func(e string) bool { return e != engine && p.find(e) == nil })
}

// loading notes the order of a slot's engines. Client.mu is held.
func (p *course) loading(l *loading) {
	if len(l.Engines) > 0 {
		p.order = l.Engines
	}
}

// loaded notes the engine that came into use, and those before it that did not; true: it is one that was to come back. Client.mu is held.
func (p *course) loaded(l *loaded, now time.Time, retry time.Duration) (returned bool) {
	if p.active != l.choice() || p.since.IsZero() {
		p.active, p.since = l.choice(), now
	}
	place := slices.Index(p.order, p.active)
	p.standby = slices.DeleteFunc(p.standby, func(s Standby) bool { return slices.Index(p.order, s.Engine) >= place })
	for _, k := range l.Skipped {
		if k.Code == inference.CodeAvoided || !slices.Contains(p.order, k.Engine) {
			continue // known already, or no entry in the bundle: that will not change
		}
		s := p.find(k.Engine)
		if s == nil {
			p.standby = append(p.standby, Standby{Slot: l.Slot, Engine: k.Engine, Since: now, wait: idleRetry * retry, retryAt: now.Add(idleRetry * retry)})
			s = &p.standby[len(p.standby)-1]
		}
		s.Code, s.Reason, s.NextStep = k.Code, k.Reason, k.NextStep
		if k.Engine == p.coming { // it worked in its trial: it comes and goes
			p.shortUse(k.Engine)
			s.wait = p.waitAfterLoss(k.Engine, retry)
			s.retryAt = now.Add(s.wait)
		}
	}
	returned, p.coming = p.coming != "" && p.active == p.coming, ""
	return returned
}

// shortUse counts a use of an engine that ended at once.
func (p *course) shortUse(engine string) {
	if p.short == nil {
		p.short = map[string]int{}
	}
	p.short[engine]++
}

// waitAfterLoss doubles with each short use that is not free.
func (p *course) waitAfterLoss(engine string, retry time.Duration) time.Duration {
	return min(retry<<max(0, p.short[engine]-freeShort), mostRetry*retry)
}

// choice is the engine as the slot's order has it.
func (l *loaded) choice() string { return cmp.Or(l.Choice, l.Engine) }

// lose takes an engine out of use; false when the slot has no other one, and the loss is the model's own affair. Client.mu is held.
func (p *course) lose(slot, engine, code, reason string, now time.Time, retry time.Duration) bool {
	if engine == "" || !p.alternative(engine) {
		return false
	}
	p.doubted, p.coming = now, ""
	if p.active == engine && now.Sub(p.since) >= longUse*retry {
		delete(p.short, engine)
	} else {
		p.shortUse(engine)
	}
	s := p.find(engine)
	if s == nil {
		p.standby = append(p.standby, Standby{Slot: slot, Engine: engine})
		s = &p.standby[len(p.standby)-1]
	}
	s.Code, s.Reason, s.NextStep, s.Lost, s.Since = code, reason, "it comes back by itself when it works again; check its plug, power and temperature", true, now
	s.wait = p.waitAfterLoss(engine, retry)
	s.retryAt = now.Add(s.wait)
	if p.active == engine {
		p.active, p.since = "", time.Time{}
	}
	return true
}

// plugged makes every engine that may have come back due, but for those that flap.
func (p *course) plugged(now time.Time) {
	for i := range p.standby {
		s := &p.standby[i]
		if s.known = nil; s.mayReturn() && p.short[s.Engine] < freeShort { // another one may be there now
			s.retryAt = now.Add(plugSettle)
		}
	}
}

// mayReturn tells what time or a plug can mend from what only another bundle can.
func (s *Standby) mayReturn() bool {
	return s.Lost || slices.Contains([]string{inference.CodeUnavailable, inference.CodeGolden, inference.CodeHung, inference.CodeNotFinite}, s.Code)
}

// due is the best engine that is to be tried now; nil when there is none.
func (p *course) due(now time.Time) *Standby {
	for _, e := range p.order {
		if s := p.find(e); s != nil && s.mayReturn() && !now.Before(s.retryAt) {
			return s
		}
	}
	return nil
}

// failed notes a try that did not succeed.
func (s *Standby) failed(err error, now time.Time, retry time.Duration) {
	most := time.Hour
	if s.Lost {
		most = mostRetry * retry
	}
	s.wait = min(2*s.wait, max(most, idleRetry*retry))
	s.retryAt = now.Add(s.wait)
	if r := asRefusal(err); r != nil {
		s.Code, s.Reason, s.NextStep = r.Code, r.What, r.NextStep
	} else {
		s.Reason = err.Error()
	}
}

// avoided are the engines that a new process must not use, by slot. Client.mu is held.
func (c *Client) avoided() map[string]avoids {
	all := map[string]avoids{}
	for slot, p := range c.courses {
		for _, s := range p.standby {
			if s.Lost {
				if all[slot] == nil {
					all[slot] = avoids{}
				}
				all[slot][s.Engine] = fmt.Sprintf("it was lost at %s: %s", s.Since.UTC().Format(time.TimeOnly+"Z"), cleanText(s.Reason))
			}
		}
	}
	return all
}

// standbys copies what Stats tells. Client.mu is held.
func (c *Client) standbys(now time.Time) (all []Standby) {
	for _, slot := range c.cfg.Config.Slots {
		p := c.courses[slot.Slot]
		for _, e := range p.order {
			s := p.find(e)
			if s == nil {
				continue
			}
			out := *s
			out.RetryIn = -1
			if s.mayReturn() {
				out.RetryIn = max(0, s.retryAt.Sub(now))
			}
			all = append(all, out)
		}
	}
	return all
}

// loseEngine decides whether a loss is answered by another engine.
func (c *Client) loseEngine(l *loss, now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	slot, engine := l.slot, l.engine
	if l.suspect != "" {
		slot, engine = l.suspect, c.courses[l.suspect].active
	}
	p := c.courses[slot]
	if p == nil || !p.lose(slot, engine, l.cause, l.reason, now, c.cfg.EngineRetry) {
		return false
	}
	p.find(engine).known = l.known
	c.stats.Fallbacks++
	return true
}

// engineError ends the reader: heron-vision has said that an engine cannot be trusted any more.
type engineError struct{ engineLost }

func (e *engineError) Error() string { return "engine lost: " + e.Reason }

// suspect is the slot that runs on an accelerator while nothing is being loaded: where a process dies without a word, its driver is the first
// to be doubted. Of several, none is the first time; when it happens again (failures are the deaths before), they take turns, as far as they have
// another engine to go to: one that was not to blame comes back after its trial. Client.mu is held.
func (s *session) suspect(failures int) (slot string) {
	if s.loading != "" {
		return ""
	}
	all, longest := 0, time.Time{}
	for _, c := range s.c.cfg.Config.Slots {
		p, course := s.slots[c.Slot], s.c.courses[c.Slot]
		if !p.accelerated || !p.loaded {
			continue
		}
		all++
		if course.alternative(p.choice) && (slot == "" || course.doubted.Before(longest)) {
			slot, longest = c.Slot, course.doubted
		}
	}
	if all > 1 && failures == 0 {
		return ""
	}
	return slot
}

func (s *session) onEngineLost(l *engineLost) error {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	if slot := s.slots[l.Slot]; slot == nil || slot.choice != l.Engine {
		return badf("engine %.40q of slot %.40q was lost, which was not in use", l.Engine, l.Slot)
	}
	return &engineError{*l}
}

func (s *session) onEngines(e *engines) error {
	if s.c.look == nil {
		return badf("engines were told of unasked")
	}
	select {
	case s.c.look <- e.Engines:
	default: // told before
	}
	return nil
}
