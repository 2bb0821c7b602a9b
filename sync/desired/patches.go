package desired

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"heron/internal/atomicfile"
	"heron/sync/message"
)

// Config of Patches.
type Config struct {
	Path  string   // of the journal
	Of    Address  // whose revs these are; the patches themselves stay, whoever gave them
	Base  []byte   // the settings as the device was started with, in JSON, cameras by name
	Allow []string // default Changeable()

	// Validate says what is wrong with settings. Apply puts them in force, and has done so when it returns; nothing of the old ones
	// may still be under way then. Neither is called twice at once, and neither may call Patches but for Report.
	Validate func(settings []byte) error
	Apply    func(settings []byte) error
	Audit    func(message.AuditRecord) // nil: none; its Stamp is to be set by the receiver

	Probation time.Duration // default 10 min: a change to the link is taken back after so long without contact
	Settle    time.Duration // default 10 s: contact counts only so long after the change; before, it may be the old connection's
}

// Patches changes the settings as a desired document asks, and back. Every step is on disk before it is done: a power cut on the
// way leaves the device with settings that were valid, and with a probation that goes on.
type Patches struct {
	conf Config

	mu      sync.Mutex // held while settings are put in force
	journal journal
	since   time.Time     // monotonic: of the probation in this run
	spent   time.Duration // as last written
	told    atomic.Pointer[message.ReportedConfig]
	owed    bool // the settings in force are not those of the journal: to be put in force again
}

// journal is the file.
type journal struct {
	V     int              `json:"v"`
	Of    *Address         `json:"of,omitempty"`   // none: written before there was one
	Good  *change          `json:"good,omitempty"` // kept
	Trial *change          `json:"trial,omitempty"`
	Revs  map[string]int64 `json:"revs"` // the newest of each source
}

// change is one patch.
type change struct {
	Source string          `json:"source"`
	Rev    int64           `json:"rev"`
	By     string          `json:"by,omitempty"`
	Patch  json.RawMessage `json:"patch"`
	State  string          `json:"state"`
	Error  string          `json:"error,omitempty"`
	Spent  time.Duration   `json:"spent,omitempty"`  // of the probation, in earlier runs
	Starts int             `json:"starts,omitempty"` // of the device in probation
}

// maxStarts in probation: settings that make the device start over and over are bad whatever the link says.
const maxStarts = 3

// OpenPatches reads the journal. A damaged one is put aside and told: the device then runs with the settings it was started with, and
// takes the patch anew from the broker. An error without Patches is about conf.
func OpenPatches(conf Config) (*Patches, error) {
	if conf.Path == "" || conf.Validate == nil || conf.Apply == nil {
		return nil, errors.New("patches: Path, Validate and Apply are needed")
	}
	conf.Probation, conf.Settle = cmp.Or(conf.Probation, 10*time.Minute), cmp.Or(conf.Settle, 10*time.Second)
	if conf.Allow == nil {
		conf.Allow = Changeable()
	}
	p := &Patches{conf: conf, journal: journal{V: 1, Of: &conf.Of, Revs: map[string]int64{}}, since: time.Now()}
	b, err := os.ReadFile(conf.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return p, nil
	}
	if err != nil {
		return p, fmt.Errorf("read the journal of the settings: %w", err)
	}
	var j journal
	if err := json.Unmarshal(b, &j); err != nil || j.V != 1 || j.Revs == nil {
		return p, errors.Join(fmt.Errorf("%s is damaged; put aside", conf.Path), os.Rename(conf.Path, conf.Path+".bad"))
	}
	p.journal = j
	p.move()
	p.tell()
	return p, p.resume()
}

// move begins the revs anew that another group, or another device's own document, counted.
func (p *Patches) move() {
	was, of := p.journal.Of, p.conf.Of
	p.journal.Of = &of
	if was == nil || *was == of {
		return
	}
	delete(p.journal.Revs, Device)
	if was.Group != of.Group {
		delete(p.journal.Revs, Group)
	}
}

// resume goes on where the device was stopped.
func (p *Patches) resume() error {
	t := p.journal.Trial
	if t == nil || !t.active() {
		return nil
	}
	p.spent = t.Spent
	if t.Starts++; t.Starts >= maxStarts {
		p.end(message.ConfigReverted, fmt.Sprintf("the device was started %d times without contact since", t.Starts))
	} else if _, err := p.check(t.Patch); err != nil { // the file was changed by hand meanwhile
		p.end(message.ConfigRefused, err.Error())
	} else {
		t.State = message.ConfigProbation
	}
	return p.save()
}

func (c change) active() bool {
	return c.State == message.ConfigStaged || c.State == message.ConfigProbation
}

// check merges a patch and validates what comes out.
func (p *Patches) check(patch []byte) ([]byte, error) {
	if err := checkAllowed(patch, p.conf.Allow); err != nil {
		return nil, err
	}
	settings, err := merge(p.conf.Base, patch)
	if err != nil {
		return nil, err
	}
	return settings, p.conf.Validate(settings)
}

// Effective are the settings to start with: the base with the patch that counts. A patch that no longer fits the base is left out,
// and told.
func (p *Patches) Effective() []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.effective()
}

func (p *Patches) effective() []byte {
	c := p.journal.Good
	if t := p.journal.Trial; t != nil && t.active() {
		c = t
	}
	if c == nil {
		return p.conf.Base
	}
	settings, err := p.check(c.Patch)
	if err != nil {
		c.Error = err.Error()
		p.tell()
		return p.conf.Base
	}
	return settings
}

// Offer takes the patch of a desired document; nil: the documents have no opinion, and all stays. A rev that does not rise is
// ignored. It returns when the settings are in force, refused, or taken back; Report says which.
func (p *Patches) Offer(s *Setting) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s == nil || s.Rev <= p.journal.Revs[s.Source] {
		return
	}
	superseded := p.journal.Trial != nil && p.journal.Trial.active()
	if superseded {
		p.end(message.ConfigReverted, "superseded")
	}
	t := &change{Source: s.Source, Rev: s.Rev, By: s.By, Patch: s.Patch, State: message.ConfigStaged}
	was := p.journal
	p.journal.Revs = map[string]int64{s.Source: s.Rev}
	for other, rev := range was.Revs {
		if other != s.Source {
			p.journal.Revs[other] = rev
		}
	}
	p.journal.Trial = t
	settings, err := p.check(s.Patch)
	if err != nil {
		p.end(message.ConfigRefused, err.Error())
		p.refused(superseded)
		return
	}
	if touchesLink(s.Patch) || was.Good != nil && touchesLink(was.Good.Patch) { // which this one may take back
		t.State = message.ConfigProbation
	}
	if err := p.save(); err != nil { // no way back is armed: do not go
		p.journal.Revs = was.Revs // to be tried again with the next document
		p.end(message.ConfigRefused, "not begun: "+err.Error())
		p.refused(superseded)
		return
	}
	p.force(settings, t)
}

// refused leaves all as it is, unless a trial was in force.
func (p *Patches) refused(superseded bool) {
	if superseded {
		p.back()
		return
	}
	_ = p.save() // else it will be refused again
}

// force puts a trial in force.
func (p *Patches) force(settings []byte, t *change) {
	err := p.conf.Apply(settings)
	p.since, p.spent = time.Now(), 0
	p.tell()
	switch {
	case err != nil:
		p.end(message.ConfigReverted, "could not be put in force: "+err.Error())
		p.back()
	case t.State == message.ConfigStaged: // nothing that the link hangs on
		p.keep()
	}
}

// Tick is to be called every second or so with the time at which the broker last acknowledged anything (uplink.Stats.Heard). It keeps
// a change after contact and takes it back without. It reports whether anything changed.
func (p *Patches) Tick(heard time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.owed {
		p.back()
	}
	t := p.journal.Trial
	if t == nil || !t.active() {
		return false
	}
	on := time.Since(p.since)
	if heard.Sub(p.since) >= p.conf.Settle {
		p.keep()
		return true
	}
	if p.spent+on >= p.conf.Probation {
		p.end(message.ConfigReverted, fmt.Sprintf("no contact for %v", (p.spent+on).Round(time.Second)))
		p.back()
		return true
	}
	if total := p.spent + on; total-t.Spent >= time.Minute { // so that starting over does not start the ten minutes over
		t.Spent = total
		_ = p.save()
	}
	return false
}

// keep ends a probation well.
func (p *Patches) keep() {
	t := p.journal.Trial
	t.State, t.Error, t.Spent, t.Starts = message.ConfigApplied, "", 0, 0
	p.journal.Good, p.journal.Trial = t, nil
	_ = p.save() // else the next start finds a probation, and ends it the same way
	p.audit(t)
}

// end notes how a trial ended otherwise.
func (p *Patches) end(state, why string) {
	t := p.journal.Trial
	t.State, t.Error = state, why
	p.tell()
	p.audit(t)
}

// back puts the settings before the trial in force again, as often as it takes.
func (p *Patches) back() {
	saved := p.save()
	err := p.conf.Apply(p.effective())
	p.owed = err != nil || saved != nil
}

func (p *Patches) audit(t *change) {
	if p.conf.Audit == nil {
		return
	}
	p.conf.Audit(message.AuditRecord{Who: cmp.Or(t.By, t.Source), What: "config", Target: "settings", Rev: int(t.Rev), Result: t.State, Detail: t.Error})
}

func (p *Patches) save() error {
	p.tell()
	b, err := json.Marshal(p.journal)
	if err != nil {
		return err
	}
	return atomicfile.Write(p.conf.Path, append(b, '\n'), 0o640)
}

// Report is the newest patch for the reported document; nil: there never was one. It never waits, not even for Apply.
func (p *Patches) Report() *message.ReportedConfig { return p.told.Load() }

// tell brings Report up to date.
func (p *Patches) tell() {
	c := p.journal.Trial
	if c == nil {
		c = p.journal.Good
	}
	if c == nil {
		return
	}
	r := &message.ReportedConfig{Rev: c.Rev, Source: c.Source, State: c.State, Error: c.Error}
	if c.State == message.ConfigProbation {
		r.Until = p.since.Add(p.conf.Probation - p.spent).UTC().Truncate(time.Second)
	}
	p.told.Store(r)
}
