package vision

import (
	"math"
	"strings"
	"unicode"
	"unicode/utf8"

	"heron/inference"
)

// heron-vision parses foreign pixels and models, so what it says is checked here before anything else in heron sees it.
// Names are refused when too long or not plain; texts for people are cut and cleaned.

const (
	maxName  = 256  // bytes of a name: camera, slot, model, label, file
	maxText  = 1024 // bytes of a text for people
	maxTop   = 100  // scores of an observation
	maxFacts = 32
	maxKnown = 1 << 15 // values of an engine's answer; of a longer one nothing is told
	maxList  = 256     // cameras, slots, engines in one message
)

func okName(s string) bool {
	if len(s) > maxName || !utf8.ValidString(s) {
		return false
	}
	return strings.IndexFunc(s, unicode.IsControl) < 0
}

func okNames(list ...string) bool {
	for _, s := range list {
		if !okName(s) {
			return false
		}
	}
	return true
}

// cleanText makes a foreign text fit for a log line and a page.
func cleanText(s string) string {
	if len(s) > maxText {
		s = strings.ToValidUTF8(s[:maxText], "") + "…"
	}
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	return strings.TrimSpace(s)
}

// okNumber: finite, not negative, and small enough to become a time.Duration in milliseconds.
func okNumber(list ...float64) bool {
	for _, f := range list {
		if math.IsNaN(f) || f < 0 || f > 1e12 {
			return false
		}
	}
	return true
}

func (o *Observation) check() error {
	switch {
	case !okNames(o.Camera, o.Slot, o.Model, o.Engine, o.Name, o.Code):
		return badf("observation with a name that is too long or not plain text")
	case !okNumber(o.AgeMS, o.LatMS, o.PrepMS, float64(o.MonoMS)):
		return badf("observation of camera %q with a number out of range", o.Camera)
	case len(o.Top) > maxTop || len(o.Facts) > maxFacts:
		return badf("observation of camera %q with %d scores and %d facts", o.Camera, len(o.Top), len(o.Facts))
	case o.At.Year() < 1 || o.At.Year() > 9999:
		return badf("observation of camera %q from the year %d", o.Camera, o.At.Year())
	case !okNames(o.Facts...):
		return badf("observation of camera %q with a fact that is not plain text", o.Camera)
	}
	o.Error = cleanText(o.Error)
	return checkScores(o.Camera, o.Top)
}

func checkScores(camera string, top []inference.Score) error {
	for _, s := range top {
		if !okName(s.Label) || math.IsNaN(s.Score) || s.Score < 0 || s.Score > 1.0001 {
			return badf("observation of camera %q with score %g for %.40q", camera, s.Score, s.Label)
		}
	}
	return nil
}

func (h *hello) check() error {
	if h.PID <= 0 || len(h.Cameras) > maxList || !okNames(h.Cameras...) || !okName(h.Version) {
		return badf("hello is out of bounds")
	}
	return checkEngines(h.Engines)
}

func (e *engines) check() error { return checkEngines(e.Engines) }

func checkEngines(list []EngineReport) error {
	if len(list) > maxList {
		return badf("%d engines are told of", len(list))
	}
	for i := range list {
		e := &list[i]
		if !okNames(e.Engine, e.Device, e.Version) {
			return badf("an engine is named in no plain text")
		}
		e.Reason, e.NextStep = cleanText(e.Reason), cleanText(e.NextStep)
	}
	return nil
}

func (m *staged) check() error {
	if !okNames(m.Model, m.Engine, m.Device) || !okNumber(m.LoadMS) {
		return badf("answer about a candidate is out of bounds")
	}
	if m.Refused != nil {
		return m.Refused.check()
	}
	return nil
}

func (m *promoted) check() error {
	m.Error = cleanText(m.Error)
	if len(m.Engines) > maxList || !okNames(m.Engines...) {
		return badf("answer about a promotion is out of bounds")
	}
	return m.loaded.check()
}

func (m *Shadow) check() error {
	m.Error = cleanText(m.Error)
	if !okNames(m.Slot, m.Camera, m.Model, m.Code) || !okNumber(m.LiveMS, m.LatMS) || len(m.Top) > maxTop || len(m.Live) > maxTop {
		return badf("shadow is out of bounds")
	}
	if err := checkScores(m.Camera, m.Live); err != nil {
		return err
	}
	return checkScores(m.Camera, m.Top)
}

func (e *engineLost) check() error {
	if !okNames(e.Slot, e.Engine) || e.Known != nil && (!okName(e.Known.Digest) || len(e.Known.Values) > maxKnown) {
		return badf("a lost engine is named in no plain text, or its answer is too long")
	}
	e.Reason = cleanText(e.Reason)
	return nil
}

func (b *beat) check() error {
	if len(b.Cameras) > maxList || len(b.Slots) > maxList || b.RSS < 0 {
		return badf("beat is out of bounds")
	}
	for i := range b.Cameras {
		c := &b.Cameras[i]
		if !okNames(c.Name, c.State) || !okNumber(c.FrameAge+1, c.Reading, c.Jitter, float64(c.Width), float64(c.Height)) {
			return badf("beat with a camera out of bounds")
		}
		c.LastError = cleanText(c.LastError)
	}
	for _, s := range b.Slots {
		if !okNames(s.Slot, s.Model, s.Engine, s.Device, s.Digest, s.Candidate) || !okNumber(s.Running, s.CandidateRunning, s.LoadMS, float64(s.Labels)) {
			return badf("beat with a slot out of bounds")
		}
	}
	return nil
}

func (r *Refused) check() error {
	if !okNames(r.Slot, r.Code) {
		return badf("refusal in no plain text")
	}
	r.Reason, r.NextStep = cleanText(r.Reason), cleanText(r.NextStep)
	return nil
}

func (p *picture) check() error {
	if !okNumber(float64(p.Width), float64(p.Height), p.AgeMS) || p.At.Year() < 1 || p.At.Year() > 9999 {
		return badf("picture is out of bounds")
	}
	p.Error = cleanText(p.Error)
	if p.Last != nil {
		return p.Last.check()
	}
	return nil
}

func (c *classified) check() error {
	c.Error = cleanText(c.Error)
	switch {
	case c.Observation != nil:
		return c.Observation.check()
	case c.Error == "":
		return badf("an answer without observation or error")
	}
	return nil
}

// decode turns a message from heron-vision into its struct (*hello, *loading, *loaded, *Refused, *Observation, *beat, *picture, *classified,
// *engineLost, *engines; nil for kindEnded), checked. Its errors are protocol errors.
func decode(k kind, b []byte) (any, error) {
	switch k {
	case kindHello:
		return into(b, &hello{})
	case kindLoading:
		return into(b, &loading{})
	case kindLoaded:
		return into(b, &loaded{})
	case kindRefused:
		return into(b, &Refused{})
	case kindObservation:
		return into(b, &Observation{})
	case kindBeat:
		return into(b, &beat{})
	case kindClassified:
		return into(b, &classified{})
	case kindPicture:
		p, err := splitPicture(b)
		if err != nil {
			return nil, err
		}
		return &p, p.check()
	case kindEnded:
		return nil, nil
	case kindEngineLost:
		return into(b, &engineLost{})
	case kindEngines:
		return into(b, &engines{})
	case kindStaged:
		return into(b, &staged{})
	case kindPromoted:
		return into(b, &promoted{})
	case kindShadow:
		return into(b, &Shadow{})
	}
	return nil, badf("message of kind %d goes the other way", k)
}

type checker interface{ check() error }

func into[T checker](b []byte, v T) (any, error) {
	if err := unmarshal(b, v); err != nil {
		return nil, err
	}
	return v, v.check()
}

func (l *loading) check() error {
	if !okNames(l.Slot, l.Engine) || len(l.Engines) > maxList || !okNames(l.Engines...) {
		return badf("loading message is out of bounds")
	}
	return nil
}

func (l *loaded) check() error {
	if !okNames(l.Slot, l.Model, l.Engine, l.Choice, l.Device) || !okNumber(l.TookMS) || len(l.Skipped) > maxList {
		return badf("loaded message is out of bounds")
	}
	for i := range l.Skipped {
		k := &l.Skipped[i]
		if !okNames(k.Engine, k.Code) {
			return badf("loaded message names an engine in no plain text")
		}
		k.Reason, k.NextStep = cleanText(k.Reason), cleanText(k.NextStep)
	}
	return nil
}
